"""Asks the layer mix to change slowly from frame to frame."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Literal

from torch import Tensor

from etude.adapters.heads import Context
from etude.adapters.heads._parts.losses import weighted_mean
from etude.adapters.regularizers import Regularizer, RegularizerConfig


class SmoothMixConfig(RegularizerConfig):
    """No fields of its own."""

    name: Literal["smooth_mix"] = "smooth_mix"


class SmoothMix(Regularizer):
    """The mean squared step between neighbouring frames, padding left out."""

    Config: ClassVar[type[RegularizerConfig]] = SmoothMixConfig

    def loss(self, context: Context, teachers: Mapping[str, Tensor], mask: Tensor) -> Tensor:
        """See :class:`Regularizer`."""
        steps = context.mixed.diff(dim=1).square().mean(dim=-1)
        both = mask[:, 1:] * mask[:, :-1]
        return weighted_mean(steps, both)
