"""The engines with the SoundFont that pretty_midi ships, and what can be heard of what they render."""

from importlib.util import find_spec
from pathlib import Path

import librosa
import numpy as np
import pretty_midi
import pytest

from etude.adapters.sound.performance import Bend, Performance, Stroke, portamento
from etude.adapters.sound.synthesis import FluidSynth, MidiRenderer

try:
    import fluidsynth
except (ImportError, OSError):
    fluidsynth = None

needs_fluidsynth = pytest.mark.skipif(fluidsynth is None, reason="FluidSynth is not installed")
needs_midirenderer = pytest.mark.skipif(find_spec("midirenderer") is None, reason="midirenderer is not installed")
RATE = 24_000
SOUNDFONT = Path(pretty_midi.__file__).parent / "TimGM6mb.sf2"
PIANO, VIOLIN, CHOIR, FLUTE, KOTO = 0, 40, 52, 73, 107
HELD = Performance((Stroke(0.0, 1.0),))
TIMES = tuple(np.arange(0, 1.5, 0.005).tolist())


def midirenderer():
    return MidiRenderer(SOUNDFONT, RATE)


def fluid():
    return FluidSynth([str(SOUNDFONT)], RATE)


def pitch_of(samples, near):
    """MIDI pitch of the strongest partial within 2 semitones of ``near``."""
    spectrum = np.abs(np.fft.rfft(samples * np.hanning(len(samples)), 1 << 19))
    pitches = 69 + 12 * np.log2(np.maximum(np.fft.rfftfreq(1 << 19, 1 / RATE), 1) / 440)
    inside = np.abs(pitches - near) < 2
    return pitches[inside][np.argmax(spectrum[inside])]


def stretch(samples, start, stop):
    return samples[round(start * RATE) : round(stop * RATE)]


def level(samples, start, stop):
    return np.sqrt(np.mean(np.square(stretch(samples, start, stop))))


def glide(interval):
    return Performance((Stroke(0.0, 1.2),), Bend(portamento(0.4, 0.2, interval), TIMES))


def onsets(samples, count):
    """Seconds of the ``count`` steepest rises of spectral flux, in order."""
    levels = np.log1p(100 * np.abs(librosa.stft(samples / np.abs(samples).max(), n_fft=256, hop_length=24)))
    flux = np.maximum(0, levels[:, 6:] - levels[:, :-6]).sum(axis=0)  # index i is 3 ms + i ms
    found = []
    for _ in range(count):
        found.append(int(np.argmax(flux)))
        flux[max(0, found[-1] - 30) : found[-1] + 30] = 0
    return (np.sort(found) + 3) / 1000
