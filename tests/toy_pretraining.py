"""Pretraining on sines, and all that it can predict."""

import numpy as np

from etude.adapters.pretraining.instruments import Instrument, RenderedNote
from etude.adapters.pretraining.techniques import PLAYERS
from etude.adapters.sound.synthesis import Preset

TARGETS = ("instrument", "technique", "pitch", "onset", "spectrum", "context", "timbre", "motion")


class Sines:
    """Stands in for SoundFonts."""

    def __init__(self, paths, sample_rate):
        self.instruments = tuple(Instrument(name, (Preset(0),)) for name in ("low", "high"))
        self.shares, self.sample_rate = np.array([0.5, 0.5]), sample_rate

    def draw(self, instrument, plain, longest, rng):
        pitch = rng.uniform(40, 50) + 30 * (instrument.name == "high")
        times = np.arange(round(longest * self.sample_rate)) / self.sample_rate
        samples = np.sin(2 * np.pi * 440 * 2 ** ((pitch - 69) / 12) * times).astype(np.float32)
        return RenderedNote(samples, pitch, "plain", PLAYERS["plain"](longest, rng))
