"""A backbone, a method, a layer mix and heads, put together.

The forward pass is cut in two at the method's first block. Everything below is frozen: :meth:`AdaptedModel.frozen_states` runs
it without an autograd graph and returns the few states the rest needs. :meth:`AdaptedModel.forward` continues from those. Of a
method that changes the input, nothing but the prepared input is frozen.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from etude.adapters.backbones import INPUT, Backbone
from etude.adapters.errors import UserError
from etude.adapters.heads import Context, Head
from etude.adapters.methods import Method


@torch.no_grad()
def copy_tensors(stored: Mapping[str, Tensor], own: Mapping[str, Tensor]) -> None:
    """Copy ``stored`` into ``own``, in place. Raises :class:`UserError` when names or shapes differ, before it copies any."""
    shapes = [{name: list(tensor.shape) for name, tensor in tensors.items()} for tensors in (stored, own)]
    different = sorted(set(stored) ^ set(own)) or sorted(name for name in own if shapes[0][name] != shapes[1][name])
    if different:
        there, here = (sizes.get(different[0], "missing") for sizes in shapes)
        raise UserError(
            f"the adapter's tensors do not fit this model, first at '{different[0]}': {there} in the adapter, {here} here",
            fix="use its own recipe, with its backbone.window",
        )
    for name, tensor in own.items():
        tensor.copy_(stored[name])


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
        self.wrapper = method.wrapper(backbone)
        self.readout = backbone.trained_readout()
        self.mix = LayerMix(chosen)
        self.heads = nn.ModuleDict(heads)
        for head in heads.values():
            head.bind(backbone)
        continues = max(chosen) > self.first_block
        reads = self.wrapper.reads if self.wrapper else ()
        below = {layer for layer in chosen if layer <= self.first_block} | set(reads)
        self.gradient_checkpointing = False
        """Whether adapted blocks are computed again in the backward pass instead of keeping what is inside them."""
        self.stored_layers = tuple(sorted(below | ({self.first_block} if continues else set())))
        """The frozen states that :meth:`forward` needs: those mixed, and the one entering the first trainable block."""
        self.stores_frames = not (continues or reads or self.readout)
        """Whether frames are all that is needed of the frozen states, not tokens."""

    @property
    def stored_shape(self) -> tuple[int, ...]:
        """Shape of one frozen state of one window."""
        if self.stored_layers == (INPUT,):
            return self.backbone.prepared_shape
        rows = self.backbone.frames_per_window if self.stores_frames else self.backbone.tokens_per_window
        return rows, self.backbone.hidden_size

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
        """Waveforms ``[batch, window_samples]`` -> frozen states ``[batch, stored layers, *stored_shape]``."""
        state, kept = self.backbone.prepare(audio, lengths), []
        for index in range(INPUT, max(self.stored_layers) + 1):
            if index in self.stored_layers:
                read = self.backbone.readout(state) if self.stores_frames else state
                kept.append(read.float())  # under autocast, which dtype a layer returns differs between devices
            if index < max(self.stored_layers):
                state = self.backbone.next_state(index, state)
        return torch.stack(kept, dim=1)

    def forward(self, stored: Tensor) -> dict[str, dict[str, Tensor]]:
        """Frozen states ``[batch, stored layers, *stored_shape]`` -> logits ``[batch, frames, classes]`` by head, output."""
        mixed = self.mixed(stored)
        return {name: head(Context(mixed)) for name, head in self.heads.items()}

    def mixed(self, stored: Tensor) -> Tensor:
        """Frozen states ``[batch, stored layers, *stored_shape]`` -> what the heads read, ``[batch, frames, hidden]``."""
        states = dict(zip(self.stored_layers, stored.to(self.mix.weights.dtype).unbind(dim=1), strict=True))
        if self.first_block == INPUT and self.wrapper:
            states[INPUT] = self.wrapper.input(states[INPUT])
        for index in range(self.first_block, max(self.mix.layers)):
            states[index + 1] = self._block(index, states[index])
        read = states if self.stores_frames else {layer: self._frames(states[layer]) for layer in self.mix.layers}
        mixed = self.mix(read) if self.readout is None else self.readout(self.mix(read))
        return self.wrapper.output(mixed, states) if self.wrapper else mixed

    def _frames(self, state: Tensor) -> Tensor:
        return self.backbone.readout(state) if self.readout is None else state

    def _block(self, index: int, state: Tensor) -> Tensor:
        if self.gradient_checkpointing and self.training:
            return cast(Tensor, checkpoint(self.backbone.next_state, index, state, use_reentrant=False))
        return self.backbone.next_state(index, state)

    def named_trainable(self) -> Iterator[tuple[str, nn.Parameter]]:
        """Every parameter that is trained, under the name an artifact uses."""
        yield from self.method.parameters().items()
        if self.wrapper:
            yield from self.wrapper.named_parameters()
        yield "mix.weights", self.mix.weights
        for name, parameter in self.readout.named_parameters() if self.readout else ():
            yield f"readout.{name}", parameter
        for name, parameter in self.heads.named_parameters():
            yield f"heads.{name}", parameter

    def _named_state(self) -> dict[str, Tensor]:
        """What is trained, and what the wrapper measures while it is trained."""
        return {**dict(self.named_trainable()), **(dict(self.wrapper.named_buffers()) if self.wrapper else {})}

    def trainable_state(self) -> dict[str, Tensor]:
        """Copies of all trained tensors by artifact name, on the CPU."""
        return {name: tensor.detach().cpu().clone() for name, tensor in self._named_state().items()}

    def load_trainable(self, tensors: Mapping[str, Tensor]) -> None:
        """Copy trained tensors in place. Raises :class:`UserError` when names or shapes differ from this model's."""
        copy_tensors(tensors, self._named_state())

    def trainable_counts(self) -> dict[str, int]:
        """Number of trained parameters in the backbone, the mix and the heads."""
        around = sum(p.numel() for p in self.wrapper.parameters()) if self.wrapper else 0
        return {
            "backbone": sum(p.numel() for p in self.method.parameters().values()) + around,
            "mix": self.mix.weights.numel() + sum(p.numel() for p in (self.readout.parameters() if self.readout else ())),
            "heads": sum(p.numel() for p in self.heads.parameters()),
        }
