"""Clips that a backbone is pretrained on, and what is true of every frame of them.

A clip is composed of isolated notes: silence-trimmed, one or several in a row per instrument, one or several instruments at
once; then come effects, and mixup over the batch (after Zhong et al., APSIPA 2023, section II). Item ``k`` of step ``s``
depends on (seed, s, k) alone (but for the last bit, which the synthesiser dithers), so an interrupted run continues with the
clips it would have had.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
from numpy.random import Generator, default_rng
from numpy.typing import NDArray

from etude.adapters.pretraining.effects import Effects
from etude.adapters.pretraining.instruments import HIGHEST, LOWEST, SampledInstruments
from etude.adapters.pretraining.source_notes import SILENT, draw, source_notes
from etude.adapters.pretraining.techniques import TECHNIQUES
from etude.adapters.pretraining.timbre import DESCRIPTORS, describe
from etude.adapters.recipe.pretraining import PretrainRecipe
from etude.adapters.sound.performance import Performance
from etude.adapters.sound.spans import trim

PITCHES = HIGHEST - LOWEST + 2
"""Classes of the pitch target; what slides or is shifted beyond them counts as the outermost."""
GAIN_DB = (-12.0, 0.0)
GAP_SECONDS = 0.25
MOTION_SECONDS = 0.04
LEVEL_DB = 6.0
"""A clip is up to this much louder or softer than standardised: in a longer window it may stand beside anything."""
FADE_SECONDS = 0.01
ATTEMPTS = 5
"""Presets have silent keys: try others."""

Array = NDArray[np.float32]


@dataclass(slots=True)
class Clips:
    """A batch. ``audio`` ``[batch, samples]``; targets ``[batch, frames, classes]``, weights between 0 and 1.

    Before mixup, ``instrument`` and ``technique`` sum to 1 in frames where they are known and to 0 elsewhere. ``pitch_mask``
    ``[batch, frames, 1]`` is 0 where a sounding pitch is not known, ``timbre_mask`` 1 where a single note sounds,
    ``motion_mask`` where that one is pitched and rendered, so that the movement of its pitch is known.
    """

    audio: Array
    instrument: Array
    technique: Array
    pitch: Array
    pitch_mask: Array
    onset: Array
    timbre: Array
    timbre_mask: Array
    motion: Array
    motion_mask: Array

    def mixed(self, weight: float) -> Clips:
        """Mixup with the batch rolled by one: ``weight`` of each clip and the rest of its neighbour, targets alike.

        Timbre and motion of a note stay known where the other clip is silent.
        """
        values = {}
        for name in ("audio", "instrument", "technique", "pitch", "onset"):
            own = getattr(self, name)
            values[name] = np.float32(weight) * own + np.float32(1 - weight) * np.roll(own, 1, axis=0)
        silent = (self.instrument.sum(axis=2, keepdims=True) == 0).astype(np.float32)
        for name in ("timbre", "motion"):
            target, mask = getattr(self, name), getattr(self, f"{name}_mask")
            own, other = mask * np.roll(silent, 1, axis=0), np.roll(mask, 1, axis=0) * silent
            values[name] = target * own + np.roll(target, 1, axis=0) * other
            values[f"{name}_mask"] = own + other
        return Clips(pitch_mask=self.pitch_mask * np.roll(self.pitch_mask, 1, axis=0), **values)


@dataclass(frozen=True, slots=True)
class _Note:
    samples: Array
    instrument: int
    pitch: float | None
    pitched: bool
    technique: int | None
    timbre: Array = field(default_factory=lambda: np.zeros(len(DESCRIPTORS), np.float32))
    performance: Performance | None = None
    trimmed: int = 0
    """Samples of silence that were cut off its start."""


class Composer:
    """Makes clips for a recipe; raises :class:`UserError` when something it needs is missing or damaged."""

    def __init__(self, recipe: PretrainRecipe) -> None:
        shape = recipe.shape
        self.recipe, self.rate = recipe, shape.sample_rate
        self.hop = int(np.prod(shape.conv_stride))
        self.frames = round(recipe.clips.seconds * self.rate / self.hop)
        self.recorded = source_notes(recipe.recordings, recipe.clips.seconds) if recipe.recordings else []
        self.sampled = SampledInstruments([font.path for font in recipe.soundfonts], self.rate)
        names = sorted({note.instrument for note in self.recorded})
        self._by_instrument = [[note for note in self.recorded if note.instrument == name] for name in names]
        self.instruments = (*(item.name for item in self.sampled.instruments), *(f"recorded {name}" for name in names))
        self.effects = Effects(recipe.effects, self.rate) if recipe.effects else None

    def batch(self, step: int, items: range) -> Clips:
        """The clips ``items`` of ``step``, ``[len(items), ...]``; mixup takes its partners from among them."""
        composed = [self._clip(default_rng((self.recipe.seed, step, 1 + item))) for item in items]
        clips = Clips(*(np.stack(values) for values in zip(*composed, strict=True)))
        rng = default_rng((self.recipe.seed, step, 0))
        mixup = self.recipe.mixup
        if mixup and rng.random() < mixup.probability:
            clips = clips.mixed(float(rng.beta(mixup.alpha, mixup.alpha)))
        return clips

    def _clip(self, rng: Generator) -> tuple[Array, ...]:
        samples = np.zeros(self.frames * self.hop, np.float32)
        instrument = np.zeros((self.frames, len(self.instruments)), np.float32)
        technique = np.zeros((self.frames, len(TECHNIQUES)), np.float32)
        pitch = np.zeros((self.frames, PITCHES), np.float32)
        known = np.ones((self.frames, 1), np.float32)
        onset = np.zeros((self.frames, 1), np.float32)
        timbre = np.zeros((self.frames, len(DESCRIPTORS)), np.float32)
        sounding = np.zeros((self.frames, 1), np.float32)
        motion = np.zeros((self.frames, 2), np.float32)
        followed = np.zeros((self.frames, 1), np.float32)
        laid = [item for _ in range(self._parts(rng)) for item in self._part(rng)]
        for start, note in laid:
            samples[start : start + len(note.samples)] += note.samples[: len(samples) - start]
        if self.effects:
            samples, shift = self.effects(samples, rng)
        else:
            shift = 0.0
        for start, note in laid:
            first, last = start // self.hop, min(self.frames, -(-(start + len(note.samples)) // self.hop))
            instrument[first:last, note.instrument] += 1
            onset[first] = 1
            sounding[first:last] += 1
            timbre[first:last] += note.timbre
            if note.technique is not None:
                technique[first:last, note.technique] += 1
            if note.pitch is None:
                known[first:last] *= not note.pitched
                continue
            movement = self._movement(note, start, range(first, last))
            exact = note.pitch + shift + movement[:, 0]
            pitch[range(first, last), np.clip(np.round(exact) - LOWEST, 0, PITCHES - 1).astype(int)] = 1
            motion[first:last] += movement
            followed[first:last] += note.performance is not None
        instrument /= np.maximum(instrument.sum(axis=1, keepdims=True), 1)
        technique /= np.maximum(technique.sum(axis=1, keepdims=True), 1)
        single = (sounding == 1).astype(np.float32)
        followed = single * (followed == 1)
        level = 10 ** (rng.uniform(-LEVEL_DB, LEVEL_DB) / 20) / (float(samples.std()) or 1.0)
        audio = samples * np.float32(level)
        known_of_one = (timbre * single, single, motion * followed, followed)
        return (audio, instrument, technique, pitch, known, onset, *known_of_one)

    def _movement(self, note: _Note, start: int, frames: range) -> Array:
        """Semitones above the note's pitch in the middle of each frame, and how many more 40 ms on, ``[frames, 2]``."""
        if note.performance is None:
            return np.zeros((len(frames), 2), np.float32)
        times = [(((frame + 0.5) * self.hop) - start + note.trimmed) / self.rate for frame in frames]
        now, then = (np.array([note.performance.movement(time + shift) for time in times]) for shift in (0.0, MOTION_SECONDS))
        return np.stack([now, then - now], axis=1).astype(np.float32)

    def _parts(self, rng: Generator) -> int:
        chances = np.asarray(self.recipe.clips.parts)
        return 1 + int(rng.choice(len(chances), p=chances / chances.sum()))

    def _part(self, rng: Generator) -> list[tuple[int, _Note]]:
        """One instrument's notes with the samples they start at; the clip may begin within the first."""
        recorded = self.recipe.recordings is not None and rng.random() < self.recipe.recordings.share
        rendered = len(self.sampled.instruments)
        if recorded:
            which = rendered + int(rng.integers(len(self._by_instrument)))
        else:
            which = int(rng.choice(rendered, p=self.sampled.shares))
        row, gain = self.recipe.concatenation, 10 ** (rng.uniform(*GAIN_DB) / 20)
        count = int(rng.integers(row.notes[0], row.notes[1] + 1)) if row and rng.random() < row.probability else 1
        length = self.frames * self.hop
        laid: list[tuple[int, _Note]] = []
        time = int(rng.uniform(0, 0.4) * length / count)
        for _ in range(count):
            note = self._note(which, rng)
            if note is None or time >= length:
                break
            samples = note.samples[: length - time] * np.float32(gain * 10 ** (rng.uniform(-6, 0) / 20))
            if count > 1:  # cut, so that several fit
                share = max(round(rng.uniform(0.15, 0.8) * self.rate), 1)
                samples = _faded(samples[:share], round(FADE_SECONDS * self.rate))
            laid.append((time, replace(note, samples=samples)))
            time += len(samples) + (int(rng.uniform(0, GAP_SECONDS) * self.rate) if rng.random() < 0.6 else 0)
        return laid

    def _note(self, which: int, rng: Generator) -> _Note | None:
        """A trimmed note of peak 1 of the instrument ``which``; the recorded ones come after those of the SoundFonts."""
        seconds = self.recipe.clips.seconds
        for _ in range(ATTEMPTS):
            if which >= len(self.sampled.instruments):
                source, samples = draw(self._by_instrument[which - len(self.sampled.instruments)], self.rate, seconds, rng)
                note = _Note(samples, which, source.pitch, True, None)
            else:
                instrument = self.sampled.instruments[which]
                drawn = self.sampled.draw(instrument, self.recipe.clips.plain, seconds, rng)
                known = None if drawn.technique is None else TECHNIQUES.index(drawn.technique)
                pitched = instrument.key is None
                note = _Note(drawn.samples, which, drawn.pitch, pitched, known, performance=drawn.performance)
            if np.abs(note.samples).max(initial=0) > SILENT:
                found = trim(note.samples, self.rate)
                samples = found.samples[found.onset : found.offset]
                return replace(note, samples=samples, timbre=describe(samples, self.rate), trimmed=found.onset)
        return None


def _faded(samples: Array, count: int) -> Array:
    count = min(count, len(samples))
    samples[len(samples) - count :] *= np.linspace(1, 0, count, dtype=np.float32)
    return samples
