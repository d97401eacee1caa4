"""The contract of a method: what is trained inside, or in front of, the frozen backbone."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar

from torch import Tensor, nn

from etude.adapters.backbones import Backbone
from etude.adapters.config import StrictModel
from etude.adapters.methods._parts.site_update import SiteUpdate


class MethodConfig(StrictModel):
    """Fields every method has."""

    name: str
    """That of its file."""


class Wrapper(nn.Module):
    """Trained layers around the frozen backbone: in front of it, behind it, or both.

    Parameters and buffers are named as an artifact names them: ``input_...`` or ``output_...``.
    """

    reads: tuple[int, ...] = ()
    """The states whose tokens :meth:`output` takes, beside those that are mixed."""

    def input(self, prepared: Tensor) -> Tensor:
        """What :meth:`Backbone.prepare` gave, ``[batch, samples]`` or ``[batch, bands, frames]`` -> the same shape."""
        return prepared

    def output(self, mixed: Tensor, states: Mapping[int, Tensor]) -> Tensor:
        """The mixed states ``[batch, frames, hidden]`` -> the same shape; ``states`` ``[batch, tokens, hidden]`` by index."""
        return mixed


class Method(ABC):
    """Attached to a backbone once; at step 0 the backbone computes what it computed before, or as near as the method allows."""

    Config: ClassVar[type[MethodConfig]]

    def __init__(self, config: Any) -> None:
        self.config = config

    @abstractmethod
    def first_block(self, backbone: Backbone) -> int:
        """Index of the first block whose output a trainable parameter can change; ``num_blocks`` when none can, and
        :data:`INPUT` when what the backbone is given changes."""

    def leaves_states(self, backbone: Backbone) -> bool:
        """Whether the heads read the states as the frozen backbone makes them."""
        return self.first_block(backbone) >= backbone.num_blocks and self.wrapper(backbone) is None

    @abstractmethod
    def attach(self, backbone: Backbone) -> None:
        """Add the trainable parameters to the backbone, in place. Raises :class:`UserError` when no site matches."""

    def wrapper(self, backbone: Backbone) -> Wrapper | None:
        """New, untrained layers for in front of or behind ``backbone``, if the method has any. Raises :class:`UserError`."""
        return None

    @abstractmethod
    def parameters(self) -> dict[str, nn.Parameter]:
        """What is trained inside the backbone, under canonical names (``blocks.07.attn.q.lora_A``)."""

    @abstractmethod
    def site_updates(self, backbone: Backbone, tensors: Mapping[str, Tensor]) -> dict[str, SiteUpdate]:
        """What trained ``tensors`` (by artifact name) do to the backbone's linear layers, by canonical site; attaches nothing.

        ``backbone`` is one without this method. Names of other parts (``mix...``, ``heads...``, ``input_...``) are ignored.
        Raises :class:`UserError` when the method's own tensors are missing or of other shapes.
        """

    def train(self, mode: bool) -> None:  # noqa: B027 - most methods have no modules that differ in training
        """Switch the method's own modules (LoRA dropout, say); the backbone around them stays in ``eval()``."""
