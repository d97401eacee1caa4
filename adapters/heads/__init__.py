"""The contract of a head: from hidden states to one kind of annotation, with its targets, loss, decoding and scores."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor, nn

from etude.adapters.annotations import Annotation, Layer
from etude.adapters.backbones import Backbone
from etude.adapters.config import StrictModel
from etude.adapters.datasets import Track
from etude.adapters.errors import UserError
from etude.adapters.sound.audio import read_window

Activations = dict[str, NDArray[np.floating[Any]]]
"""Output name -> what a head says of one recording: ``[frames, classes]`` in half precision, or what :meth:`Head.pool` makes of
that."""
Span = float | Literal["window", "recording"]
"""What a head is shown at a time: one window of the backbone, so many seconds, or the whole recording."""


@dataclass(frozen=True, slots=True)
class FrameGrid:
    """A run of frames of a recording; frame ``k`` stands for the time ``(start + k) / rate`` seconds."""

    start: int
    frames: int
    rate: float
    real: int
    """Frames that hold audio; the rest is padding and never counts."""


@dataclass(frozen=True, slots=True)
class Excerpt:
    """A part of a recording that a head is to learn from."""

    track: Track
    grid: FrameGrid
    annotation: Annotation
    """What of the track's annotation concerns the grid, and a little around it, in the recording's own time."""
    sample_rate: int
    """Hz, of the backbone."""

    def audio(self) -> NDArray[np.float32]:
        """Mono samples ``[samples]`` of the grid at :attr:`sample_rate`; fewer where the recording ends.

        Raises :class:`UserError` for unreadable audio.
        """
        start, stop = (
            round(frame * self.sample_rate / self.grid.rate) for frame in (self.grid.start, self.grid.start + self.grid.frames)
        )
        return read_window(self.track.audio, start, stop - start, self.sample_rate, self.track.info)


@dataclass(frozen=True, slots=True)
class Context:
    """What a head reads, of one window of each batch entry or of all that its :attr:`Head.span` covers."""

    mixed: Tensor
    """The layer mix, ``[batch, frames, hidden]``."""
    states: Mapping[int, Tensor] = field(default_factory=dict)
    """The states that :attr:`Head.reads` names, each ``[batch, frames, hidden]``."""
    prepared: Tensor | None = None
    """The backbone's prepared input, ``[batch, windows, *prepared shape]``, where :attr:`Head.reads` names it."""
    heard: Mapping[str, Tensor] = field(default_factory=dict)
    """The descriptors that :attr:`Head.hears` names, each ``[batch, frames, width]``."""


@dataclass(frozen=True, slots=True)
class Example:
    """Some training windows, as a head that learns from all of them at once sees them."""

    context: Context
    targets: Mapping[str, Tensor]
    """This head's, ``[batch, frames or 1, ...]``."""
    recordings: Sequence[str]
    """Of each window, the recording that it is cut from."""
    groups: Sequence[str]
    """Of each window, what its recording shares with others (:attr:`Track.group`), empty where that is not known."""
    view: int
    """Which of the augmented views they are; 0 is the clean one."""


class HeadConfig(StrictModel):
    """Fields every head has."""

    weight: float = Field(1.0, gt=0)
    """Factor of this head's loss in the sum over heads; to train without a head, leave it out."""


