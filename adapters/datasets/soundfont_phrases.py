"""Short phrases of playing techniques on a sampled koto, rendered on first use: real timbre, exact labels, no download.

Conventions: the pitch of an event is the pitch at which its string is plucked, a whole MIDI number, whatever a bend does
afterwards (Guzheng_Tech99 has one whole MIDI number per event, too); a glissando is a run over neighbouring strings in which
every stroke is one short event (there, they last 0.09 s on average); a tremolo is one event from its first stroke to the end of
its last. An event ends where its string is damped, or earlier where it has decayed by 34 dB. The SoundFont is TimGM6mb, read
from where ``pretty_midi`` installs it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, get_args

import numpy as np
from numpy.random import Generator, default_rng
from numpy.typing import NDArray
from pydantic import Field, model_validator

from etude.adapters.annotations.notes import Note
from etude.adapters.datasets import SPLITS, Dataset, DatasetConfig, Split, Track
from etude.adapters.datasets._parts.phrases import Phrase, write_phrases
from etude.adapters.datasets.manifest import ManifestConfig, ManifestDataset
from etude.adapters.errors import Problem, UserError
from etude.adapters.sound.performance import DAMPING, Bend, Performance, PlayedNote, Stroke, portamento, repeated, vibrato
from etude.adapters.sound.synthesis import MidiRenderer, Preset, Voice, voice
from etude.adapters.storage.cache import cached_folder

Technique = Literal["pluck", "vibrato", "upward_portamento", "downward_portamento", "glissando", "tremolo"]
TECHNIQUES: tuple[Technique, ...] = get_args(Technique)
LICENCE = "GPL-2.0-only"
"""That of the SoundFont."""
STRINGS = (55, 57, 58, 62, 63, 67, 69, 70, 74, 75, 79, 81)
"""Pitches of a koto in hirajoshi on D, low to high."""
WHEEL_SECONDS = 0.005
"""How often the pitch wheel moves."""
PEAK = 0.7
"""Of every phrase."""
VERSION = 1
"""Part of the cache key; raise it when composition or rendering changes."""


@dataclass(frozen=True, slots=True)
class Event:
    """One labelled event, all of it on one string."""

    technique: Technique
    played: PlayedNote

    def note(self, program: int) -> Note:
        """Its label; the last stroke may have decayed before it is damped."""
        played = self.played
        decayed = played.onset + played.performance.strokes[-1].start + voice_of(program, played.pitch).ring
        return Note(played.onset, min(played.offset, decayed), played.pitch, self.technique)


def soundfont() -> Path:
    """The SoundFont file. Raises :class:`UserError` when this ``pretty_midi`` lacks it."""
    import pretty_midi

    path = Path(pretty_midi.__file__).with_name("TimGM6mb.sf2")
    if not path.is_file():
        raise UserError("the SoundFont TimGM6mb.sf2 is not in the installed pretty_midi", fix="pip install 'etude[demo]'")
    return path


@cache
def voice_of(program: int, pitch: float) -> Voice:
    """How a pitch of an instrument behaves, measured at 48 kHz."""
    return voice(MidiRenderer(soundfont(), 48_000), Preset(program), pitch)


def render(events: Sequence[Event], program: int, seconds: float, sample_rate: int) -> NDArray[np.float32]:
    """``events`` -> ``[seconds * sample_rate]`` of peak 0.7; each stroke is heard from its start on.

    ``program`` counts from 0 (General MIDI). Raises :class:`UserError` without synthesiser or SoundFont.
    """
    notes = [event.played.ahead(voice_of(program, event.played.pitch).latency) for event in events]
    samples = MidiRenderer(soundfont(), sample_rate).render(Preset(program), notes, seconds)
    scaled: NDArray[np.float32] = samples * np.float32(PEAK / max(float(np.abs(samples).max()), 1e-9))
    return scaled


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
            end = played[-1].played.offset
            if end + DAMPING > seconds:
                return events
            events += played
            time = end + (pace * rng.uniform(0.03, 0.15) if rng.random() < 0.5 else 0.0)


def _string(rng: Generator) -> float:
    return float(rng.choice(STRINGS))


def _held(seconds: float, bend: Bend | None = None) -> Performance:
    return Performance((Stroke(0.0, seconds),), bend, damped=True)


def _pluck(time: float, pace: float, velocity: int, rng: Generator) -> list[Event]:
    held = _held(pace * rng.uniform(0.25, 0.9))
    return [Event("pluck", PlayedNote(held, _string(rng), velocity, time))]


def _vibrato(time: float, pace: float, velocity: int, rng: Generator) -> list[Event]:
    """5-7 Hz, 30-80 cents to either side, from shortly after the onset to the end."""
    seconds = pace * rng.uniform(0.8, 1.2)
    begin, rate, depth = rng.uniform(0.05, 0.12), rng.uniform(5, 7), rng.uniform(0.3, 0.8)
    times = tuple(begin + k * WHEEL_SECONDS for k in range(int((seconds - begin) / WHEEL_SECONDS)))
    bent = _held(seconds, Bend(vibrato(begin, rate, depth), times))
    return [Event("vibrato", PlayedNote(bent, _string(rng), velocity, time))]


def _portamento(technique: Technique, direction: int) -> Player:
    """Slides by 1-3 semitones in 100-300 ms, beginning 50-120 ms after the onset."""

    def play(time: float, pace: float, velocity: int, rng: Generator) -> list[Event]:
        seconds = pace * rng.uniform(0.65, 0.95)
        begin, lasting, interval = rng.uniform(0.05, 0.12), rng.uniform(0.1, 0.3), direction * int(rng.integers(1, 4))
        steps = math.ceil(lasting / WHEEL_SECONDS)
        times = tuple(begin + lasting * k / steps for k in range(1, steps + 1))
        bent = _held(seconds, Bend(portamento(begin, lasting, interval), times))
        return [Event(technique, PlayedNote(bent, _string(rng), velocity, time))]

    return play


def _glissando(time: float, pace: float, velocity: int, rng: Generator) -> list[Event]:
    """5-9 neighbouring strings up or down, 70-120 ms apart; each is damped by the next."""
    count = int(rng.integers(5, 10))
    start = int(rng.integers(0, len(STRINGS) - count + 1))
    run = STRINGS[start : start + count][:: int(rng.choice([-1, 1]))]
    step = pace * rng.uniform(0.08, 0.12)
    return [Event("glissando", PlayedNote(_held(step), pitch, velocity, time + k * step)) for k, pitch in enumerate(run)]


def _tremolo(time: float, pace: float, velocity: int, rng: Generator) -> list[Event]:
    """8-14 strokes per second on one string for 0.7-1.3 s, unevenly loud."""
    step = 1 / rng.uniform(8, 14)
    pitch, count = _string(rng), math.ceil(pace * rng.uniform(0.7, 1.3) / step)
    strokes = tuple(replace(stroke, louder=int(rng.integers(-8, 9))) for stroke in repeated(count, step))
    return [Event("tremolo", PlayedNote(Performance(strokes, damped=True), pitch, velocity, time))]


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

    example: ClassVar[Mapping[str, Any]] = {"phrases": {"train": 1}}

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
        made = {**MidiRenderer(soundfont(), self.config.sample_rate).versions(), "version": VERSION}
        key = {**self.config.content(), **made}
        return cached_folder(
            "soundfont_phrases", key, lambda folder: write_phrases(folder, self._phrases(), self.config.sample_rate)
        )

    def scan(self) -> tuple[list[Track], list[Problem]]:
        """Every phrase as a track."""
        try:
            root = str(self.folder())
        except UserError as error:
            return [], list(error.problems)
        config = ManifestConfig(name="manifest", root=root, techniques=self.config.techniques, licence=LICENCE)
        return ManifestDataset(config).check()

    def _phrases(self) -> Iterator[Phrase]:
        config = self.config
        for split in SPLITS:
            for number in range(config.phrases.get(split, 0)):
                # Seeded one by one: more phrases in one split leave all others as they were.
                rng = default_rng((config.seed, SPLITS.index(split), number))
                events = compose(config.techniques, config.phrase_seconds, rng)
                samples = render(events, config.program, config.phrase_seconds, config.sample_rate)
                yield Phrase(split, samples, tuple(event.note(config.program) for event in events), LICENCE)
