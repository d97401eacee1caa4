"""Tags of whole clips: the predominant instruments, or any other words that hold for a recording from start to end.

A small MLP gives logits per frame, and a clip's are their mean (Zhong et al., APSIPA 2023, arXiv 2306.08850). With ``pooling:
statistics`` the hidden layer is pooled over the clip instead, and the last layer sees the clip as a whole.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal, Self

from pydantic import Field, model_validator
from torch import Tensor, nn

from etude.adapters.heads import Context, HeadConfig
from etude.adapters.heads._parts.clip_head import ClipConfig, ClipHead
from etude.adapters.heads._parts.dropout import Dropout
from etude.adapters.heads._parts.frame_context import FrameContext
from etude.adapters.heads._parts.statistics_pooling import StatisticsPooling


class TagsConfig(ClipConfig):
    """What is trained."""

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
        return self


class Tags(ClipHead):
    """Its output is logits ``[..., classes]``, or with ``pooling: statistics`` the hidden layer ``[..., hidden]``."""

    Config: ClassVar[type[HeadConfig]] = TagsConfig
    config: TagsConfig

    def __init__(self, config: TagsConfig, labels: Sequence[str], hidden_size: int, statistics: Mapping[str, Any]) -> None:
        super().__init__(config, labels, hidden_size, statistics)
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

    def forward(self, context: Context) -> dict[str, Tensor]:
        """See :class:`Head`."""
        return {"tags": self.mlp(context.mixed)}

    def clip_logits(self, frames: Tensor, real: Tensor) -> Tensor:
        """See :class:`ClipHead`."""
        if self.pooling is None:
            return super().clip_logits(frames, real)
        logits: Tensor = self.last(self.pooling(frames, real))
        return logits
