"""Tags of whole clips: the predominant instruments, or any other words that hold for a recording from start to end.

A small MLP gives logits per frame, and a clip's are their mean (Zhong et al., APSIPA 2023, arXiv 2306.08850). With ``pooling:
statistics`` the hidden layer is pooled over the clip instead, and the last layer sees the clip as a whole. With ``size: panel``
nothing is trained step by step: small linear classifiers judge the clip's statistics (:mod:`panel`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, ClassVar, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator
from torch import Tensor, nn

from etude.adapters.annotations import Annotation, Layer
from etude.adapters.annotations.tags import Tag
from etude.adapters.heads import Activations, Context, Example, HeadConfig
from etude.adapters.heads._parts.clip_head import ClipConfig, ClipHead
from etude.adapters.heads._parts.dropout import Dropout
from etude.adapters.heads._parts.frame_context import FrameContext
from etude.adapters.heads._parts.panel import Panel
from etude.adapters.heads._parts.panel_head import PanelHead
from etude.adapters.heads._parts.reach import UNKNOWN, is_unknown
from etude.adapters.heads._parts.segment_fit import fit_clips
from etude.adapters.heads._parts.statistics_pooling import StatisticsPooling


class TagsConfig(ClipConfig):
    """What is trained."""

    size: Literal["auto", "panel", "mlp"] = "auto"
    """``panel``: linear classifiers on the statistics of frozen states and of the spectrum, fitted at once, which hold best on
    the next recording; ``mlp``: what the fields below say, trained. ``auto`` is the panel where a recording has one tag and the
    method leaves the states frozen, else the MLP."""
    context: int = Field(0, ge=0)
    """Frames to either side (a multiple of 4, or rounded up to one) that each frame is read with."""
    norm: bool = False
    """A layer norm first, as in AST's own head."""
    hidden: int = Field(512, ge=0)
    """Width of the hidden layer; 0 leaves a linear layer alone."""
    dropout: float = Field(0.2, ge=0, lt=1)
    """Behind the hidden layer."""
    pooling: Literal["mean", "statistics"] = "mean"
    """What makes one of a clip's frames: the mean of their logits, or mean, deviation and maximum of the hidden layer."""

    @model_validator(mode="after")
    def _statistics_are_of_the_hidden_layer(self) -> Self:
        if self.pooling == "statistics" and not self.hidden:
            raise ValueError("'pooling: statistics' needs a hidden layer; set hidden to 256, say")
        if self.size == "panel" and self.activation == "sigmoid":
            raise ValueError("size: panel needs 'activation: softmax'")
        return self


class Tags(PanelHead, ClipHead):
    """Its output is logits ``[..., classes]``, or with ``pooling: statistics`` the hidden layer ``[..., hidden]``."""

    Config: ClassVar[type[HeadConfig]] = TagsConfig
    config: TagsConfig

    def __init__(self, config: TagsConfig, labels: Sequence[str], hidden_size: int, statistics: Mapping[str, Any]) -> None:
        super().__init__(config, labels, hidden_size, statistics)
        if self.judged:
            return
        first: list[nn.Module] = [FrameContext(hidden_size, config.context)] if config.context else []
        if config.norm:
            first.append(nn.LayerNorm(hidden_size))
        self.pooling: StatisticsPooling | None = None
        if config.pooling == "statistics":
            self.mlp = nn.Sequential(*first, nn.Linear(hidden_size, config.hidden), nn.ReLU())
            self.pooling = StatisticsPooling(config.hidden)
            self.last = nn.Sequential(Dropout(config.dropout), nn.Linear(3 * config.hidden, len(labels)))
        else:
            if config.hidden:
                first += [nn.Linear(hidden_size, config.hidden), Dropout(config.dropout), nn.ReLU()]
            self.mlp = nn.Sequential(*first, nn.Linear(config.hidden or hidden_size, len(labels)))

    @classmethod
    def measure(
        cls, config: ClipConfig, labels: Sequence[str], annotations: Sequence[Annotation], rate: float, *, frozen: bool = False
    ) -> dict[str, Any]:
        """See :class:`ClipHead`; says whether a panel judges."""
        assert isinstance(config, TagsConfig)
        measured = super().measure(config, labels, annotations, rate, frozen=frozen)
        auto = frozen and config.activation == "softmax"
        return {**measured, "panel": {}} if config.size == "panel" or (config.size == "auto" and auto) else measured

    @property
    def learned_at_once(self) -> bool:
        """See :class:`Head`."""
        return self.judged

    def fit_panel(self, panel: Panel, examples: Iterable[Example], rate: float) -> None:
        """See :class:`PanelHead`: it judges clips."""
        fit_clips(panel, examples, rate)

    def forward(self, context: Context) -> dict[str, Tensor]:
        """See :class:`Head`."""
        return {"tags": self.mlp(context.mixed) if self.panel is None else self.panel.features(context)}

    def loss(self, logits: Mapping[str, Tensor], targets: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """See :class:`ClipHead`; nothing for a panel, which no step trains."""
        return super().loss(logits, targets) if self.panel is None else {}

    def pool(self, activations: Activations, rate: float) -> Activations:
        """See :class:`ClipHead`; the probabilities of a panel may be less than 1 in all, the rest is that of no class.

        Whether it may be none of them is judged of the clip as a whole, since it begins as those do that were learned.
        """
        found = super().pool(activations, rate)
        if self.panel is not None and (whole := self.panel.segment(activations["tags"], rate)) is not None:
            found["tags"] = (found["tags"] * self.panel.known([whole])).astype(np.float32)
        return found

    def decode(self, activations: Activations, rate: float) -> Layer:
        """See :class:`ClipHead`."""
        if self.names_unknown and is_unknown(activations["tags"])[0]:
            return Layer((Tag(UNKNOWN),))
        return super().decode(activations, rate)

    def _judged(self, frames: NDArray[np.floating[Any]], rate: float) -> NDArray[np.floating[Any]]:
        if self.panel is None:
            return super()._judged(frames, rate)
        segment = self.panel.segment(frames, rate)
        return np.exp(self.panel.log_probabilities([] if segment is None else [segment]))

    def clip_logits(self, frames: Tensor, real: Tensor) -> Tensor:
        """See :class:`ClipHead`."""
        if self.pooling is None:
            return super().clip_logits(frames, real)
        logits: Tensor = self.last(self.pooling(frames, real))
        return logits
