"""Ridge regression on random Fourier features: what is not linear in a segment, in closed form.

A class may sound in several ways (an instrument by its techniques), which no linear classifier puts on one side. The features
approximate a Gaussian kernel (Rahimi & Recht, NIPS 2007, algorithm 1), drawn from a fixed seed, so that none need be stored.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from etude.adapters.heads._parts.discriminant import SMALLEST_DEVIATION, Matrix

FEATURES = 1024
WIDTH = 0.3
"""Factor of the squared distance in the kernel's exponent; inputs are scaled to a mean squared norm of 1."""
RIDGE = 0.1
LEAST = 0.01
"""Probability that no class falls below: regression gives none, nor do few examples."""
Blocks = Sequence[NDArray[np.floating]]
"""What is read of each example by several, ``[n, width]`` each."""


@dataclass(frozen=True, slots=True)
class KernelRidge:
    """``cos((x - mean) * scale @ directions + phases) @ weights + bias`` are shares of the classes, ``[n, classes]``, of ``x``,
    the blocks side by side."""

    mean: Matrix
    scale: Matrix
    weights: Matrix
    bias: Matrix

    def log_probabilities(self, inputs: NDArray[np.floating]) -> Matrix:
        """``[n, features]`` -> ``[n, classes]``."""
        return _log_shares(_features((inputs - self.mean) * self.scale) @ self.weights + self.bias)


def fit_kernel_ridge(blocks: Blocks, classes: NDArray[np.intp], count: int) -> KernelRidge:
    """``blocks``, which count alike however wide they are, ``classes`` ``[n]`` below ``count``, which count alike, too."""
    mean, scale, features = _standard(blocks)
    return KernelRidge(mean, scale, *_solved(features, classes, count))


def _standard(blocks: Blocks) -> tuple[Matrix, Matrix, Matrix]:
    """Mean and scale, under which the mean squared norm is 1, each block has the same share, and the features."""
    inputs = np.hstack(blocks)
    mean, deviation = inputs.mean(axis=0, dtype=np.float64), inputs.std(axis=0, dtype=np.float64)
    shares = np.concatenate([np.full(block.shape[1], 1 / (block.shape[1] * len(blocks))) for block in blocks])
    scale = np.sqrt(shares) / np.maximum(deviation, SMALLEST_DEVIATION)
    return mean, scale, _features((inputs - mean) * scale)


def _solved(features: Matrix, classes: NDArray[np.intp], count: int) -> tuple[Matrix, Matrix]:
    """Weights and bias."""
    sizes = np.maximum(np.bincount(classes, minlength=count), 1)
    weights = len(classes) / (sizes > 1).sum() / sizes[classes]
    targets = np.eye(count)[classes]
    bias = weights @ targets / weights.sum()
    weighted = features * weights[:, None]
    solved = np.linalg.solve(weighted.T @ features + RIDGE * np.eye(FEATURES), weighted.T @ (targets - bias))
    return solved, bias


def held_out_kernel(blocks: Blocks, classes: NDArray[np.intp], fold: NDArray[np.intp], count: int) -> Matrix:
    """Log-probabilities of each example ``[n, classes]`` by a fit without its fold; with one fold, by a fit with all.

    Only mean and scale of the inputs are those of all: the features need then be computed once.
    """
    _, _, features = _standard(blocks)
    found = np.zeros((len(classes), count))
    for one in np.unique(fold):
        own = fold == one
        rest = own if own.all() else ~own
        weights, bias = _solved(features[rest], classes[rest], count)
        found[own] = _log_shares(features[own] @ weights + bias)
    return found


def _log_shares(found: Matrix) -> Matrix:
    shares = np.clip(found, LEAST, 1.0)
    logs: Matrix = np.log(shares / shares.sum(axis=1, keepdims=True))
    return logs


def _features(scaled: NDArray[np.floating]) -> Matrix:
    directions, phases = _drawn(scaled.shape[1])
    found: Matrix = np.sqrt(2 / FEATURES) * np.cos(scaled.astype(np.float32) @ directions + phases).astype(np.float64)
    return found


@lru_cache(maxsize=2)
def _drawn(size: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    generator = np.random.default_rng(0)
    directions, phases = generator.normal(0, np.sqrt(2 * WIDTH), (size, FEATURES)), generator.uniform(0, 2 * np.pi, FEATURES)
    return directions.astype(np.float32), phases.astype(np.float32)
