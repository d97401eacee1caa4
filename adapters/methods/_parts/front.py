"""What trained layers in front of a backbone have in common, and the start of those that only add to its input."""

from __future__ import annotations

from abc import abstractmethod
from typing import TypeVar, cast

from torch import Tensor, nn

from etude.adapters.methods import Wrapper
from etude.adapters.methods._parts.spec_augment import SpecAugment

Layer = TypeVar("Layer", nn.Conv2d, nn.Linear)
NEARLY_ZERO = 1e-3
"""Scale at step 0 of what is added: with exact zeros, the layers before it would have no gradient."""


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


def shrunk(layer: Layer) -> Layer:
    """``layer`` with nearly no output."""
    nn.init.normal_(layer.weight, std=NEARLY_ZERO)
    nn.init.zeros_(cast(Tensor, layer.bias))
    return layer


def uncounted(norm: nn.BatchNorm1d | nn.BatchNorm2d) -> nn.Module:
    """Without the number of batches seen, which only averages without momentum need: an artifact holds no integers."""
    norm.num_batches_tracked = None
    return norm
