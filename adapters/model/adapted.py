"""A backbone, a method, a layer mix and heads, put together for training.

The forward pass is cut in two at the method's first block. Everything below is frozen: :meth:`AdaptedModel.frozen_states` runs
it without an autograd graph and returns the few states the rest needs. :meth:`AdaptedModel.forward` continues from those. Of a
method that changes the input, nothing but the prepared input is frozen.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import NamedTuple, cast

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from etude.adapters.backbones import INPUT, Backbone
from etude.adapters.errors import UserError
from etude.adapters.heads import Context, Head
from etude.adapters.methods import Method
from etude.adapters.model.mix import LayerMix
from etude.adapters.model.reader import Logits, Reader, copy_tensors
from etude.adapters.model.spans import Run, RunJoiner
from etude.adapters.sound.descriptors import DESCRIPTORS

Stored = Sequence[Tensor]
"""What is frozen of some windows, each ``[batch, *shape]`` as in :attr:`AdaptedModel.stored_shapes`, in that order."""
WINDOWS_AT_ONCE = 32
"""Of runs that are longer, what is computed between the frozen states and the joined ones is not kept for the backward pass."""


class Output(NamedTuple):
    """What a model says of some windows: what the heads read beside the logits, so that a loss may read it."""

    context: Context | None
    """A batch entry for each window; ``None`` where there are too many windows to keep it."""
    logits: Logits
    """A batch entry for each window; of a head that is shown more, for each run."""


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
        self.backbone = backbone
        self.method = method
        self.reader = reader = Reader(backbone, method.wrapper(backbone), chosen, heads)
        adapted = [name for name in method.parameters() if name.startswith("blocks.")]
        if idle := [name for name in adapted if int(name.split(".")[1]) >= reader.last]:
            raise UserError(
                f"'{idle[0]}' changes nothing: the mix reads no layer after {max(chosen)}",
                where="mix.layers",
                fix=f"add layer {count}, or adapt lower blocks only",
            )
        self.gradient_checkpointing = False
        """Whether adapted blocks are computed again in the backward pass instead of keeping what is inside them."""

    def also_read(self, states: Collection[int]) -> None:
        """Let :meth:`forward` return ``states`` beside those that heads read. Raises :class:`UserError` unless they exist."""
        count = self.backbone.num_blocks
        if wrong := [state for state in states if not 0 <= state <= count]:
            raise UserError(f"{self.backbone.id} has no state {wrong[0]}", where="regularizers", fix=f"states are 0 to {count}")
        self.reader.extra |= frozenset(states)

    @property
    def stored_layers(self) -> tuple[int, ...]:
        """The frozen states that :meth:`forward` needs: those read, and the one entering the first trainable block."""
        reader, first = self.reader, self.first_block
        below = {layer for layer in (*reader.mix.layers, *reader.extra) if layer <= first} | reader.behind
        return tuple(sorted(below | ({first} if reader.last > first else set())))

    @property
    def stores_frames(self) -> bool:
        """Whether frames are all that is needed of the frozen states, not tokens."""
        return not (self.reader.last > self.first_block or self.reader.behind or self.reader.readout)

    @property
    def mix(self) -> LayerMix:
        """The layer mix."""
        return self.reader.mix

    @property
    def heads(self) -> nn.ModuleDict:
        """The heads by name."""
        return self.reader.heads

    def stored_shapes(self, *, training: bool = False) -> dict[int | str, tuple[int, ...]]:
        """Shape of what is stored of one window: of each frozen state, and of each descriptor by its name."""
        backbone = self.backbone
        frames = backbone.frames_per_window
        state = (frames if self.stores_frames else backbone.tokens_per_window, backbone.hidden_size)
        shapes: dict[int | str, tuple[int, ...]] = {
            layer: backbone.prepared_shape if layer == INPUT else state for layer in self.stored_layers
        }
        return {**shapes, **{name: (frames, DESCRIPTORS[name].width) for name in self.heard(training)}}

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
    def frozen_states(self, audio: Tensor, lengths: Tensor, *, training: bool = False) -> list[Tensor]:
        """Waveforms ``[batch, window_samples]`` -> frozen states by :attr:`stored_layers`, then the descriptors."""
        state, kept = self.backbone.prepare(audio, lengths), []
        for index in range(INPUT, max(self.stored_layers) + 1):
            if index in self.stored_layers:
                kept.append(self.backbone.readout(state) if self.stores_frames and index != INPUT else state)
            if index < max(self.stored_layers):
                state = self.backbone.next_state(index, state)
        return kept + list(self.backbone.describe(self.heard(training), audio).values())

    def heard(self, training: bool) -> tuple[str, ...]:
        """The descriptors that are kept of windows, those of ``training`` or others."""
        return self.reader.learned_from if training else self.reader.heard

    def forward(self, stored: Stored | Callable[[range], Stored], runs: Sequence[Run] | None = None) -> Output:
        """Frozen states of some windows, or what reads those of a range of them, -> what the model says of them.

        ``runs`` are the windows, in order, as the runs they belong to; only heads that are shown more than one need them.
        """
        if runs is None:
            context = self.context(cast(Stored, stored))
            return Output(context, self.reader.window_logits(context))
        count = sum(len(run.windows) for run in runs)
        parts = [range(first, min(first + WINDOWS_AT_ONCE, count)) for first in range(0, count, WINDOWS_AT_ONCE)]
        heads = self.reader.heads_by_name
        joiners = {
            name: RunJoiner(head, runs, self.backbone.frame_rate) for name, head in heads.items() if head.span != "window"
        }
        pieces: dict[str, dict[str, list[Tensor]]] = {}
        for part in parts:
            context = self._part(stored, part, recomputed=len(parts) > 1)
            for name, outputs in self.reader.window_logits(context).items():
                for output, values in outputs.items():
                    pieces.setdefault(name, {}).setdefault(output, []).append(values)
            for joiner in joiners.values():
                joiner.add(context)
        logits = {name: {output: torch.cat(values) for output, values in outputs.items()} for name, outputs in pieces.items()}
        logits |= {name: heads[name](joiner.context()) for name, joiner in joiners.items()}
        return Output(context if len(parts) == 1 else None, logits)

    def context(self, stored: Stored) -> Context:
        """What is frozen of some windows -> what the heads read of each."""
        count = len(self.stored_layers)
        states = {
            layer: values.to(self.mix.weights.dtype) for layer, values in zip(self.stored_layers, stored[:count], strict=True)
        }
        heard = dict(zip(self.reader.heard, stored[count:], strict=False))  # of training windows not all is kept
        prepared = states.get(INPUT)
        if self.first_block == INPUT and prepared is not None:
            states[INPUT] = self.reader.input(prepared)
        for index in range(self.first_block, self.reader.last):
            states[index + 1] = self._block(index, states[index])
        return self.reader.context(states, prepared, heard, framed=self.stores_frames)

    def _part(self, stored: Stored | Callable[[range], Stored], part: range, *, recomputed: bool) -> Context:
        def compute() -> Context:
            values = stored(part) if callable(stored) else [state[part.start : part.stop] for state in stored]
            return self.context(values)

        if not (recomputed and torch.is_grad_enabled()):
            return compute()
        mixed, *extra = checkpoint(lambda: _flat(compute()), use_reentrant=False)
        return Context(mixed, dict(zip(sorted(self.reader.extra - {INPUT}), extra, strict=True)))

    def _block(self, index: int, state: Tensor) -> Tensor:
        if self.gradient_checkpointing and self.training:
            return cast(Tensor, checkpoint(self.backbone.next_state, index, state, use_reentrant=False))
        return self.backbone.next_state(index, state)

    def named_trainable(self) -> Iterator[tuple[str, nn.Parameter]]:
        """Every parameter that is trained, under the name an artifact uses."""
        yield from self.method.parameters().items()
        yield from ((name, value) for name, value in self.reader.named_state() if isinstance(value, nn.Parameter))

    def _named_state(self) -> dict[str, Tensor]:
        """What is trained, and what the wrapper measures while it is trained."""
        return {**self.method.parameters(), **dict(self.reader.named_state())}

    def trainable_state(self) -> dict[str, Tensor]:
        """Copies of all trained tensors by artifact name, on the CPU."""
        return {name: tensor.detach().cpu().clone() for name, tensor in self._named_state().items()}

    def load_trainable(self, tensors: Mapping[str, Tensor]) -> None:
        """Copy trained tensors in place. Raises :class:`UserError` when names or shapes differ from this model's."""
        copy_tensors(tensors, self._named_state())

    def trainable_counts(self) -> dict[str, int]:
        """Number of trained parameters in the backbone, the mix and the heads."""
        wrapper, readout = self.reader.wrapper, self.reader.readout
        around = sum(p.numel() for p in wrapper.parameters()) if wrapper else 0
        return {
            "backbone": sum(p.numel() for p in self.method.parameters().values()) + around,
            "mix": self.mix.weights.numel() + sum(p.numel() for p in (readout.parameters() if readout else ())),
            "heads": sum(p.numel() for p in self.heads.parameters()),
        }


def _flat(context: Context) -> tuple[Tensor, ...]:
    return context.mixed, *(context.states[layer] for layer in sorted(context.states))
