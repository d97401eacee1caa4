"""One batch of windows under several adapters, which share whatever the frozen backbone computes without them."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from threading import RLock
from typing import NamedTuple, TypeVar

import torch
from torch import Tensor
from torch._dynamo.exc import TorchDynamoException

from etude.adapters.backbones import INPUT, Backbone
from etude.adapters.errors import UserError
from etude.adapters.heads import Context
from etude.adapters.model.bank import AdapterBank
from etude.adapters.model.loaded import LoadedAdapter

T = TypeVar("T")


class Part(NamedTuple):
    """What the heads of one adapter read of some windows."""

    windows: list[int]
    adapter: LoadedAdapter
    context: Context


class Branches:
    """Runs the clean trunk once per window, and from there on one row per window and adapter.

    The bank has one selection, so threads compute one after the other.

    At most ``rows`` rows are computed at a time; with ``fixed``, always as many, for compiled layers know one shape only.
    """

    def __init__(self, backbone: Backbone, bank: AdapterBank, rows: int, *, fixed: bool) -> None:
        self.backbone, self.bank, self.rows, self.fixed = backbone, bank, rows, fixed
        self.lock = RLock()
        """Held while the selection, or the bank itself, must not change."""

    @torch.inference_mode()
    def __call__(self, audio: Tensor, lengths: Tensor, wanted: Sequence[tuple[int, LoadedAdapter]]) -> list[Part]:
        """Waveforms ``[windows, window_samples]``, their real lengths ``[windows]``, and pairs of window and adapter -> parts.

        The parts of one adapter are in the order in which it is ``wanted``.
        """
        with self.lock:
            return self._parts(audio, lengths, wanted)

    def _parts(self, audio: Tensor, lengths: Tensor, wanted: Sequence[tuple[int, LoadedAdapter]]) -> list[Part]:
        if gone := [adapter.name for _, adapter in wanted if adapter.key not in self.bank.names]:
            raise UserError(f"the adapter '{gone[0]}' was unloaded while it was in use", fix="load it again")
        filled = self._filled(range(len(audio)))
        needed = {layer for _, adapter in wanted for layer in adapter.trunk_layers}
        self.bank.select(None)
        trunk = self._states(self.backbone.prepare(audio[filled], lengths[filled]), INPUT, max(needed), needed)
        branches: dict[tuple[int, int], list[tuple[int, LoadedAdapter]]] = {}
        # Rows of one adapter side by side: most batches are then of one adapter, which is the fastest.
        for window, adapter in sorted(wanted, key=lambda pair: pair[1].key):
            branches.setdefault((adapter.start, adapter.last), []).append((window, adapter))
        parts: list[Part] = []
        heard = self.backbone.describe({name for _, adapter in wanted for name in adapter.heard}, audio)
        for (start, last), rows in branches.items():
            for first in range(0, len(rows), self.rows):
                parts += self._branch(trunk, heard, start, last, rows[first : first + self.rows])
        self.bank.select(None)
        return parts

    def _branch(
        self,
        trunk: dict[int, Tensor],
        heard: dict[str, Tensor],
        start: int,
        last: int,
        rows: Sequence[tuple[int, LoadedAdapter]],
    ) -> list[Part]:
        """Let ``rows`` (window, adapter) leave the trunk at state ``start``, up to state ``last``."""
        adapters = {adapter.key: adapter for _, adapter in rows}
        own: dict[int, Tensor] = {}
        if last > start:
            filled = self._filled(rows)
            self.bank.select([adapter.key for _, adapter in filled])
            read = {layer for adapter in adapters.values() for layer in adapter.read}
            state = trunk[start][[window for window, _ in filled]]
            if start == INPUT:
                state = torch.cat([adapter.input(row[None]) for row, (_, adapter) in zip(state, filled, strict=True)])
            own = self._states(state, start, last, read)
        parts = []
        for key, adapter in adapters.items():
            places = [place for place, row in enumerate(rows) if row[1].key == key]
            windows = [rows[place][0] for place in places]
            layers, shared = adapter.read | adapter.behind, adapter.trunk_layers
            states = {layer: trunk[layer][windows] if layer in shared else own[layer][places] for layer in layers}
            own_heard = {name: heard[name][windows] for name in adapter.heard}
            parts.append(Part(windows, adapter, adapter.context(states, states.get(INPUT), own_heard)))
        return parts

    def _states(self, state: Tensor, first: int, last: int, kept: Collection[int]) -> dict[int, Tensor]:
        """Those of the states ``first`` to ``last`` that are ``kept``, from state ``first``."""
        states = {first: state} if first in kept else {}
        for index in range(first, last):
            try:
                state = self.backbone.next_state(index, state)
            except TorchDynamoException as error:
                reason = " ".join(str(error).split())
                raise UserError(f"cannot compile the backbone here: {reason:.200}", fix="do without compile") from None
            if index + 1 in kept:
                states[index + 1] = state
        return states

    def _filled(self, rows: Sequence[T]) -> list[T]:
        """With fixed shapes, the last of ``rows`` is repeated until there are enough."""
        return [*rows, *([rows[-1]] * (self.rows - len(rows)) if self.fixed else [])]
