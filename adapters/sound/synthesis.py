"""Notes from the sampled instruments of SoundFonts: one interface, and two engines of which neither can stand in for the other.

:class:`MidiRenderer` is installed by pip alone, so the demo runs wherever Python does; it reads .sf2 files, and all of the file
for every rendering. :class:`FluidSynth` needs a library of the system; it renders two seconds in a millisecond, reads .sf3
files as well and says which presets there are, all of which pretraining needs. Both are sent the same: every stroke has one of
15 MIDI channels in turn, so that bending or damping one string leaves the others alone.
"""

from __future__ import annotations

import ctypes
import io
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from hashlib import sha256
from importlib.metadata import version
from operator import itemgetter
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import soxr
from numpy.typing import NDArray
from scipy.signal import butter, sosfilt

from etude.adapters.errors import UserError
from etude.adapters.sound.performance import (
    BEND_RANGE_CONTROLS,
    EXPRESSION,
    TICK,
    Keystroke,
    PlayedNote,
    keystrokes,
)

CHANNELS = 15
"""MIDI's 16 without the one for drums."""
LEAD = 0.05
"""Seconds of silence in front of what :class:`MidiRenderer` renders: controllers are set there, and keys can go down early."""
EARLIEST = 0.04
"""Seconds of it that belong to the keys; longer latencies are made up for in part."""
TICKS = round(1 / TICK)
"""Per second."""
GAIN = 0.6
"""Of FluidSynth: a single note stays below full scale."""
BLOCK = 64
"""Samples that FluidSynth computes at a time."""
LOG_LEVELS = range(4)
"""Panic, error, warning and information of FluidSynth, which writes to the terminal: what matters is raised here."""

Samples = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Preset:
    """One sound: General MIDI program, counted from 0, bank, and which of a synthesiser's SoundFonts."""

    program: int
    bank: int = 0
    soundfont: int = 0


class Synthesiser(ABC):
    """Plays notes on a preset, with reverb and chorus turned off, which would blur where they end."""

    sample_rate: int
    """Hz."""

    def render(self, preset: Preset, notes: Sequence[PlayedNote], seconds: float) -> Samples:
        """``notes`` -> ``[seconds * sample_rate]``, mono; silent where the preset has no sample for a key.

        Keys may go down up to :data:`EARLIEST` before 0, as they do after :meth:`PlayedNote.ahead`.
        """
        samples = np.zeros(round(seconds * self.sample_rate), np.float32)
        together = [note for note in notes if not note.performance.mute]
        if together:
            samples += self._play(preset, keystrokes(together), seconds)
        for note in notes:
            if mute := note.performance.mute:  # a filter, which the other notes must not pass
                samples += _muted(self._play(preset, keystrokes([note]), seconds), self.sample_rate, note.onset, *mute)
        return samples

    @abstractmethod
    def _play(self, preset: Preset, strokes: Sequence[Keystroke], seconds: float) -> Samples:
        """One stroke or more, in the order of :func:`keystrokes` -> ``[seconds * sample_rate]``."""


def _muted(samples: Samples, rate: int, onset: float, seconds: float, cutoff: float) -> Samples:
    first = round(onset * rate)
    decay = np.exp(-np.arange(len(samples) - first, dtype=np.float32) / np.float32(seconds * rate))
    heard = sosfilt(butter(2, cutoff, fs=rate, output="sos").astype(np.float32), samples[first:] * decay)
    return np.concatenate([samples[:first], heard.astype(np.float32)])


