"""A backbone, a method, a layer mix and heads, put together.

The forward pass is cut in two at the method's first block. Everything below is frozen: :meth:`AdaptedModel.frozen_states` runs
it without an autograd graph and returns the few states the rest needs. :meth:`AdaptedModel.forward` continues from those.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from etude.adapters.backbones import Backbone
from etude.adapters.errors import UserError
from etude.adapters.heads import Head
from etude.adapters.methods import Method


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


class AdaptedModel(nn.Module):
    """Trains only what the method added, the mix and the heads.

    ``layers`` are the state indices to mix (0 = embedding, ``num_blocks`` = last); ``None`` mixes all of them.
    """

    def __init__(self, backbone: Backbone, method: Method, heads: Mapping[str, Head], layers: tuple[int, ...] | None) -> None:
        super().__init__()
        count = backbone.num_blocks
        chosen = tuple(range(count + 1)) if layers is None else tuple(sorted(set(layers)))
        if wrong := [layer for layer in chosen if not 0 <= layer <= count]:
            raise UserError(f"{backbone.id} has no layer {wrong[0]}", where="mix.layers", fix=f"layers are 0 to {count}")
        self.first_block = method.first_block(backbone)
        method.attach(backbone)
        adapted = [name for name in method.parameters() if name.startswith("blocks.")]
        if idle := [name for name in adapted if int(name.split(".")[1]) >= max(chosen)]:
            raise UserError(
                f"'{idle[0]}' changes nothing: the mix reads no layer after {max(chosen)}",
                where="mix.layers",
                fix=f"add layer {count}, or adapt lower blocks only",
            )
        self.backbone = backbone
        self.method = method
        self.mix = LayerMix(chosen)
        self.heads = nn.ModuleDict(heads)
        below = {layer for layer in chosen if layer <= self.first_block}
        continues = max(chosen) > self.first_block
        self.gradient_checkpointing = False
        """Whether adapted blocks are computed again in the backward pass instead of keeping what is inside them."""
        self.stored_layers = tuple(sorted(below | ({self.first_block} if continues else set())))
        """The frozen states that :meth:`forward` needs: those mixed, and the one entering the first trainable block."""

    @property
    def device(self) -> torch.device:
        """Where the parameters live."""
        return self.mix.weights.device

    def train(self, mode: bool = True) -> AdaptedModel:
        """Heads and the method's own modules follow ``mode``; the backbone stays in ``eval()``, as it always does."""
        super().train(mode)
        self.method.train(mode)
        return self

    @torch.no_grad()
    def frozen_states(self, audio: Tensor, lengths: Tensor) -> Tensor:
        """Waveforms ``[batch, window_samples]`` -> frozen states ``[batch, stored layers, frames, hidden]``."""
        state = self.backbone.embed(self.backbone.prepare(audio, lengths))
        kept = [state.float()] if 0 in self.stored_layers else []
        for index in range(max(self.stored_layers)):
            state = self.backbone.block(index, state)
            if index + 1 in self.stored_layers:
                kept.append(state.float())  # under autocast, which dtype a layer returns differs between devices
        return torch.stack(kept, dim=1)

    def forward(self, stored: Tensor) -> dict[str, dict[str, Tensor]]:
        """Frozen states ``[batch, stored layers, frames, hidden]`` -> logits ``[batch, frames, classes]`` by head, output."""
        states = dict(zip(self.stored_layers, stored.to(self.mix.weights.dtype).unbind(dim=1), strict=True))
        for index in range(self.first_block, max(self.mix.layers)):
            states[index + 1] = self._block(index, states[index])
        mixed = self.mix(states)
        return {name: head(mixed) for name, head in self.heads.items()}

    def _block(self, index: int, state: Tensor) -> Tensor:
        if self.gradient_checkpointing and self.training:
            return cast(Tensor, checkpoint(self.backbone.block, index, state, use_reentrant=False))
        return self.backbone.block(index, state)

    def named_trainable(self) -> Iterator[tuple[str, nn.Parameter]]:
        """Everything that is trained, under the names an artifact uses."""
        yield from self.method.parameters().items()
        yield "mix.weights", self.mix.weights
        for name, parameter in self.heads.named_parameters():
            yield f"heads.{name}", parameter

    def trainable_state(self) -> dict[str, Tensor]:
        """Copies of all trained tensors by artifact name, on the CPU."""
        return {name: parameter.detach().cpu().clone() for name, parameter in self.named_trainable()}

    @torch.no_grad()
    def load_trainable(self, tensors: Mapping[str, Tensor]) -> None:
        """Copy trained tensors in place. Raises :class:`UserError` when names or shapes differ from this model's."""
        own = dict(self.named_trainable())
        different = sorted(set(own) ^ set(tensors)) or sorted(n for n in own if own[n].shape != tensors[n].shape)
        if different:
            raise UserError(f"the adapter's tensors do not fit this model, first at '{different[0]}'", fix="use its own recipe")
        for name, parameter in own.items():
            parameter.copy_(tensors[name])

    def trainable_counts(self) -> dict[str, int]:
        """Number of trained parameters in the backbone, the mix and the heads."""
        return {
            "backbone": sum(p.numel() for p in self.method.parameters().values()),
            "mix": self.mix.weights.numel(),
            "heads": sum(p.numel() for p in self.heads.parameters()),
        }
