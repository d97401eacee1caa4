"""Effects on whole clips: noise, gain, filters and pitch shift by audiomentations; delay and reverb as impulse responses."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from scipy.signal import fftconvolve

from etude.adapters.errors import UserError
from etude.adapters.recipe.pretraining import EffectsConfig


class Effects:
    """Applies the effects of a recipe. Raises :class:`UserError` when audiomentations is not installed."""

    def __init__(self, config: EffectsConfig, sample_rate: int) -> None:
        try:
            import audiomentations as library
        except ImportError:
            raise UserError("audiomentations is not installed", fix="pip install 'etude[pretrain]'") from None
        self.config, self.sample_rate = config, sample_rate
        low, high = config.noise_db
        self._filters: list[Any] = [
            library.HighPassFilter(min_cutoff_freq=30, max_cutoff_freq=400, p=config.highpass),
            library.LowPassFilter(min_cutoff_freq=2000, max_cutoff_freq=0.45 * sample_rate, p=config.lowpass),
        ]
        self._last: list[Any] = [
            library.AddGaussianSNR(min_snr_db=low, max_snr_db=high, p=config.noise),
            library.Gain(min_gain_db=-12, max_gain_db=6, p=config.gain),
        ]
        self._shift: Any = library.PitchShift(min_semitones=-1, max_semitones=1, p=1.0)

    def __call__(self, samples: NDArray[np.float32], rng: Generator) -> tuple[NDArray[np.float32], float]:
        """``samples`` ``[samples]`` -> the same number of them, and the semitones they were shifted by."""
        if rng.random() >= self.config.probability or not np.any(samples):
            return samples, 0.0
        # The library draws from the global generators.
        random.seed(int(rng.integers(2**32)))
        np.random.seed(int(rng.integers(2**32)))
        shift = 0.0
        if rng.random() < self.config.pitch_shift:
            samples = self._shift(samples, self.sample_rate)
            shift = float(self._shift.parameters["num_semitones"])
        for effect in self._filters:
            samples = effect(samples, self.sample_rate)
        if rng.random() < self.config.delay:
            samples = _convolved(samples, _delay(self.sample_rate, rng))
        if rng.random() < self.config.reverb:
            samples = _convolved(samples, _reverb(self.sample_rate, rng))
        for effect in self._last:
            samples = effect(samples, self.sample_rate)
        return samples, shift


def _delay(rate: int, rng: Generator) -> NDArray[np.float32]:
    """The sound and one to three echoes 40-250 ms apart, each 6-20 dB softer than the one before."""
    count, gap = int(rng.integers(1, 4)), round(rng.uniform(0.04, 0.25) * rate)
    response = np.zeros(count * gap + 1, np.float32)
    response[::gap] = 10 ** (-rng.uniform(6, 20) / 20 * np.arange(count + 1))
    return response


def _reverb(rate: int, rng: Generator) -> NDArray[np.float32]:
    """The sound and exponentially decaying noise behind it (60 dB in .1-1 s), 3-25 dB softer in all."""
    seconds = rng.uniform(0.1, 1.0)
    times = np.arange(round(seconds * rate), dtype=np.float32) / np.float32(rate)
    tail = rng.standard_normal(len(times), np.float32) * 10 ** (-3 * times / np.float32(seconds))
    tail *= np.float32(10 ** (-rng.uniform(3, 25) / 20)) / np.sqrt(np.square(tail).sum())
    tail[0] += 1
    return tail


def _convolved(samples: NDArray[np.float32], response: NDArray[np.float32]) -> NDArray[np.float32]:
    result: NDArray[np.float32] = fftconvolve(samples, response)[: len(samples)].astype(np.float32)
    return result
