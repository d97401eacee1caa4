"""Input reprogramming: the backbone stays as it is, and what is put in front of it is learned.

The forms of Chen & Lerch (MMM 2023, arXiv 2211.08379: ``additive``, ``published_cnn``, ``published_unet``) and of neural model
reprogramming (Hung et al., arXiv 2211.01317: ``additive`` on the waveform is II-NMR, ``generator`` is ID-NMR, ``film`` is
IDS-NMR). ``cnn`` and ``unet`` add to the spectrogram, which the published ones replace. All but ``additive`` and ``film`` work
on spectrograms. They are the identity at step 0, or nearly so, but for ``generator`` and the published ones.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, ClassVar, Literal, cast

import torch
from pydantic import Field
from torch import Tensor, nn

from etude.adapters.backbones import INPUT, Backbone
from etude.adapters.errors import UserError
from etude.adapters.methods import Method, MethodConfig, Wrapper
from etude.adapters.methods._parts.front import Front, shrunk, uncounted
from etude.adapters.methods._parts.image_front import IMAGE_FRONTS
from etude.adapters.methods._parts.site_update import SiteUpdate
from etude.adapters.methods._parts.spec_augment import SpecAugment

WIDTHS = {"generator": 135, "film": 54}
"""Channels as published."""


class ReprogrammingConfig(MethodConfig):
    """Which form, and its size."""

    example: ClassVar[Mapping[str, Any]] = {"form": "additive"}

    name: Literal["reprogramming"] = "reprogramming"
    form: Literal["additive", "cnn", "unet", "published_cnn", "published_unet", "generator", "film"]
    """What is trained, as above."""
    width: int | None = Field(None, ge=1)
    """Channels of ``generator`` and ``film``; 135 and 54 when omitted."""
    block: int | None = Field(None, ge=0)
    """The state that ``film`` reads; the one after two thirds of the blocks when omitted. As published, 9 of AST's 12."""
    tokens: Literal["all", "patches"] = "all"
    """What ``film`` reads of that state: all tokens, or as published none of the special ones that stand for no place in the
    input."""
    mask_bands: int = Field(0, ge=0)
    """SpecAugment: in each training window a run of up to so many bands of the spectrogram is hidden."""
    mask_frames: int = Field(0, ge=0)
    """The same in mel frames."""


class Reprogramming(Method):
    """Trains a :class:`Wrapper`; changes nothing inside the backbone."""

    Config: ClassVar[type[MethodConfig]] = ReprogrammingConfig
    config: ReprogrammingConfig

    def first_block(self, backbone: Backbone) -> int:
        """:data:`INPUT`, but for ``film``: every state is frozen."""
        return backbone.num_blocks if self.config.form == "film" else INPUT

    def attach(self, backbone: Backbone) -> None:
        """Leave the backbone as it is."""

    def parameters(self) -> dict[str, nn.Parameter]:
        """None."""
        return {}

    def site_updates(self, backbone: Backbone, tensors: Mapping[str, Tensor]) -> dict[str, SiteUpdate]:
        """None."""
        return {}

    def wrapper(self, backbone: Backbone) -> Wrapper:
        """The chosen form, untrained. Raises :class:`UserError` where the backbone's input is not what the form takes."""
        form, shape = self.config.form, backbone.prepared_shape
        width = self.config.width or WIDTHS.get(form, 0)
        if form == "film" or len(shape) != 2:
            self._refuse_masks("reads frozen states" if form == "film" else "is given a waveform here")
        if form == "film":
            special = backbone.special_tokens if self.config.tokens == "patches" else 0
            return Film(self._state(backbone), backbone.hidden_size, width, special)
        if form != "additive" and len(shape) != 2:
            raise UserError(
                f"'{form}' changes a spectrogram, but {backbone.id} takes a waveform",
                where="method.form",
                fix="use additive, or a backbone with spectrogram input",
            )
        shaped: dict[str, Callable[[], Front]] = {
            "additive": lambda: Additive(shape),
            "generator": lambda: Generator(shape[0], width),
        }
        front = (shaped | IMAGE_FRONTS)[form]()
        front.masks = SpecAugment(self.config.mask_bands, self.config.mask_frames)
        return front

    def _refuse_masks(self, why: str) -> None:
        for field in ("mask_bands", "mask_frames"):
            if getattr(self.config, field):
                what = f"hides a part of a spectrogram, but '{self.config.form}' {why}"
                raise UserError(what, where=f"method.{field}", fix="remove it")

    def _state(self, backbone: Backbone) -> int:
        count, chosen = backbone.num_blocks, self.config.block
        if chosen is not None and chosen > count:
            raise UserError(f"{backbone.id} has no state {chosen}", where="method.block", fix=f"states are 0 to {count}")
        return round(count * 2 / 3) if chosen is None else chosen


class Additive(Front):
    """One array that is added to every window (AST-NRP on spectrograms, II-NMR on waveforms); it fixes the window's length."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        super().__init__()
        self.input_noise = nn.Parameter(torch.zeros(shape))

    def change(self, prepared: Tensor) -> Tensor:
        """See :class:`Front`."""
        return prepared + self.input_noise


class Generator(Front):
    """Convolutions over time whose output replaces the spectrogram (ID-NMR)."""

    def __init__(self, bands: int, width: int) -> None:
        super().__init__()
        self.input_layers = _convolutions(bands, width)
        self.input_out = nn.Linear(width, bands)

    def change(self, prepared: Tensor) -> Tensor:
        """See :class:`Front`."""
        hidden: Tensor = self.input_layers(prepared)
        return cast(Tensor, self.input_out(hidden.mT)).mT


class Film(Wrapper):
    """Scale and shift of the pooled embedding, from the tokens of a middle state but for the first ``special`` (IDS-NMR, which
    reads AST's state 9, behind the block that it counts as 8 from 0)."""

    def __init__(self, state: int, hidden: int, width: int, special: int = 0) -> None:
        super().__init__()
        self.reads, self.special = (state,), special
        self.output_layers = _convolutions(hidden, width)
        self.output_film = shrunk(nn.Linear(width, 2 * hidden))

    def output(self, mixed: Tensor, states: Mapping[int, Tensor]) -> Tensor:
        """See :class:`Wrapper`."""
        summary = self.output_layers(states[self.reads[0]][:, self.special :].mT).mean(dim=-1)
        scale, shift = self.output_film(summary)[:, None].chunk(2, dim=-1)
        return torch.addcmul(shift, mixed, 1 + scale)


def _convolutions(channels: int, width: int) -> nn.Sequential:
    """Three convolutions with ReLU and batch norm and a last one without, ``[batch, channels, n]`` -> ``[batch, width, n]``."""
    layers: list[nn.Module] = []
    for size in (channels, width, width):
        layers += [nn.Conv1d(size, width, 3, padding=1), nn.ReLU(), uncounted(nn.BatchNorm1d(width))]
    return nn.Sequential(*layers, nn.Conv1d(width, width, 3, padding=1))
