"""What reads a backbone's states: readout, layer mix, what a method adds behind the backbone, and the heads.

It is the same in training and in a session, which differ only in how the states come about.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import cast

import torch
from torch import Tensor, nn

from etude.adapters.backbones import INPUT, Backbone
from etude.adapters.errors import UserError
from etude.adapters.heads import Context, Head
from etude.adapters.methods import Wrapper
from etude.adapters.model.mix import LayerMix

Logits = dict[str, dict[str, Tensor]]
"""Head -> output -> ``[batch, frames, ...]``."""


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


class Reader(nn.Module):
    """From states to logits. ``layers`` are those that are mixed; ``wrapper`` is the method's, if it has one."""

    def __init__(self, backbone: Backbone, wrapper: Wrapper | None, layers: tuple[int, ...], heads: Mapping[str, Head]) -> None:
        super().__init__()
        self._backbone = (backbone,)  # in a tuple: no part of this module
        self.wrapper = wrapper
        self.readout = backbone.trained_readout()
        self.mix = LayerMix(layers)
        self.heads = nn.ModuleDict(heads)
        for head in heads.values():
            head.bind(backbone)
        self.behind = frozenset(wrapper.reads if wrapper else ())
        """The frozen states whose tokens the wrapper reads, beside those that are mixed."""
        self.extra = frozenset(state for head in heads.values() for state in head.reads)
        """The states that heads read themselves, and in training regularizers."""
        learned = {name for head in heads.values() for name in head.learns_from}
        heard = {name for head in heads.values() for name in head.hears}
        self.learned_from = tuple(sorted(learned))
        """The descriptors of the waveform that training needs."""
        self.heard = (*self.learned_from, *sorted(heard - learned))
        """All that heads hear, those first."""
        if wrong := [state for state in self.extra if not INPUT <= state <= backbone.num_blocks]:
            raise ValueError(f"a head reads state {wrong[0]} of {backbone.num_blocks}")
        if clash := [name for name, head in heads.items() if head.span != "window" and INPUT in head.reads]:
            raise ValueError(f"the head '{clash[0]}' reads prepared input, which is of single windows: its span must be one")
        if clash := [name for name, head in heads.items() if head.span != "window" and head.hears]:
            raise ValueError(f"the head '{clash[0]}' hears descriptors, which are of single windows: its span must be one")

    @property
    def heads_by_name(self) -> dict[str, Head]:
        """The heads."""
        return cast(dict[str, Head], dict(self.heads.items()))

    @property
    def last(self) -> int:
        """The highest state that is read."""
        return max(*self.mix.layers, *self.extra, INPUT)

    def input(self, prepared: Tensor) -> Tensor:
        """Prepared windows -> what the method puts in their place, same shape."""
        return self.wrapper.input(prepared) if self.wrapper else prepared

    def context(
        self,
        states: Mapping[int, Tensor],
        prepared: Tensor | None = None,
        heard: Mapping[str, Tensor] | None = None,
        *,
        framed: bool = False,
    ) -> Context:
        """States ``[batch, tokens, hidden]`` by index, with ``framed`` read out already -> what heads read of each window.

        ``prepared`` is the backbone's input, ``[batch, *prepared shape]``, where a head reads it; ``heard`` the descriptors.
        """
        heard = heard or {}
        backbone = self._backbone[0]
        if self.readout is not None:
            mixed = self.readout(self.mix(states))
        else:
            mixed = self.mix(states if framed else {layer: backbone.readout(states[layer]) for layer in self.mix.layers})
        mixed = self.wrapper.output(mixed, states) if self.wrapper else mixed
        if not self.extra:
            return Context(mixed, heard=heard)
        layers = sorted(self.extra - {INPUT})
        extra = {layer: states[layer] if framed else backbone.readout(states[layer]) for layer in layers}
        return Context(mixed, extra, None if prepared is None else prepared[:, None], heard)

    def window_logits(self, context: Context) -> Logits:
        """Logits of those heads whose span is one window."""
        return {name: head(context) for name, head in self.heads_by_name.items() if head.span == "window"}

    def named_state(self) -> Iterator[tuple[str, Tensor]]:
        """What of it is trained or measured in training, under the names of an artifact."""
        if self.wrapper:
            yield from self.wrapper.named_parameters()
        yield "mix.weights", self.mix.weights
        for name, parameter in self.readout.named_parameters() if self.readout else ():
            yield f"readout.{name}", parameter
        for name, parameter in self.heads.named_parameters():
            yield f"heads.{name}", parameter
        if self.wrapper:
            yield from self.wrapper.named_buffers()
