"""Frames from patches of a spectrogram, by attention over frequency."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class FrequencyAttention(nn.Module):
    """Sum of a step's patches under a softmax of learned scores; their mean at step 0.

    Tokens are ``special`` ones and then ``rows`` of frequency, one after the other; the first ``frames`` steps are read.
    """

    def __init__(self, hidden: int, special: int, rows: int, frames: int) -> None:
        super().__init__()
        self.special, self.rows, self.frames = special, rows, frames
        self.score = nn.Linear(hidden, 1, bias=False)
        nn.init.zeros_(self.score.weight)

    def forward(self, state: Tensor) -> Tensor:
        """``[batch, tokens, hidden]`` -> ``[batch, frames, hidden]``."""
        tokens = state[:, self.special :]
        patches = tokens.reshape(len(tokens), self.rows, -1, tokens.shape[-1])[:, :, : self.frames]
        return (torch.softmax(self.score(patches), dim=1) * patches).sum(1)
