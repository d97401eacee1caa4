"""Many adapters beside one frozen backbone, switched in place.

S-LoRA (Sheng et al., MLSys 2024) serves many LoRA adapters from one copy of the base model, each row of a batch with its own.
Here the same holds for every method that :class:`SiteUpdate` describes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from etude.adapters.backbones import Backbone
from etude.adapters.methods._parts.site_update import SiteUpdate


@dataclass
class Selection:
    """Which adapter each row of the batch uses, shared by all sites, so that switching writes a few integers."""

    index: Tensor | None = None
    """Row of the stacks, ``[batch]``, or ``[1]`` for all rows of the batch alike; ``None``: no adapter."""


class BankedLinear(nn.Linear):
    """A linear layer of the backbone, with the updates of all adapters to it stacked and padded to one rank.

    Row 0 of each stack is no update, and so are spare rows up to a power of two: layers that are compiled for these shapes stay
    valid while adapters fill them. The stacks are neither parameters nor buffers: the backbone keeps its fingerprint and the
    names of its tensors.
    """

    STACKS = ("down", "up", "gain_in", "gain_out", "shift")

    def __init__(self, base: nn.Linear, selection: Selection, updates: Sequence[SiteUpdate | None]) -> None:
        super().__init__(base.in_features, base.out_features, bias=base.bias is not None, device="meta")
        self.weight, self.bias = base.weight, base.bias
        self.train(base.training)
        self.selection = selection
        spare = 2 ** len(updates).bit_length() - 1 - len(updates)
        given = [update or SiteUpdate() for update in (None, *updates, *[None] * spare)]
        self.down = _stack([update.down for update in given], 0.0, base.weight)
        self.up = _stack([update.up for update in given], 0.0, base.weight)
        self.gain_in = _stack([update.gain_in for update in given], 1.0, base.weight)
        self.gain_out = _stack([update.gain_out for update in given], 1.0, base.weight)
        self.shift = _stack([update.shift for update in given], 0.0, base.weight)

    def forward(self, x: Tensor) -> Tensor:
        """``[batch, frames, in]`` -> ``[batch, frames, out]``."""
        index = self.selection.index
        if index is None:
            return F.linear(x, self.weight, self.bias)
        gained = x if self.gain_in is None else x * self.gain_in[index, None]
        y = F.linear(gained, self.weight, self.bias)
        if self.gain_out is not None:
            y = y * self.gain_out[index, None]
        if self.down is not None and self.up is not None:
            down, up = self.down[index], self.up[index]
            if len(index) == 1:
                low = F.linear(x, down[0]).flatten(0, -2)
                y = torch.addmm(y.flatten(0, -2), low, up[0].mT).view_as(y)
            else:
                y = torch.baddbmm(y, x @ down.mT, up.mT)
        return y if self.shift is None else y + self.shift[index, None]

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        """Let ``to(...)`` move the stacks and the selection as well."""
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        for name in self.STACKS:
            stack: Tensor | None = getattr(self, name)
            setattr(self, name, None if stack is None else fn(stack))
        if self.selection.index is not None:
            self.selection.index = self.selection.index.to(self.weight.device)
        return self


class AdapterBank:
    """Adds adapters to ``backbone`` and chooses among them. Without a selection the backbone computes what it did before."""

    def __init__(self, backbone: Backbone) -> None:
        self.backbone = backbone
        self._updates: dict[str, Mapping[str, SiteUpdate]] = {}
        self._plain: dict[str, nn.Linear] = {}
        self._rows: dict[str | None, int] = {None: 0}
        self._selection = Selection()

    @property
    def names(self) -> tuple[str, ...]:
        """The adapters, in the order in which they were added."""
        return tuple(self._updates)

    def add(self, name: str, updates: Mapping[str, SiteUpdate]) -> None:
        """Put an adapter's ``updates`` (by canonical site) beside the others, under a new name; nothing is selected then."""
        self._updates[name] = updates
        self._rebuild()

    def remove(self, name: str) -> None:
        """Take an adapter out; nothing is selected then. Raises :class:`KeyError` for an unknown name."""
        del self._updates[name]
        self._rebuild()

    def select(self, names: str | Sequence[str | None] | None) -> None:
        """Use one adapter for all rows of the batches to come, or one for each row, or none (``None``).

        Raises :class:`KeyError` for an unknown name.
        """
        chosen = [names] if names is None or isinstance(names, str) else names
        rows = [self._rows[name] for name in chosen]
        if len(set(rows)) == 1:
            del rows[1:]
        if rows == [0]:
            self._selection.index = None
            return
        with torch.inference_mode(False):  # one kind of tensor wherever this is called, or compiled layers compile again
            self._selection.index = torch.tensor(rows, device=self._device)

    def _rebuild(self) -> None:
        """Replace the linear layers that any adapter changes, and put back the others."""
        self._rows = {None: 0, **{name: row for row, name in enumerate(self._updates, start=1)}}
        self._selection.index = None
        sites = {site for updates in self._updates.values() for site in updates}
        for site in self._plain.keys() - sites:
            self._replace(site, self._plain.pop(site))
        for site in sorted(sites):
            if site not in self._plain:
                linear = self.backbone.model.get_submodule(self.backbone.sites[site])
                assert isinstance(linear, nn.Linear)
                self._plain[site] = linear
            given = [updates.get(site) for updates in self._updates.values()]
            self._replace(site, BankedLinear(self._plain[site], self._selection, given))

    def _replace(self, site: str, linear: nn.Linear) -> None:
        parent, _, name = self.backbone.sites[site].rpartition(".")
        setattr(self.backbone.model.get_submodule(parent), name, linear)

    @property
    def _device(self) -> torch.device:
        return next(self.backbone.model.parameters()).device


def _stack(parts: Sequence[Tensor | None], neutral: float, like: Tensor) -> Tensor | None:
    """``parts`` as rows of one tensor, padded with ``neutral`` to the largest shape; ``None`` without any part."""
    shapes = [part.shape for part in parts if part is not None]
    if not shapes:
        return None
    stack = like.new_full((len(parts), *map(max, zip(*shapes, strict=True))), neutral)
    for row, part in zip(stack, parts, strict=True):
        if part is not None:
            row[tuple(map(slice, part.shape))] = part
    return stack