class MidiRenderer(Synthesiser):
    """midirenderer with an .sf2 file. Raises :class:`UserError` when it is not installed and, at the latest when something is
    rendered, for a file that it cannot read."""

    def __init__(self, soundfont: Path, sample_rate: int) -> None:
        try:
            from midirenderer import render_wave_from
        except ImportError:
            raise UserError("the synthesiser midirenderer is not installed", fix="pip install 'etude[demo]'") from None
        self._render, self._path, self.sample_rate = render_wave_from, soundfont, sample_rate
        try:
            self._soundfont = soundfont.read_bytes()
        except OSError as error:
            raise UserError(f"cannot be read: {error.strerror}", where=str(soundfont), fix="check the path") from None

    def versions(self) -> dict[str, str]:
        """What a rendering depends on beside the code here, for cache keys."""
        return {"soundfont": sha256(self._soundfont).hexdigest(), "midirenderer": version("midirenderer")}

    def _play(self, preset: Preset, strokes: Sequence[Keystroke], seconds: float) -> Samples:
        from pretty_midi import ControlChange, Instrument, Note, PitchBend, PrettyMIDI

        if preset.bank or preset.soundfont:
            raise ValueError(f"MidiRenderer has one SoundFont and plays its bank 0, not {preset}")
        # One tick apart: simultaneous controllers are sorted by number, which would break the order of those of the bend range.
        setup = [(91, 0), (93, 0), (7, 127), (EXPRESSION, 127), *BEND_RANGE_CONTROLS]
        channels = [Instrument(preset.program) for _ in strokes[:CHANNELS]]
        for channel in channels:
            channel.control_changes = [ControlChange(*control, tick / TICKS) for tick, control in enumerate(setup)]
        for index, stroke in enumerate(strokes):
            channel = channels[index % CHANNELS]
            channel.notes.append(Note(stroke.velocity, stroke.key, LEAD + stroke.on, LEAD + stroke.off))
            channel.pitch_bends += [PitchBend(position, LEAD + time) for time, position in stroke.wheel]
            channel.control_changes += [ControlChange(number, value, LEAD + time) for time, number, value in stroke.controls]
        # The synthesiser stops at the last event, so an inaudible one marks the end.
        channels[0].control_changes.append(ControlChange(3, 0, LEAD + seconds + 0.1))
        score, midi = PrettyMIDI(resolution=TICKS, initial_tempo=60), io.BytesIO()
        score.instruments = channels
        score.write(midi)
        try:
            wave = self._render(self._soundfont, midi.getvalue())
        except RuntimeError as error:  # it says what is wrong with the SoundFont
            raise UserError(str(error), where=str(self._path), fix="give a whole .sf2 file; .sf3 is not read") from None
        audio, rate = soundfile.read(io.BytesIO(wave), dtype="float32", always_2d=True)
        mono = audio.mean(axis=1)[round(LEAD * rate) :]
        samples: Samples = soxr.resample(mono, rate, self.sample_rate)[: round(seconds * self.sample_rate)]
        return samples


class FluidSynth(Synthesiser):
    """FluidSynth with any SoundFonts. Raises :class:`UserError` for one that cannot be read, and when it is not installed."""

    def __init__(self, soundfonts: Sequence[str], sample_rate: int) -> None:
        self.sample_rate = sample_rate
        self._synth = _fluidsynth(sample_rate)
        self._ids = [self._load(Path(path)) for path in soundfonts]

    def presets(self) -> dict[Preset, str]:
        """All presets with their names, by SoundFont, bank and program; bank 128 holds drum kits."""
        found = {}
        for soundfont, number in enumerate(self._ids):
            for bank in range(129):
                for program in range(128):
                    if (name := self._synth.sfpreset_name(number, bank, program)) is not None:
                        found[Preset(program, bank, soundfont)] = name
        return found

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

    def _play(self, preset: Preset, strokes: Sequence[Keystroke], seconds: float) -> Samples:
        synth, rate = self._synth, self.sample_rate
        score: list[tuple[float, partial[Any]]] = []
        for index, stroke in enumerate(strokes):
            channel = index % CHANNELS
            synth.program_select(channel, self._ids[preset.soundfont], preset.bank, preset.program)
            score.append((stroke.off, partial(synth.noteoff, channel, stroke.key)))
            score += [(time, partial(synth.cc, channel, number, value)) for time, number, value in stroke.controls]
            score += [(time, partial(synth.pitch_bend, channel, position)) for time, position in stroke.wheel]
            score.append((stroke.on, partial(synth.noteon, channel, stroke.key, stroke.velocity)))
        score = [(now, send) for now, send in sorted(score, key=itemgetter(0)) if now < seconds]
        score += [(seconds, partial(synth.all_sounds_off, channel)) for channel in range(min(CHANNELS, len(strokes)))]
        pieces, done = [], (start := round(min(0.0, strokes[0].on) * rate))
        for now, send in score:
            if (count := round(now * rate) - done) > 0:
                pieces.append(synth.get_samples(count))
                done += count
            send()
        # FluidSynth computes whole blocks: what is left of the last one would begin what is rendered next.
        synth.get_samples((start - done) % BLOCK + BLOCK)
        stereo = np.concatenate(pieces)[-2 * start :]
        samples: Samples = (stereo[::2].astype(np.float32) + stereo[1::2]) / np.float32(65536)
        return samples


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
    for channel in range(CHANNELS):
        for control in BEND_RANGE_CONTROLS:
            synth.cc(channel, *control)
    return synth
