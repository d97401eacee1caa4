"""The constant-Q transform that MERT can be given beside its convolutions: magnitudes as nnAudio's ``CQT`` computes them.

Brown, "Calculation of a constant Q spectral transform", JASA 1991: each bin has a window of the same number of periods.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

LOWEST_HZ = 32.7
PER_OCTAVE = 48
FRAMES_PER_SECOND = 50


class ConstantQ(nn.Module):
    """Waveforms ``[batch, samples]`` at ``sample_rate`` Hz -> magnitudes ``[batch, bins, frames]``, 50 frames per second.

    Bin ``k`` is at ``32.7 * 2 ** (k / 48)`` Hz; frame ``i`` is centred on ``i / 50`` s, and around the waveform is silence.
    """

    def __init__(self, bins: int, sample_rate: int) -> None:
        super().__init__()
        quality = 1 / (2 ** (1 / PER_OCTAVE) - 1)
        frequencies = [LOWEST_HZ * 2 ** (index / PER_OCTAVE) for index in range(bins)]
        lengths = [math.ceil(quality * sample_rate / frequency) for frequency in frequencies]
        size = lengths[0] + lengths[0] % 2
        kernels = torch.zeros(2, bins, size)
        for index, (frequency, length) in enumerate(zip(frequencies, lengths, strict=True)):
            first = size // 2 - (length + 1) // 2
            phase = 2 * math.pi * frequency / sample_rate * (torch.arange(length, dtype=torch.float64) - (length + 1) // 2)
            window = torch.hann_window(length, dtype=torch.float64)
            window *= math.sqrt(length) / window.sum()
            kernels[:, index, first : first + length] = torch.stack((window * phase.cos(), window * phase.sin()))
        self.hop, self.bins = sample_rate // FRAMES_PER_SECOND, bins
        self.kernels: Tensor
        self.register_buffer("kernels", kernels.flatten(0, 1)[:, None], persistent=False)

    def forward(self, audio: Tensor) -> Tensor:
        """See above."""
        half = self.kernels.shape[-1] // 2
        found = nn.functional.conv1d(nn.functional.pad(audio[:, None], (half, half)), self.kernels, stride=self.hop)
        magnitudes: Tensor = torch.linalg.vector_norm(found.reshape(len(found), 2, self.bins, -1), dim=1)
        return magnitudes
