"""One factor for each channel of the mixed states: the smallest thing that can be trained behind a frozen backbone."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn

from etude.adapters.backbones import Backbone
from etude.adapters.methods import Method, MethodConfig, Wrapper
from etude.adapters.methods._parts.site_update import SiteUpdate


class ChannelGainConfig(MethodConfig):
    """No fields: there is nothing to choose."""

    name: Literal["channel_gain"] = "channel_gain"


class Gain(Wrapper):
    """Parameters behind the backbone are called ``output_...``; at step 0 they change nothing."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.output_gain = nn.Parameter(torch.ones(channels))

    def output(self, mixed: Tensor, states: Mapping[int, Tensor]) -> Tensor:
        """See :class:`Wrapper`."""
        return mixed * self.output_gain


class ChannelGain(Method):
    """Trains nothing inside the backbone."""

    Config: ClassVar[type[MethodConfig]] = ChannelGainConfig

    def first_block(self, backbone: Backbone) -> int:
        """No block's output changes, so that all of them are computed once."""
        return backbone.num_blocks

    def attach(self, backbone: Backbone) -> None:
        """Nothing to add inside."""

    def wrapper(self, backbone: Backbone) -> Wrapper:
        """See :class:`Method`."""
        return Gain(backbone.hidden_size)

    def parameters(self) -> dict[str, nn.Parameter]:
        """None inside the backbone."""
        return {}

    def site_updates(self, backbone: Backbone, tensors: Mapping[str, Tensor]) -> dict[str, SiteUpdate]:
        """None."""
        return {}
