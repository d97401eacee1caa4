"""From the frames of a clip to one vector that says how they are spread, not just what they are on average."""

from __future__ import annotations

import torch
from torch import Tensor, nn

SMALLEST_VARIANCE = 1e-5
"""Keeps the gradient of the deviation finite where a feature never changes."""


class StatisticsPooling(nn.Module):
    """Mean, standard deviation and maximum over the real frames, normalised.

    One instrument is told from another by attack and decay as much as by its mean spectrum. Mean and deviation are those of
    x-vectors (Snyder et al., ICASSP 2018, section 2.2); the maximum is an addition.
    """

    def __init__(self, size: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(3 * size)

    def forward(self, features: Tensor, real: Tensor) -> Tensor:
        """Non-negative features ``[batch, frames, size]``, of which those with ``real`` ``[batch, frames]`` 1 count and those
        with 0 do not -> ``[batch, 3 * size]``."""
        kept = real[:, :, None]
        count = kept.sum(dim=1).clamp(min=1.0)
        features = features * kept
        mean = features.sum(dim=1) / count
        variance = ((features - mean[:, None]).square() * kept).sum(dim=1) / count
        deviation = (variance + SMALLEST_VARIANCE).sqrt()
        pooled: Tensor = self.norm(torch.cat([mean, deviation, features.amax(dim=1)], dim=-1))
        return pooled
