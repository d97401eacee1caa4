"""Losses over labelled elements only."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F


def masked_bce(logits: Tensor, targets: Tensor, mask: Tensor, positive_weight: Tensor | float = 1.0) -> Tensor:
    """Binary cross-entropy, mean over the elements whose ``mask`` is 1; 0 when there is none.

    Shapes: ``logits`` and ``targets`` ``[batch, frames, classes]``, ``mask`` the same or ``[batch, frames, 1]``;
    ``positive_weight`` a number or ``[classes]``, applied to positives only. MERTech sums over the batch instead (its
    released code), which ties the gradient to the batch size.
    """
    elementwise = F.binary_cross_entropy_with_logits(logits.float(), targets, reduction="none")
    weight = mask * (1.0 + targets * (positive_weight - 1.0))
    return (elementwise * weight).sum() / mask.expand_as(elementwise).sum().clamp(min=1.0)


def class_weights(positive_frames: Sequence[float], power: float) -> NDArray[np.float32]:
    """Weights of the positives per class, ``[classes]``, from the number of positive frames of each class.

    ``((mean(p) / p) * ((1 - p) / (1 - mean(p)))) ** power`` with ``p`` a class's share of all positive frames (MERTech,
    released code, power .3). A class that never occurs, or that is the only one, would give infinity or 0: it gets 1.
    """
    counts = np.asarray(positive_frames, dtype=np.float64)
    weights = np.ones(len(counts))
    if (counts > 0).sum() > 1:
        share = counts / counts.sum()
        mean = share.mean()
        present = share > 0
        weights[present] = ((mean / share[present]) * ((1 - share[present]) / (1 - mean))) ** power
    return weights.astype(np.float32)
