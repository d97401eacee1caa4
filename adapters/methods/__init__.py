"""The contract of a method: what is trained inside, or in front of, the frozen backbone."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar

from torch import Tensor, nn

from etude.adapters.backbones import Backbone
from etude.adapters.config import StrictModel
from etude.adapters.site_update import SiteUpdate


class MethodConfig(StrictModel):
    """Fields every method has."""

    name: str


class Method(ABC):
    """Attached to a backbone once; at step 0 the backbone computes what it computed before."""

    Config: ClassVar[type[MethodConfig]]

    def __init__(self, config: Any) -> None:
        self.config = config

    @abstractmethod
    def first_block(self, backbone: Backbone) -> int:
        """Index of the first block whose output a trainable parameter can change; ``num_blocks`` when none can."""

    @abstractmethod
    def attach(self, backbone: Backbone) -> None:
        """Add the trainable parameters to the backbone, in place. Raises :class:`UserError` when no site matches."""

    @abstractmethod
    def parameters(self) -> dict[str, nn.Parameter]:
        """The trainable parameters under canonical names (``blocks.07.attn.q.lora_A``)."""

    @abstractmethod
    def site_updates(self, backbone: Backbone, tensors: Mapping[str, Tensor]) -> dict[str, SiteUpdate]:
        """What trained ``tensors`` (by artifact name) do to the backbone's linear layers, by canonical site; attaches nothing.

        ``backbone`` is one without this method. Names that are not this method's (``mix.weights``, ``heads....``) are ignored.
        Raises :class:`UserError` when the method's own tensors are missing or of other shapes.
        """

    def train(self, mode: bool) -> None:  # noqa: B027 - most methods have no modules that differ in training
        """Switch the method's own modules (LoRA dropout, say); the backbone around them stays in ``eval()``."""
