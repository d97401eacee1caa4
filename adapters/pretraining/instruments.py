"""Isolated notes of the sampled instruments of SoundFonts, one at a time and always anew: no two are the same.

General MIDI numbers tell which presets of different SoundFonts are the same instrument; every key of a drum kit is an
instrument of its own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from etude.adapters.errors import UserError
from etude.adapters.pretraining.techniques import PLAYERS, sampled_technique
from etude.adapters.sound.performance import Performance, PlayedNote
from etude.adapters.sound.synthesis import FluidSynth, Preset

DRUM_BANK = 128
DRUM_KEYS = range(35, 82)
PROGRAMS = range(119)
"""From 119 on General MIDI has noises: a telephone, a helicopter."""
SYNTHETIC = range(80, 104)
"""Synthesizer leads, pads and effects."""
SYNTHETIC_WEIGHT, DRUM_WEIGHT = 0.25, 0.4
EXPRESSIVE = "Expr."
"""Presets of MuseScore General that are another one's with dynamics on a wheel."""
RELEASE_SECONDS = 0.4
"""How long a note may ring after its key goes up."""
REGISTERS = (60, 72, 60, 55, 38, 60, 60, 58, 62, 74, 62, 60, 60, 60, 60)
"""Middle of the register of each family of eight General MIDI programs, in MIDI numbers."""
EXCEPTIONS = {42: 50, 43: 38, 47: 45, 57: 50, 58: 38, 66: 54, 67: 46, 70: 46}
"""That of single programs."""
SPREAD = 10.0
LOWEST, HIGHEST = 24, 103
"""MIDI numbers."""


@dataclass(frozen=True, slots=True)
class Instrument:
    """What is told apart: a General MIDI number or a drum key, in all SoundFonts that have it."""

    name: str
    presets: tuple[Preset, ...]
    key: int | None = None
    """Of a drum."""


@dataclass(frozen=True, slots=True)
class RenderedNote:
    """``samples`` ``[samples]``; MIDI pitch or ``None`` for drums; technique or ``None`` where it means nothing."""

    samples: NDArray[np.float32]
    pitch: float | None
    technique: str | None
    performance: Performance


class SampledInstruments:
    """All instruments of some SoundFonts. Raises :class:`UserError` for a missing or unreadable one, or no FluidSynth."""

    def __init__(self, soundfonts: Sequence[str], sample_rate: int) -> None:
        self._synthesiser = FluidSynth(soundfonts, sample_rate)
        self.instruments = _instruments(self._synthesiser.presets())
        if not self.instruments:
            raise UserError("holds no instrument of General MIDI", where=", ".join(soundfonts), fix="add a SoundFont that does")
        weights = np.array([_weight(instrument) for instrument in self.instruments])
        self.shares: NDArray[np.float64] = weights / weights.sum()
        """How often each instrument plays; those that imitate nothing, and drums, of which there are many, play less."""

    def draw(self, instrument: Instrument, plain: float, longest: float, rng: Generator) -> RenderedNote:
        """A note of ``instrument``, at most ``longest`` seconds: preset, pitch, loudness and technique at random.

        ``plain``: probability of no technique.
        """
        preset = instrument.presets[rng.integers(len(instrument.presets))]
        held = float(np.exp(rng.uniform(np.log(0.08), np.log(1.5))))
        velocity = int(rng.integers(35, 128))
        technique: str | None = None
        if instrument.key is not None:
            performance, pitch = PLAYERS["plain"](held, rng), float(instrument.key)
        else:
            sampled = sampled_technique(preset.bank, preset.program)
            technique = sampled or ("plain" if rng.random() < plain else list(PLAYERS)[rng.integers(1, len(PLAYERS))])
            performance = PLAYERS["plain" if sampled else technique](held, rng)
            centre = EXCEPTIONS.get(preset.program, REGISTERS[preset.program // 8])
            pitch = float(np.clip(rng.normal(centre, SPREAD), LOWEST, HIGHEST))
        seconds = min(longest, performance.seconds + RELEASE_SECONDS)
        samples = self._synthesiser.render(preset, [PlayedNote(performance, pitch, velocity)], seconds)
        return RenderedNote(samples, pitch if instrument.key is None else None, technique, performance)


def _instruments(presets: Mapping[Preset, str]) -> tuple[Instrument, ...]:
    """Presets with their names -> instruments in the order of General MIDI, each named as its first preset; then the drums."""
    own = [preset for preset, name in presets.items() if not name.endswith(EXPRESSIVE)]
    kits = tuple(preset for preset in own if preset.bank == DRUM_BANK)
    melodic: dict[tuple[int, int], list[Preset]] = {}
    for preset in own:
        if preset.bank != DRUM_BANK and preset.program in PROGRAMS:
            melodic.setdefault((preset.bank, preset.program), []).append(preset)
    return (
        *(Instrument(f"{bank}:{program} {presets[same[0]]}", tuple(same)) for (bank, program), same in sorted(melodic.items())),
        *(Instrument(f"drum {key}", kits, key) for key in (DRUM_KEYS if kits else ())),
    )


def _weight(instrument: Instrument) -> float:
    if instrument.key is not None:
        return DRUM_WEIGHT
    return SYNTHETIC_WEIGHT if instrument.presets[0].program in SYNTHETIC else 1.0
