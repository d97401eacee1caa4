"""Isolated notes rendered from the sampled instruments of SoundFonts, one at a time and always anew: no two are the same.

The synthesiser is FluidSynth, which renders two seconds in a millisecond. General MIDI numbers tell which presets of different
SoundFonts are the same instrument; every key of a drum kit is an instrument of its own.
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from scipy.signal import butter, sosfilt

from etude.adapters.errors import UserError
from etude.adapters.pretraining.techniques import PLAYERS, Performance, sampled_technique

DRUM_BANK = 128
DRUM_KEYS = range(35, 82)
PROGRAMS = range(119)
"""From 119 on General MIDI has noises: a telephone, a helicopter."""
SYNTHETIC = range(80, 104)
"""Synthesizer leads, pads and effects."""
SYNTHETIC_WEIGHT, DRUM_WEIGHT = 0.25, 0.4
EXPRESSIVE = "Expr."
"""Presets of MuseScore General that are another one's with dynamics on a wheel."""
BEND_RANGE = 12
BEND_SECONDS = 0.006
"""How often the pitch wheel moves."""
RELEASE_SECONDS = 0.4
"""How long a note may ring after its key goes up."""
BLOCK = 64
"""Samples that FluidSynth computes at a time."""
GAIN = 0.6
"""Of the synthesiser: a single note stays below full scale."""
REGISTERS = (60, 72, 60, 55, 38, 60, 60, 58, 62, 74, 62, 60, 60, 60, 60)
"""Middle of the register of each family of eight General MIDI programs, in MIDI numbers."""
EXCEPTIONS = {42: 50, 43: 38, 47: 45, 57: 50, 58: 38, 66: 54, 67: 46, 70: 46}
"""That of single programs."""
SPREAD = 10.0
LOWEST, HIGHEST = 24, 103
"""MIDI numbers."""
LOG_LEVELS = range(4)
"""Panic, error, warning and information of FluidSynth, which writes to the terminal: what matters is raised here."""


@dataclass(frozen=True, slots=True)
class Preset:
    """One sound of one SoundFont."""

    soundfont: int
    bank: int
    program: int


@dataclass(frozen=True, slots=True)
class Instrument:
    """What is told apart: a General MIDI number or a drum key, in all SoundFonts that have it."""

    name: str
    presets: tuple[Preset, ...]
    key: int | None = None
    """Of a drum."""


@dataclass(frozen=True, slots=True)
class Rendered:
    """``samples`` ``[samples]``; MIDI pitch or ``None`` for drums; technique or ``None`` where it means nothing."""

    samples: NDArray[np.float32]
    pitch: float | None
    technique: str | None
    performance: Performance


