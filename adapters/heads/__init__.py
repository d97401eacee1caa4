"""The contract of a head: from hidden states to one kind of annotation, with its targets, loss, decoding and scores."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from etude.adapters.annotations import Annotation
from etude.adapters.backbones import Backbone
from etude.adapters.config import StrictModel
from etude.adapters.heads._parts.vocabulary import Vocabulary

Activations = dict[str, NDArray[np.floating[Any]]]
"""Output name -> what a head says of one recording: ``[frames, classes]`` in half precision, or what :meth:`Head.pool` makes of
that."""


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
    vocabulary: ClassVar[Vocabulary]
    """Which class names of a data set are its labels."""
    thresholds: dict[str, Any]
    """What decoding needs beside the activations: tuned on validation data, stored in the artifact."""

    def __init__(self, config: Any, labels: Sequence[str], hidden_size: int, statistics: Mapping[str, Any]) -> None:
        super().__init__()
        self.config = config
        self.labels = tuple(labels)
        self.statistics = dict(statistics)

    def bind(self, backbone: Backbone) -> None:
        """Learn what reads the backbone's own classes, where the head maps from those. Raises :class:`UserError`."""

    @classmethod
    @abstractmethod
    def measure(cls, config: Any, labels: Sequence[str], annotations: Sequence[Annotation], rate: float) -> dict[str, Any]:
        """What the head must know of the training annotations (class weights, pitch range): JSON-ready, stored with it."""

    def calibrate(self, batches: Iterable[tuple[Tensor, Mapping[str, Tensor]]]) -> None:
        """See the training windows before the first step: mixed states ``[batch, frames, hidden]`` and this head's targets.

        What is learned from them belongs into :attr:`statistics`.
        """

    @abstractmethod
    def targets(self, annotation: Annotation, grid: FrameGrid) -> dict[str, NDArray[np.float32]]:
        """Target and mask arrays ``[frames or 1, classes or 1]`` of one window; a mask of 0 means unlabelled or padding."""

    @abstractmethod
    def forward(self, mixed: Tensor) -> dict[str, Tensor]:
        """Mixed states ``[batch, frames, hidden]`` -> logits by output name, each ``[batch, frames, classes]``.

        A head whose last layer reads whole clips gives what that layer reads instead; :meth:`loss` and :meth:`pool` go on.
        """

    @abstractmethod
    def loss(self, logits: Mapping[str, Tensor], targets: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Weighted loss terms by name, each a mean over labelled elements; their sum is the head's loss."""

    def activations(self, logits: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Logits -> what is kept of a recording's frames, same shapes: probabilities, unless the head says otherwise."""
        return {name: values.float().sigmoid() for name, values in logits.items()}

    def pool(self, activations: Activations, rate: float) -> Activations:
        """Activations of all frames of a recording -> what :meth:`tune`, :meth:`decode` and :meth:`score` read.

        They are the frames themselves unless a head needs less: whole data sets of them are kept in memory.
        """
        return activations

    @abstractmethod
    def tune(self, references: Sequence[Annotation], activations: Sequence[Activations], rate: float) -> None:
        """Choose :attr:`thresholds` on validation data."""

    @abstractmethod
    def decode(self, activations: Activations, rate: float) -> Annotation:
        """Pooled activations of one recording -> its annotation, by the configured post-processor."""

    @abstractmethod
    def score(self, references: Sequence[Annotation], activations: Sequence[Activations], rate: float) -> dict[str, Any]:
        """Flat ``name -> number`` scores, and a ``per_class`` table."""
