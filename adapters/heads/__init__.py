"""The contract of a head: from hidden states to one kind of annotation, with its targets, loss, decoding and scores."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from etude.adapters.annotations import Annotation
from etude.adapters.config import StrictModel

Activations = dict[str, NDArray[np.float32]]
"""Output name -> probabilities ``[frames, classes]`` of one whole recording."""


@dataclass(frozen=True, slots=True)
class FrameGrid:
    """A run of frames of a recording; frame ``k`` stands for the time ``(start + k) / rate`` seconds."""

    start: int
    frames: int
    rate: float
    real: int
    """Frames that hold audio; the rest is padding and never counts."""


class HeadConfig(StrictModel):
    """Fields every head has."""

    weight: float = 1.0
    """Factor of this head's loss in the sum over heads."""


class Head(nn.Module, ABC):
    """One task. Shapes: ``[batch, frames, classes]`` in training, ``[frames, classes]`` per recording in decoding."""

    Config: ClassVar[type[HeadConfig]]
    labels: tuple[str, ...]
    thresholds: dict[str, Any]
    """What decoding needs beside the activations; tuned on validation data and stored in the artifact."""

    @abstractmethod
    def targets(self, annotation: Annotation, grid: FrameGrid) -> dict[str, NDArray[np.float32]]:
        """Target and mask arrays ``[frames, classes]`` or ``[frames]`` of one window."""

    @abstractmethod
    def forward(self, states: Tensor) -> dict[str, Tensor]:
        """Mixed states ``[batch, frames, hidden]`` -> logits by output name, each ``[batch, frames, classes]``."""

    @abstractmethod
    def loss(self, logits: Mapping[str, Tensor], targets: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Weighted loss terms by name, each a mean over labelled elements; their sum is the head's loss."""

    @abstractmethod
    def fit_statistics(self, annotations: Sequence[Annotation], rate: float) -> None:
        """Learn class weights and the like from the training annotations, before the first step."""

    @abstractmethod
    def tune(self, references: Sequence[Annotation], activations: Sequence[Activations], rate: float) -> None:
        """Choose :attr:`thresholds` on validation data."""

    @abstractmethod
    def decode(self, activations: Activations, rate: float) -> Annotation:
        """Probabilities of one recording -> its annotation, by the configured post-processor."""

    @abstractmethod
    def score(self, references: Sequence[Annotation], activations: Sequence[Activations], rate: float) -> dict[str, Any]:
        """Flat ``name -> number`` scores plus a ``per_class`` table; frame scores and event scores."""
