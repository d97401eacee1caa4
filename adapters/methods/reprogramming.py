"""Input reprogramming: the backbone stays as it is, and what is put in front of it is learned.

The forms of Chen & Lerch (MMM 2023, arXiv 2211.08379: ``additive``, ``cnn``, ``unet``) and of neural model reprogramming (Hung
et al., arXiv 2211.01317: ``additive`` on the waveform is II-NMR, ``generator`` is ID-NMR, ``film`` is IDS-NMR). All but
``additive`` and ``film`` work on spectrograms. They are the identity at step 0, or nearly so, but for ``generator``, whose
output replaces the spectrogram.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping
from typing import Any, ClassVar, Literal, TypeVar, cast

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from etude.adapters.backbones import INPUT, Backbone
from etude.adapters.errors import UserError
from etude.adapters.methods import Method, MethodConfig, Wrapper
from etude.adapters.methods._parts.site_update import SiteUpdate
from etude.adapters.methods._parts.spec_augment import SpecAugment

Layer = TypeVar("Layer", nn.Conv2d, nn.Linear)
NEARLY_ZERO = 1e-3
"""Scale at step 0 of what is added: with exact zeros, the layers before it would have no gradient."""
WIDTHS = {"generator": 135, "film": 54}
"""Channels as published."""


class ReprogrammingConfig(MethodConfig):
    """Which form, and its size."""

    example: ClassVar[Mapping[str, Any]] = {"form": "additive"}

    name: Literal["reprogramming"] = "reprogramming"
    form: Literal["additive", "cnn", "unet", "generator", "film"]
    """What is trained, as above."""
    width: int | None = Field(None, ge=1)
    """Channels of ``generator`` and ``film``; 135 and 54 when omitted."""
    block: int | None = Field(None, ge=0)
    """The state that ``film`` reads; the one after two thirds of the blocks when omitted."""
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
            return Film(self._state(backbone), backbone.hidden_size, width)
        if form != "additive" and len(shape) != 2:
            raise UserError(
                f"'{form}' changes a spectrogram, but {backbone.id} takes a waveform",
                where="method.form",
                fix="use additive, or a backbone with spectrogram input",
            )
        front = Additive(shape) if form == "additive" else Generator(shape[0], width) if form == "generator" else PLAIN[form]()
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


class Front(Wrapper):
    """In front of the backbone; what :meth:`change` is given has gone through ``masks`` in training."""

    def __init__(self) -> None:
        super().__init__()
        self.masks = SpecAugment(0, 0)

    def input(self, prepared: Tensor) -> Tensor:
        """See :class:`Wrapper`."""
        return self.change(cast(Tensor, self.masks(prepared)))

    @abstractmethod
    def change(self, prepared: Tensor) -> Tensor:
        """As :meth:`input`."""


class Additive(Front):
    """One array that is added to every window (AST-NRP on spectrograms, II-NMR on waveforms); it fixes the window's length."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        super().__init__()
        self.input_noise = nn.Parameter(torch.zeros(shape))

    def change(self, prepared: Tensor) -> Tensor:
        """See :class:`Front`."""
        return prepared + self.input_noise


class Cnn(Front):
    """Two 3 x 3 convolutions of one channel (AST-CNNRP), here added to the spectrogram."""

    def __init__(self) -> None:
        super().__init__()
        last = _shrunk(nn.Conv2d(1, 1, 3, padding=1))
        self.input_layers = nn.Sequential(nn.Conv2d(1, 1, 3, padding=1), nn.GELU(), last)

    def change(self, prepared: Tensor) -> Tensor:
        """See :class:`Front`."""
        image = prepared[:, None]
        return cast(Tensor, image + self.input_layers(image))[:, 0]


class UNet(Front):
    """A U-Net of 1, 4 and 8 channels (AST-URP). There is no ReLU at its end: a log-mel is negative in most places."""

    def __init__(self) -> None:
        super().__init__()
        self.input_down1, self.input_down2 = _convolution(1, 4), _convolution(4, 8)
        self.input_bottom = _convolution(8, 8)
        self.input_up2 = _convolution(8, 4)
        norm = nn.BatchNorm2d(1)
        nn.init.constant_(norm.weight, NEARLY_ZERO)
        self.input_up1 = nn.Sequential(nn.Conv2d(4, 1, 3, padding=1, bias=False), _uncounted(norm))
        self.input_out = nn.Conv2d(1, 1, 1)
        nn.init.ones_(self.input_out.weight)
        nn.init.zeros_(cast(Tensor, self.input_out.bias))

    def change(self, prepared: Tensor) -> Tensor:
        """See :class:`Front`."""
        image = prepared[:, None]
        first = self.input_down1(image)
        second = self.input_down2(F.max_pool2d(first, 2))
        bottom = self.input_bottom(F.max_pool2d(second, 2))
        up = self.input_up2(_enlarge(bottom, second) + second)
        up = self.input_up1(_enlarge(up, first) + first)
        return cast(Tensor, self.input_out(up + image))[:, 0]


PLAIN: dict[str, Callable[[], Front]] = {"cnn": Cnn, "unet": UNet}
"""Forms that need to know nothing of the backbone."""


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
    """Scale and shift of the pooled embedding, from the tokens of a middle state (IDS-NMR, there after block 8 of 12)."""

    def __init__(self, state: int, hidden: int, width: int) -> None:
        super().__init__()
        self.reads = (state,)
        self.output_layers = _convolutions(hidden, width)
        self.output_film = _shrunk(nn.Linear(width, 2 * hidden))

    def output(self, mixed: Tensor, states: Mapping[int, Tensor]) -> Tensor:
        """See :class:`Wrapper`."""
        summary = self.output_layers(states[self.reads[0]].mT).mean(dim=-1)
        scale, shift = self.output_film(summary)[:, None].chunk(2, dim=-1)
        return torch.addcmul(shift, mixed, 1 + scale)


def _shrunk(layer: Layer) -> Layer:
    nn.init.normal_(layer.weight, std=NEARLY_ZERO)
    nn.init.zeros_(cast(Tensor, layer.bias))
    return layer


def _convolution(channels: int, out: int) -> nn.Sequential:
    # No bias: batch norm would take it away again.
    return nn.Sequential(nn.Conv2d(channels, out, 3, padding=1, bias=False), _uncounted(nn.BatchNorm2d(out)), nn.ReLU())


def _uncounted(norm: nn.BatchNorm1d | nn.BatchNorm2d) -> nn.Module:
    """Without the number of batches seen, which only averages without momentum need: an artifact holds no integers."""
    norm.num_batches_tracked = None
    return norm


def _enlarge(image: Tensor, like: Tensor) -> Tensor:
    """Bilinear, to the size of ``like``: pooling halves odd sizes, too."""
    return F.interpolate(image, like.shape[-2:], mode="bilinear", align_corners=False)


def _convolutions(channels: int, width: int) -> nn.Sequential:
    """Three convolutions with ReLU and batch norm and a last one without, ``[batch, channels, n]`` -> ``[batch, width, n]``."""
    layers: list[nn.Module] = []
    for size in (channels, width, width):
        layers += [nn.Conv1d(size, width, 3, padding=1), nn.ReLU(), _uncounted(nn.BatchNorm1d(width))]
    return nn.Sequential(*layers, nn.Conv1d(width, width, 3, padding=1))
