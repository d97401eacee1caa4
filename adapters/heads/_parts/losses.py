"""Losses over labelled elements only."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F


def weighted_mean(values: Tensor, weights: Tensor) -> Tensor:
    """The mean of ``values`` by ``weights`` (same shape, 0 or more); 0 without gradient where all of them are 0."""
    total = weights.sum()
    return (values * weights).sum() / torch.where(total > 0, total, 1.0)


def masked_bce(logits: Tensor, targets: Tensor, mask: Tensor, positive_weight: Tensor | float = 1.0) -> Tensor:
    """Binary cross-entropy, mean over all elements by their weight in ``mask``, which is 0 where they are unlabelled.

    Shapes: ``logits`` and ``targets`` ``[batch, frames, *classes]`` with one or more axes of classes, ``mask`` the same or with
    1 for an axis, ``[batch, frames, 1]`` for any number of them; ``positive_weight`` a number or of the last axes of classes.
    Targets may lie between 0 and 1: the loss of such a one is what it is on average with 1 drawn with that probability, and
    ``positive_weight`` (above 0) counts for positives only. MERTech sums over the batch instead (its released code), which
    ties the gradient to the batch size.
    """
    odds = targets * positive_weight
    elementwise = F.binary_cross_entropy_with_logits(logits.float(), odds / (odds + (1.0 - targets)), reduction="none")
    mask = mask.reshape(*mask.shape, *[1] * (logits.dim() - mask.dim())).expand_as(elementwise)
    weight = 1.0 + targets * (positive_weight - 1.0)
    return weighted_mean(elementwise * weight, mask)


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
