"""Short phrases of playing techniques on a sampled koto, rendered on first use: real timbre, exact labels, no download.

Conventions: the pitch of an event is the pitch at which its string is plucked, a whole MIDI number, whatever a bend does
afterwards (Guzheng_Tech99 has one whole MIDI number per event, too); a glissando is a run over neighbouring strings in which
every stroke is one short event (there, they last 0.09 s on average); a tremolo is one event from its first stroke to the end of
its last. An event ends where its string is damped, or earlier where it has decayed by 34 dB.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar, Literal, get_args

from numpy.random import Generator, default_rng
from pydantic import Field, model_validator

from etude.adapters.annotations.notes import Note
from etude.adapters.datasets import SPLITS, Dataset, DatasetConfig, Split, Track
from etude.adapters.datasets._parts.phrases import Phrase, write_phrases
from etude.adapters.datasets._parts.soundfont import DAMPING, LICENCE, Stroke, render, versions, voice
from etude.adapters.datasets.manifest import Manifest, ManifestConfig
from etude.adapters.errors import Problem, UserError
from etude.adapters.storage.cache import cached_folder

Technique = Literal["pluck", "vibrato", "upward_portamento", "downward_portamento", "glissando", "tremolo"]
TECHNIQUES: tuple[Technique, ...] = get_args(Technique)
STRINGS = (55, 57, 58, 62, 63, 67, 69, 70, 74, 75, 79, 81)
"""Pitches of a koto in hirajoshi on D, low to high."""
VERSION = 1
"""Part of the cache key; raise it when composition or rendering changes."""


@dataclass(frozen=True, slots=True)
class Event:
    """One labelled event: the strokes that it consists of, in order, all on one string."""

    technique: Technique
    strokes: tuple[Stroke, ...]

    def note(self, program: int) -> Note:
        """Its label; the last stroke may have decayed before it is damped."""
        first, last = self.strokes[0], self.strokes[-1]
        offset = min(last.offset, last.onset + voice(program, last.pitch).ring)
        return Note(first.onset, offset, float(first.pitch), self.technique)


def compose(techniques: tuple[Technique, ...], seconds: float, rng: Generator) -> list[Event]:
    """A random phrase: shuffled rounds of all techniques at one pace and loudness, some with a rest after them.

    A round of all six takes less than 8 s at any pace, so a phrase of that length holds every technique.
    """
    pace = rng.uniform(0.75, 1.05)
    loudness = int(rng.integers(70, 105))
    events: list[Event] = []
    time = rng.uniform(0.05, 0.2)
    while True:
        for index in rng.permutation(len(techniques)):
            played = _PLAYERS[techniques[index]](time, pace, loudness + int(rng.integers(-12, 13)), rng)
            end = played[-1].strokes[-1].offset
            if end + DAMPING > seconds:
                return events
            events += played
            time = end + (pace * rng.uniform(0.03, 0.15) if rng.random() < 0.5 else 0.0)


def _pluck(time: float, pace: float, velocity: int, rng: Generator) -> list[Event]:
    return [Event("pluck", (Stroke(time, time + pace * rng.uniform(0.25, 0.9), int(rng.choice(STRINGS)), velocity),))]


def _vibrato(time: float, pace: float, velocity: int, rng: Generator) -> list[Event]:
    """5-7 Hz, 30-80 cents to either side, from shortly after the onset to the end."""
    end = time + pace * rng.uniform(0.8, 1.2)
    begin, rate, depth = time + rng.uniform(0.05, 0.12), rng.uniform(5, 7), rng.uniform(0.3, 0.8)
    steps = int((end - begin) / 0.005)
    bend = tuple((begin + k * 0.005, depth * math.sin(2 * math.pi * rate * k * 0.005)) for k in range(steps))
    return [Event("vibrato", (Stroke(time, end, int(rng.choice(STRINGS)), velocity, bend),))]


def _portamento(technique: Technique, direction: int) -> Player:
    """Slides by 1-3 semitones in 100-300 ms, beginning 50-120 ms after the onset."""

    def play(time: float, pace: float, velocity: int, rng: Generator) -> list[Event]:
        end = time + pace * rng.uniform(0.65, 0.95)
        begin, lasting, interval = time + rng.uniform(0.05, 0.12), rng.uniform(0.1, 0.3), direction * int(rng.integers(1, 4))
        steps = math.ceil(lasting / 0.005)
        bend = tuple(
            (begin + lasting * k / steps, interval * (1 - math.cos(math.pi * k / steps)) / 2) for k in range(1, steps + 1)
        )
        return [Event(technique, (Stroke(time, end, int(rng.choice(STRINGS)), velocity, bend),))]

    return play


def _glissando(time: float, pace: float, velocity: int, rng: Generator) -> list[Event]:
    """5-9 neighbouring strings up or down, 70-120 ms apart; each is damped by the next."""
    count = int(rng.integers(5, 10))
    start = int(rng.integers(0, len(STRINGS) - count + 1))
    run = STRINGS[start : start + count][:: int(rng.choice([-1, 1]))]
    step = pace * rng.uniform(0.08, 0.12)
    return [
        Event("glissando", (Stroke(time + k * step, time + (k + 1) * step, pitch, velocity),)) for k, pitch in enumerate(run)
    ]


def _tremolo(time: float, pace: float, velocity: int, rng: Generator) -> list[Event]:
    """8-14 strokes per second on one string for 0.7-1.3 s, unevenly loud."""
    step = 1 / rng.uniform(8, 14)
    pitch, count = int(rng.choice(STRINGS)), math.ceil(pace * rng.uniform(0.7, 1.3) / step)
    strokes = [Stroke(time + k * step, time + (k + 1) * step, pitch, velocity + int(rng.integers(-8, 9))) for k in range(count)]
    return [Event("tremolo", tuple(strokes))]


Player = Callable[[float, float, int, Generator], list[Event]]
"""Onset (seconds), pace (factor on durations), MIDI velocity, randomness -> what is played."""

_PLAYERS: dict[Technique, Player] = {
    "pluck": _pluck,
    "vibrato": _vibrato,
    "upward_portamento": _portamento("upward_portamento", 1),
    "downward_portamento": _portamento("downward_portamento", -1),
    "glissando": _glissando,
    "tremolo": _tremolo,
}


class SoundfontPhrasesConfig(DatasetConfig):
    """What to render."""

    program: int = Field(107, ge=0, le=127)
    """General MIDI instrument, counted from 0; 107 is the koto."""
    techniques: Annotated[tuple[Technique, ...], Field(min_length=1)] = TECHNIQUES
    """Class names in label order."""
    phrase_seconds: float = Field(8.0, ge=2.0, le=600.0)
    phrases: dict[Split, Annotated[int, Field(ge=1)]] = Field({"train": 60, "validation": 15, "test": 15})
    """Number of phrases by split."""
    seed: int = Field(0, ge=0)
    """Of all phrases."""
    sample_rate: int = Field(24_000, ge=8_000, le=96_000)
    """Hz."""

    @model_validator(mode="after")
    def _techniques_differ(self) -> SoundfontPhrasesConfig:
        if len(set(self.techniques)) < len(self.techniques):
            raise ValueError("a technique is named twice; name each once")
        return self


class SoundfontPhrases(Dataset):
    """Renders once into the cache, then reads the folder as the data set ``manifest``."""

    Config: ClassVar[type[DatasetConfig]] = SoundfontPhrasesConfig
    config: SoundfontPhrasesConfig

    def __init__(self, config: SoundfontPhrasesConfig) -> None:
        super().__init__(config)
        self.licence = LICENCE

    @property
    def classes(self) -> Mapping[str, tuple[str, ...]]:
        """The techniques in label order."""
        return {"notes": self.config.techniques}

    def folder(self) -> Path:
        """Where the phrases are, rendered on first use. Raises :class:`UserError` without synthesiser or SoundFont."""
        key = {**self.config.content(), **versions(), "version": VERSION}
        return cached_folder(
            "soundfont_phrases", key, lambda folder: write_phrases(folder, self._phrases(), self.config.sample_rate)
        )

    def scan(self) -> tuple[list[Track], list[Problem]]:
        """Every phrase as a track."""
        try:
            root = str(self.folder())
        except UserError as error:
            return [], list(error.problems)
        return Manifest(ManifestConfig(name="manifest", root=root, techniques=self.config.techniques, licence=LICENCE)).check()

    def _phrases(self) -> Iterator[Phrase]:
        config = self.config
        for split in SPLITS:
            for number in range(config.phrases.get(split, 0)):
                # Seeded one by one: more phrases in one split leave all others as they were.
                rng = default_rng((config.seed, SPLITS.index(split), number))
                events = compose(config.techniques, config.phrase_seconds, rng)
                strokes = [stroke for event in events for stroke in event.strokes]
                samples = render(strokes, config.program, config.phrase_seconds, config.sample_rate)
                yield Phrase(split, samples, tuple(event.note(config.program) for event in events), LICENCE)