class Head(nn.Module, ABC):
    """One task. Shapes: ``[batch, frames, classes]`` in training, ``[frames, classes]`` per recording in decoding."""

    Config: ClassVar[type[HeadConfig]]
    kind: ClassVar[str]
    """The kind of annotation that it learns and finds; what a data set calls the classes of that kind are its labels."""
    fitted: ClassVar[str] = ""
    """How the names of the tensors begin that :meth:`fit` makes; empty where it makes none."""
    thresholds: dict[str, Any]
    """What decoding needs beside the activations: tuned on validation data, stored in the artifact."""

    def __init__(self, config: Any, labels: Sequence[str], hidden_size: int, statistics: Mapping[str, Any]) -> None:
        super().__init__()
        self.config = config
        self.labels = tuple(labels)
        self.statistics = dict(statistics)

    @property
    def span(self) -> Span:
        """How much of a recording :meth:`forward` is shown at a time; longer ones are cut with an overlap, as windows are."""
        return "window"

    @property
    def rate(self) -> float | None:
        """Frames per second that states are averaged to before :meth:`forward`; ``None`` leaves the backbone's.

        The nearest rate that divides the backbone's by a whole number is taken. Only for a span of more than a window.
        """
        return None

    def averaged_frames(self, frame_rate: float) -> int:
        """How many of the backbone's frames, at ``frame_rate`` Hz, are one of this head's."""
        return 1 if self.rate is None else max(1, round(frame_rate / self.rate))

    def frame_rate(self, frame_rate: float) -> float:
        """Frames per second of this head, where the backbone gives ``frame_rate``."""
        return frame_rate / self.averaged_frames(frame_rate)

    @property
    def reads(self) -> tuple[int, ...]:
        """Further states that :meth:`forward` needs, by index; ``INPUT`` of the backbones is the prepared input."""
        return ()

    @property
    def learned_at_once(self) -> bool:
        """Whether :meth:`fit` learns all of it, so that no step is needed."""
        return False

    @property
    def hears(self) -> tuple[str, ...]:
        """The descriptors of the waveform that it needs, by name (:data:`DESCRIPTORS`). Only for a span of one window."""
        return ()

    @property
    def learns_from(self) -> tuple[str, ...]:
        """Those of :attr:`hears` that training needs, too; the others are not kept of training windows."""
        return self.hears

    def bind(self, backbone: Backbone) -> None:
        """Learn what reads the backbone's own classes, where the head maps from those. Raises :class:`UserError`."""

    @classmethod
    @abstractmethod
    def measure(
        cls, config: Any, labels: Sequence[str], annotations: Sequence[Annotation], rate: float, *, frozen: bool = False
    ) -> dict[str, Any]:
        """What the head must know of the training annotations (class weights, pitch range): JSON-ready, stored with it.

        ``frozen`` says that no method changes the states that it will read.
        """

    def name_unknown(self) -> None:
        """Let :meth:`decode` call ``unknown`` what is unlike everything in training. Raises :class:`UserError` where it cannot
        tell, or has a class of that name."""
        raise UserError("does not know what is unlike its training data", fix="leave this adapter out, or do without")

    def calibrate(self, examples: Iterable[Example]) -> None:
        """See the training windows, unaugmented, before the first step.

        What is learned from them belongs into :attr:`statistics`. Heads that are shown more than single windows see none.
        """

    def fit(self, examples: Iterable[Example]) -> None:
        """Learn in one go what is not learned step by step, from the training windows in all their views.

        Called before the first step, and, where a method changes the states, before each scoring. ``examples`` may be read
        several times, each time in the same order. Heads that are shown more than single windows see none.
        """

    def start_from(self, statistics: Mapping[str, Any], fitted: Mapping[str, Tensor]) -> None:
        """Build the next :meth:`fit` on that of a trained head of the same labels: its statistics, and its tensors by the names
        that begin with :attr:`fitted`, which are cut off that."""

    @abstractmethod
    def targets(self, excerpt: Excerpt) -> dict[str, NDArray[np.float32]]:
        """Target and mask arrays, ``[frames or 1, ...]``, of what :attr:`span` covers.

        Masks have names that end in ``_mask``; 0 means unlabelled or padding, 1 the rest, which the loss finds multiplied by
        the weight of the recording. Where the track is ``soft``, targets hold the confidence of what is annotated.
        """

    @abstractmethod
    def forward(self, context: Context) -> dict[str, Tensor]:
        """Logits by output name, each ``[batch, frames, ...]`` with one or more axes of classes.

        A head whose last layer reads whole clips gives what that layer reads instead; :meth:`loss` and :meth:`pool` go on.
        """

    @abstractmethod
    def loss(self, logits: Mapping[str, Tensor], targets: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Weighted loss terms by name, each a mean over labelled elements by their weights; their sum is the head's loss."""

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
    def decode(self, activations: Activations, rate: float) -> Layer:
        """Pooled activations of one recording -> records of :attr:`kind`, by the configured post-processor."""

    @abstractmethod
    def score(self, references: Sequence[Annotation], activations: Sequence[Activations], rate: float) -> dict[str, Any]:
        """Flat ``name -> number`` scores, a ``per_class`` table and, if the head has them, ``parts``, a table by parts of a
        record, ``calibration``, by confidence, and ``absent``, how often classes were found that the references lack."""
