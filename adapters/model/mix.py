"""The learned mix of a backbone's states."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn


class WeightedSum(torch.autograd.Function):
    """``sum_i weights[i] * states[i]`` in one pass per state: autograd's own products would keep and fill as many copies."""

    @staticmethod
    def forward(ctx: Any, weights: Tensor, *states: Tensor) -> Tensor:
        """``weights`` ``[states]``, each state ``[batch, frames, hidden]`` -> their sum, in the dtype of the weights."""
        ctx.save_for_backward(weights, *states)
        total = states[0] * weights[0]
        for weight, state in zip(weights[1:], states[1:], strict=True):
            total.addcmul_(state, weight)
        return total

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        """Gradients of the weights, and of those states that have one."""
        weights, *states = ctx.saved_tensors
        needed = ctx.needs_input_grad[1:]
        (gradient,) = gradients
        of_weights = torch.stack([(gradient * state).sum() for state in states])
        return of_weights, *(gradient * w if n else None for w, n in zip(weights, needed, strict=True))


class LayerMix(nn.Module):
    """Softmax-weighted sum of layer states, uniform at the start (MERTech, section III; S3PRL's featuriser)."""

    def __init__(self, layers: tuple[int, ...]) -> None:
        super().__init__()
        self.layers = layers
        self.weights = nn.Parameter(torch.ones(len(layers)))

    def forward(self, states: Mapping[int, Tensor]) -> Tensor:
        """States ``[batch, frames, hidden]`` by layer index -> their mix, same shape."""
        chosen = (states[layer] for layer in self.layers)
        mixed: Tensor = WeightedSum.apply(torch.softmax(self.weights, dim=0), *chosen)  # type: ignore[no-untyped-call]
        return mixed
