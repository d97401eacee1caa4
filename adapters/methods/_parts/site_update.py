"""What a trained method does to one linear layer, in one form for all methods."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class SiteUpdate:
    """Turns ``y = W x + b`` into ``y = gain_out * (W (gain_in * x) + b) + up (down x) + shift``; what is ``None`` is absent.

    ``down`` ``[rank, in]``, ``up`` ``[out, rank]``, ``gain_in`` ``[in]``, ``gain_out`` and ``shift`` ``[out]``.
    """

    down: Tensor | None = None
    up: Tensor | None = None
    gain_in: Tensor | None = None
    gain_out: Tensor | None = None
    shift: Tensor | None = None

    def merged(self, weight: Tensor, bias: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """Weight ``[out, in]`` and bias ``[out]`` of the one linear layer that computes the same."""
        if self.gain_in is not None:
            weight = weight * self.gain_in
        if self.gain_out is not None:
            weight = weight * self.gain_out[:, None]
            bias = None if bias is None else bias * self.gain_out
        if self.down is not None and self.up is not None:
            weight = weight + self.up @ self.down
        if self.shift is not None:
            bias = self.shift if bias is None else bias + self.shift
        return weight, bias
