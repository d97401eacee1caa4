"""SpecAugment's masks: Park et al., "SpecAugment", Interspeech 2019, without its time warping."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class SpecAugment(nn.Module):
    """Log-mel ``[batch, bands, frames]`` -> the same; in training a run of bands and a run of frames of each are 0.

    A run is 0 to ``bands`` or ``frames`` long, drawn uniformly as its place is. 0 is the mean of a normalised spectrogram.
    """

    def __init__(self, bands: int, frames: int) -> None:
        super().__init__()
        self.bands, self.frames = bands, frames

    def forward(self, log_mel: Tensor) -> Tensor:
        """See above; in evaluation ``log_mel`` itself."""
        if not self.training:
            return log_mel
        for dim, longest in ((1, self.bands), (2, self.frames)):
            if longest:
                log_mel = log_mel.masked_fill(_run(log_mel, dim, longest), 0.0)
        return log_mel


def _run(values: Tensor, dim: int, longest: int) -> Tensor:
    """True in one run along ``dim`` of each entry of the batch: ``[batch, size, 1]``, along the last ``[batch, 1, size]``."""
    size = values.shape[dim]
    length, place = torch.rand(2, len(values), 1, device=values.device)
    length = (length * (min(longest, size) + 1)).floor()
    first = (place * (size - length + 1)).floor()
    index = torch.arange(size, device=values.device)
    inside: Tensor = (index >= first) & (index < first + length)
    return inside[:, None] if dim == values.ndim - 1 else inside[:, :, None]
