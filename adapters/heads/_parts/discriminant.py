"""Linear discriminant analysis with a shrunk covariance: the classifier that few notes of one session spoil least.

It has a closed form, so that a cross-validation over groups costs seconds. What it assumes, one covariance for all classes,
keeps it from learning the session, and the more so the more that is shrunk towards a multiple of the identity (as Ledoit &
Wolf, 2004, do).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

SMALLEST_DEVIATION = 1e-3
FOLDS = 5
FLOOR = 1e-3

Matrix = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Discriminant:
    """``(x - mean) * scale @ weights + bias`` are the logits of ``x`` ``[n, features]``, ``[n, classes]``."""

    mean: Matrix
    scale: Matrix
    weights: Matrix
    bias: Matrix

    def logits(self, inputs: NDArray[np.floating]) -> Matrix:
        """``[n, features]`` -> ``[n, classes]``."""
        found: Matrix = (inputs - self.mean) * self.scale @ self.weights + self.bias
        return found


class Scatter:
    """What a fit needs of some examples: computed once, it serves every degree of shrinkage."""

    def __init__(self, inputs: NDArray[np.floating], classes: NDArray[np.intp], count: int) -> None:
        """``inputs`` ``[n, features]``, ``classes`` ``[n]`` below ``count``; every class counts the same."""
        inputs = inputs.astype(np.float64)
        self.mean, deviation = inputs.mean(axis=0), inputs.std(axis=0)
        self.scale = 1 / np.maximum(deviation, SMALLEST_DEVIATION)
        scaled = (inputs - self.mean) * self.scale
        present = np.bincount(classes, minlength=count) > 0
        self.centres = np.zeros((count, inputs.shape[1]))
        within = np.zeros((inputs.shape[1], inputs.shape[1]))
        for label in np.flatnonzero(present):
            own = scaled[classes == label]
            self.centres[label] = own.mean(axis=0)
            centred = own - self.centres[label]
            within += centred.T @ centred / len(own)
        self.within, self.present = within / max(1, present.sum()), present

    def discriminant(self, shrinkage: float) -> Discriminant:
        """With equal priors; classes without an example have logits far below all others."""
        size = len(self.within)
        target = max(np.trace(self.within) / size, SMALLEST_DEVIATION)
        shrunk = (1 - shrinkage) * self.within + shrinkage * target * np.eye(size)
        weights = np.linalg.solve(shrunk, self.centres.T)
        bias = -0.5 * np.einsum("cf,fc->c", self.centres, weights)
        return Discriminant(self.mean, self.scale, weights, np.where(self.present, bias, -1e4))


def folds(groups: Sequence[str]) -> NDArray[np.intp]:
    """Which of up to :data:`FOLDS` folds each example is judged in, ``[n]``: all of a group in the same, the largest first."""
    names, sizes = np.unique(np.array(groups), return_counts=True)
    load = np.zeros(min(FOLDS, len(names)), np.intp)
    fold = {}
    for index in np.argsort(-sizes, kind="stable"):
        smallest = int(load.argmin())
        fold[names[index]] = smallest
        load[smallest] += sizes[index]
    return np.array([fold[name] for name in groups], np.intp)


def log_probabilities(logits: NDArray[np.floating]) -> Matrix:
    """``[n, classes]`` -> the same shape; none is below :data:`FLOOR`, so that one expert alone cannot rule a class out."""
    shifted = np.exp(logits - logits.max(axis=1, keepdims=True))
    found: Matrix = np.log(shifted / shifted.sum(axis=1, keepdims=True) + FLOOR)
    return found


def macro_f1(truth: NDArray[np.intp], found: NDArray[np.intp], count: int) -> float:
    """Over the classes that occur in ``truth``."""
    pairs = np.zeros((count, count))
    np.add.at(pairs, (truth, found), 1)
    present = pairs.sum(axis=1) > 0
    scores = 2 * np.diag(pairs) / np.maximum(pairs.sum(axis=0) + pairs.sum(axis=1), 1)
    return float(scores[present].mean())


def held_out(
    inputs: NDArray[np.floating], classes: NDArray[np.intp], fold: NDArray[np.intp], count: int, shrinkage: float
) -> Matrix:
    """Log-probabilities of each example ``[n, classes]`` by a fit without its fold; with one fold, by a fit with all."""
    if len(np.unique(fold)) < 2:
        return log_probabilities(Scatter(inputs, classes, count).discriminant(shrinkage).logits(inputs))
    found = np.zeros((len(classes), count))
    for one in np.unique(fold):
        model = Scatter(inputs[fold != one], classes[fold != one], count).discriminant(shrinkage)
        found[fold == one] = log_probabilities(model.logits(inputs[fold == one]))
    return found
