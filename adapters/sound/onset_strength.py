"""Onset strength: how much the spectrum rises from one moment to the next, which is where notes begin.

Spectral flux of the level in bands of equal width on a logarithmic scale (Bello et al., A tutorial on onset detection in music
signals, 2005), with the difference over two frames of Boeck and Widmer (SuperFlux, 2013). The level is in dB, so that a slow
attack is strongest where it begins, not where it is loud.
"""

from __future__ import annotations

import numpy as np
import scipy.fft
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

HOP_SECONDS = 0.005
RATE = 22_050
"""Hz; a recording of twice that or more is first averaged down."""
WINDOW_HOPS = 4
LAG = 2
"""Frames over which a rise is taken."""
BANDS = 24
FLOOR = 1e-8
"""Power, 1 being that of a full-scale sine: what is far below cannot be heard, nor rise."""


class OnsetStrength:
    """Reads a recording block by block. A click at a time t is strongest in frame ``t * sample_rate / hop``, to 4 ms."""

    def __init__(self, sample_rate: int) -> None:
        self._step = max(1, sample_rate // RATE)
        hop = max(1, round(HOP_SECONDS * sample_rate / self._step))
        self.hop = hop * self._step
        """Source samples from frame to frame, about 5 ms; every block but the last holds a multiple of it."""
        self._mean = np.full(self._step, 1 / self._step, np.float32)  # a product is far faster than a mean over so few
        size = WINDOW_HOPS * hop
        window = np.hanning(size + 1)[:size]
        self._window = (window * 2 / window.sum()).astype(np.float32)
        self._edges = np.unique(np.geomspace(1, size // 2, BANDS).round().astype(int))
        self._samples = np.zeros(size // 2, np.float32)
        self._levels = np.full((LAG, len(self._edges)), 10 * np.log10(FLOOR), np.float32)

    def read(self, block: NDArray[np.float32]) -> NDArray[np.float32]:
        """Mono samples ``[samples]`` -> the strength of the frames that are complete, ``[frames]``."""
        low = block[: len(block) // self._step * self._step].reshape(-1, self._step) @ self._mean
        samples = np.concatenate([self._samples, low])
        size, hop = len(self._window), self.hop // self._step
        if len(samples) < size:
            self._samples = samples
            return np.zeros(0, np.float32)
        frames = sliding_window_view(samples, size)[::hop]
        self._samples = samples[len(frames) * hop :]
        spectrum = scipy.fft.rfft(frames * self._window)
        power = np.add.reduceat(spectrum.real**2 + spectrum.imag**2, self._edges, axis=1)
        levels = np.concatenate([self._levels, 10 * np.log10(power + np.float32(FLOOR))])
        self._levels = levels[len(frames) :]
        strength: NDArray[np.float32] = np.maximum(levels[LAG:] - levels[:-LAG], 0).mean(axis=1)
        return strength

    def end(self) -> NDArray[np.float32]:
        """The strength of the frames that silence completes, ``[frames]``; what is read later is another recording."""
        return self.read(np.zeros(len(self._window) // 2 * self._step, np.float32))
