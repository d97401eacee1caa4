"""Dropout that costs little on a CPU."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class Dropout(nn.Module):
    """``nn.Dropout``, whose mask takes a CPU longer than the linear layer before it: that draws one number in turn per element.

    Here one 64-bit number decides on four elements, with a probability within 1e-5 of ``p``.
    """

    def __init__(self, p: float) -> None:
        super().__init__()
        self.p = p

    def forward(self, x: Tensor) -> Tensor:
        """Any shape; zeros a share ``p`` of the elements in training and scales the others by ``1 / (1 - p)``."""
        if not self.training or self.p == 0 or x.device.type != "cpu":
            return F.dropout(x, self.p, self.training)
        bits = torch.empty(-(-x.numel() // 4), dtype=torch.int64).random_(-(2**63), None)
        kept = bits.view(torch.int16)[: x.numel()].view(x.shape) >= round(self.p * 2**16) - 2**15
        return x * (kept.to(x.dtype) / (1 - self.p))
