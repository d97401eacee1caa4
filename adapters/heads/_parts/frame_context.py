"""Neighbouring frames for heads that read each frame by itself."""

from __future__ import annotations

import math
from typing import cast

import torch
from torch import Tensor, nn

TAPS, BOTTLENECK = 9, 128


class FrameContext(nn.Module):
    """A convolution over nine frames, the outermost ``reach`` away, through a bottleneck; added to the normalised input.

    A small frozen backbone may say at every frame what sounds, but not how it moves: vibrato and portamento take more than one.
    """

    def __init__(self, size: int, reach: int) -> None:
        super().__init__()
        step = math.ceil(reach / (TAPS // 2))
        self.norm = nn.LayerNorm(size)
        self.down = nn.Conv1d(size, BOTTLENECK, 1)
        self.over_time = nn.Conv1d(BOTTLENECK, BOTTLENECK, TAPS, dilation=step, padding=TAPS // 2 * step)
        self.up = nn.Conv1d(BOTTLENECK, size, 1)

    def forward(self, mixed: Tensor) -> Tensor:
        """``[batch, frames, hidden]`` -> the same shape."""
        normed: Tensor = self.norm(mixed)
        around = torch.relu(self.over_time(torch.relu(self.down(normed.mT))))
        return normed + cast(Tensor, self.up(around)).mT
