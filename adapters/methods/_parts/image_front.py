"""Convolutions over a spectrogram as an image of one channel, in front of the backbone (Chen & Lerch, MMM 2023).

The ``Published`` ones are the released layers, whose output replaces the spectrogram. Ours keep the spectrogram and add to it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

from torch import Tensor, nn
from torch.nn import functional as F

from etude.adapters.methods._parts.front import NEARLY_ZERO, Front, shrunk, uncounted


class Cnn(Front):
    """Two 3 x 3 convolutions of one channel and a GELU between them, added to the spectrogram (after AST-CNNRP)."""

    def __init__(self) -> None:
        super().__init__()
        last = shrunk(nn.Conv2d(1, 1, 3, padding=1))
        self.input_layers = nn.Sequential(nn.Conv2d(1, 1, 3, padding=1), nn.GELU(), last)

    def change(self, prepared: Tensor) -> Tensor:
        """See :class:`Front`."""
        image = prepared[:, None]
        return cast(Tensor, image + self.input_layers(image))[:, 0]


class PublishedCnn(Front):
    """Two 3 x 3 convolutions of one channel, nothing between them, in place of the spectrogram (AST-CNNRP): 20 parameters."""

    def __init__(self) -> None:
        super().__init__()
        self.input_layers = nn.Sequential(nn.Conv2d(1, 1, 3, padding=1), nn.Conv2d(1, 1, 3, padding=1))

    def change(self, prepared: Tensor) -> Tensor:
        """See :class:`Front`."""
        return cast(Tensor, self.input_layers(prepared[:, None]))[:, 0]


class UNet(Front):
    """A U-Net of 1, 4 and 8 channels with two poolings (after AST-URP), added to the spectrogram.

    There is no ReLU at its end: a log-mel is negative in most places.
    """

    def __init__(self) -> None:
        super().__init__()
        self.input_down1, self.input_down2 = _convolution(1, 4), _convolution(4, 8)
        self.input_bottom = _convolution(8, 8)
        self.input_up2 = _convolution(8, 4)
        norm = nn.BatchNorm2d(1)
        nn.init.constant_(norm.weight, NEARLY_ZERO)
        self.input_up1 = nn.Sequential(nn.Conv2d(4, 1, 3, padding=1, bias=False), uncounted(norm))
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


class PublishedUNet(Front):
    """The U-Net of AST-URP, in place of the spectrogram: 1,285 parameters.

    Reconstructed from what is known of it: channels 1-4-8-8-4-1-1, three poolings, bilinear enlarging with aligned corners,
    sums as skips (the last with the input), a 3 x 3 convolution 1 -> 1 with batch norm and ReLU at the end, and its size. The
    sums fit in channels only where the skips are taken behind the poolings. 3 x 3 convolutions throughout, each with a batch
    norm and without a bias, have 36 + 288 + 576 + 288 + 36 + 9 weights, and 52 parameters of norms: 1,285.
    """

    def __init__(self) -> None:
        super().__init__()
        self.input_down1, self.input_down2, self.input_down3 = _convolution(1, 4), _convolution(4, 8), _convolution(8, 8)
        self.input_up3, self.input_up2, self.input_up1 = _convolution(8, 4), _convolution(4, 1), _convolution(1, 1)

    def change(self, prepared: Tensor) -> Tensor:
        """See :class:`Front`."""
        image = prepared[:, None]
        half = F.max_pool2d(self.input_down1(image), 2)
        quarter = F.max_pool2d(self.input_down2(half), 2)
        eighth = F.max_pool2d(self.input_down3(quarter), 2)
        up = self.input_up3(_enlarge(eighth, quarter, aligned=True) + quarter)
        up = self.input_up2(_enlarge(up, half, aligned=True) + half)
        return cast(Tensor, self.input_up1(_enlarge(up, image, aligned=True) + image))[:, 0]


IMAGE_FRONTS: dict[str, Callable[[], Front]] = {
    "cnn": Cnn,
    "unet": UNet,
    "published_cnn": PublishedCnn,
    "published_unet": PublishedUNet,
}
"""By the name of the form; they need to know nothing of the backbone."""


def _convolution(channels: int, out: int) -> nn.Sequential:
    # No bias: batch norm would take it away again.
    return nn.Sequential(nn.Conv2d(channels, out, 3, padding=1, bias=False), uncounted(nn.BatchNorm2d(out)), nn.ReLU())


def _enlarge(image: Tensor, like: Tensor, aligned: bool = False) -> Tensor:
    """Bilinear, to the size of ``like``: pooling halves odd sizes, too. ``aligned``: corner pixels stay in the corners."""
    return F.interpolate(image, like.shape[-2:], mode="bilinear", align_corners=aligned)