class SoundFonts:
    """All instruments of some SoundFonts. Raises :class:`UserError` for a missing or unreadable one, or no FluidSynth."""

    def __init__(self, paths: Sequence[str], sample_rate: int) -> None:
        self.sample_rate = sample_rate
        self._synth = _fluidsynth(sample_rate)
        self._ids = [self._load(Path(path)) for path in paths]
        self.instruments = self._instruments()
        if not self.instruments:
            raise UserError("holds no instrument of General MIDI", where=", ".join(paths), fix="add a SoundFont that does")
        weights = np.array([self._weight(instrument) for instrument in self.instruments])
        self.shares: NDArray[np.float64] = weights / weights.sum()
        """How often each instrument plays; those that imitate nothing, and drums, of which there are many, play less."""

    def _load(self, path: Path) -> int:
        packages = {"FluidR3_GM": "fluid-soundfont-gm", "MuseScore_General": "musescore-general-soundfont"}
        if not path.is_file():
            package = packages.get(path.stem)
            fix = f"apt install {package}" if package else "check the path"
            raise UserError("no such SoundFont", where=str(path), fix=fix)
        try:
            with path.open("rb") as file:
                header = file.read(12)
        except OSError as error:
            raise UserError(f"cannot be read: {error.strerror}", where=str(path), fix="check its permissions") from None
        complete = int.from_bytes(header[4:8], "little") + 8 <= path.stat().st_size
        number = -1
        if header[:4] == b"RIFF" and header[8:12] == b"sfbk" and complete:
            number = self._synth.sfload(str(path))
        if number < 0:
            what = "is not a SoundFont" if complete else "is not a SoundFont, or not all of one"
            raise UserError(what, where=str(path), fix="give a whole .sf2 or .sf3 file")
        return int(number)

    def _instruments(self) -> tuple[Instrument, ...]:
        found: dict[tuple[int, int], tuple[str, list[Preset]]] = {}
        kits: list[Preset] = []
        for number in self._ids:
            for bank in range(DRUM_BANK + 1):
                for program in range(128):
                    name = self._synth.sfpreset_name(number, bank, program)
                    preset = Preset(number, bank, program)
                    if name is None or name.endswith(EXPRESSIVE):
                        continue
                    if bank == DRUM_BANK:
                        kits.append(preset)
                    elif program in PROGRAMS:
                        found.setdefault((bank, program), (name, []))[1].append(preset)
        melodic = [Instrument(f"{bank}:{program} {name}", tuple(own)) for (bank, program), (name, own) in sorted(found.items())]
        drums = [Instrument(f"drum {key}", tuple(kits), key) for key in (DRUM_KEYS if kits else ())]
        return (*melodic, *drums)

    @staticmethod
    def _weight(instrument: Instrument) -> float:
        if instrument.key is not None:
            return DRUM_WEIGHT
        return SYNTHETIC_WEIGHT if instrument.presets[0].program in SYNTHETIC else 1.0

    def draw(self, instrument: Instrument, plain: float, longest: float, rng: Generator) -> Rendered:
        """A note of ``instrument``, at most ``longest`` seconds: preset, pitch, loudness and technique at random.

        ``plain``: probability of no technique.
        """
        preset = instrument.presets[rng.integers(len(instrument.presets))]
        held = float(np.exp(rng.uniform(np.log(0.08), np.log(1.5))))
        velocity = int(rng.integers(35, 128))
        if instrument.key is not None:
            stroke = PLAYERS["plain"](held, rng)
            return Rendered(self.render(preset, instrument.key, velocity, stroke, longest), None, None, stroke)
        sampled = sampled_technique(preset.bank, preset.program)
        technique = sampled or ("plain" if rng.random() < plain else list(PLAYERS)[rng.integers(1, len(PLAYERS))])
        performance = PLAYERS["plain" if sampled else technique](held, rng)
        centre = EXCEPTIONS.get(preset.program, REGISTERS[preset.program // 8])
        pitch = float(np.clip(rng.normal(centre, SPREAD), LOWEST, HIGHEST))
        return Rendered(self.render(preset, pitch, velocity, performance, longest), pitch, technique, performance)

    def render(
        self, preset: Preset, pitch: float, velocity: int, performance: Performance, longest: float
    ) -> NDArray[np.float32]:
        """``performance`` at ``pitch`` (MIDI, fractions by the pitch wheel), ``[samples]``; it may be silent."""
        synth = self._synth
        channel = 9 if preset.bank == DRUM_BANK else 0
        synth.program_select(channel, preset.soundfont, preset.bank, preset.program)
        key = round(pitch)
        detune = pitch - key
        times = sorted({time for start, stop, _ in performance.strokes for time in (start, stop)})
        end = min(longest, performance.seconds + RELEASE_SECONDS)
        if performance.bend:
            times = sorted({*times, *np.arange(0.0, performance.seconds, BEND_SECONDS).tolist()})
        ons = {start: above for start, _, above in performance.strokes}
        pieces, time, sounding = [], 0.0, None
        synth.pitch_bend(channel, _wheel(detune))
        for now in [*(t for t in times if t < end), end]:
            if now > time:
                pieces.append(synth.get_samples(round(now * self.sample_rate) - round(time * self.sample_rate)))
                time = now
            if now in ons or now >= performance.seconds:
                if sounding is not None:
                    synth.noteoff(channel, sounding)
                    sounding = None
                if now in ons and now < end:
                    sounding = min(127, key + round(ons[now]))
                    synth.noteon(channel, sounding, velocity)
            if performance.bend:
                synth.pitch_bend(channel, _wheel(detune + performance.bend(now)))
        synth.all_sounds_off(channel)
        # FluidSynth computes whole blocks: what is left of the last one would begin the next note.
        synth.get_samples(-sum(len(piece) // 2 for piece in pieces) % BLOCK + BLOCK)
        stereo = np.concatenate(pieces)
        samples: NDArray[np.float32] = (stereo[::2].astype(np.float32) + stereo[1::2]) / np.float32(65536)
        return _damp(samples, self.sample_rate, *performance.damping) if performance.damping else samples


def _damp(samples: NDArray[np.float32], rate: int, seconds: float, cutoff: float) -> NDArray[np.float32]:
    decay = np.exp(-np.arange(len(samples), dtype=np.float32) / np.float32(seconds * rate))
    filtered = sosfilt(butter(2, cutoff, fs=rate, output="sos").astype(np.float32), samples * decay)
    result: NDArray[np.float32] = filtered.astype(np.float32)
    return result


def _wheel(semitones: float) -> int:
    return max(-8192, min(8191, round(8192 * semitones / BEND_RANGE)))


def _fluidsynth(sample_rate: int) -> Any:
    try:
        import fluidsynth
    except ModuleNotFoundError:
        raise UserError("pyfluidsynth is not installed", fix="pip install 'etude[pretrain]'") from None
    except (ImportError, OSError):  # what it raises where its library is missing, or of another architecture
        fix = "apt install libfluidsynth3; elsewhere see https://www.fluidsynth.org/download"
        raise UserError("the library FluidSynth is not installed", fix=fix) from None
    for level in LOG_LEVELS:
        ctypes.CDLL(fluidsynth.lib).fluid_set_log_function(level, None, None)
    dry = {"synth.reverb.active": 0, "synth.chorus.active": 0}
    synth = fluidsynth.Synth(gain=GAIN, samplerate=float(sample_rate), **dry)
    for channel in (0, 9):
        for number, value in ((101, 0), (100, 0), (6, BEND_RANGE), (38, 0)):
            synth.cc(channel, number, value)
    return synth
