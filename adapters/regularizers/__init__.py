"""The contract of a regularizer: a loss of training alone, which asks something of what the heads read.

It may hold it close to a teacher's embeddings, as EAsT does (Ding & Lerch, ISMIR 2023, arXiv 2306.17424: distances within a
batch, of the last stage or of all) and feature-informed regularization (Hung & Lerch, 2022, arXiv 2206.04850).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar

from pydantic import Field
from torch import Tensor, nn

from etude.adapters.config import StrictModel
from etude.adapters.heads import Context


class RegularizerConfig(StrictModel):
    """Fields every regularizer has."""

    name: str
    """That of its file."""
    weight: float = Field(1.0, gt=0)
    """Factor of its loss in the sum with those of the heads; to train without it, leave it out."""


class Regularizer(nn.Module, ABC):
    """Its parameters (a projection, say) are trained along with the adapter, but they are no part of it.

    They are in checkpoints, and so are its buffers. ``teachers`` are the sizes of the embeddings of teachers by their names.
    """

    Config: ClassVar[type[RegularizerConfig]]

    def __init__(self, config: Any, hidden_size: int, teachers: Mapping[str, int]) -> None:
        super().__init__()
        self.config = config

    @property
    def reads(self) -> tuple[int, ...]:
        """The states that :meth:`loss` needs beside the mix, by index (0 = embedding, N = output of the N-th block)."""
        return ()

    @abstractmethod
    def loss(self, context: Context, teachers: Mapping[str, Tensor], mask: Tensor) -> Tensor:
        """The loss of some windows, one number, not yet multiplied by the weight; all is in single precision.

        ``context`` holds the mix and the states that :attr:`reads` names, each ``[batch, frames, hidden]``, ``teachers`` the
        embeddings of the same windows by teacher, ``[batch, frames of the teacher, size]``; ``mask`` ``[batch, frames]`` is the
        weight of the recording, and 0 in padding. Without any teacher, ``teachers`` is empty.
        """
