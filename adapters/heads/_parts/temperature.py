"""Confidences that are what they say: a temperature for votes, from examples that those who vote did not have."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.special import log_softmax

TEMPERATURES = tuple(round(float(value), 3) for value in np.geomspace(0.1, 4.0, 25))


def calibrated(votes: NDArray[np.float64], temperature: float) -> NDArray[np.float64]:
    """``[n, classes]`` -> log-probabilities."""
    found: NDArray[np.float64] = log_softmax(votes / temperature, axis=1)
    return found


def likeliest_temperature(votes: NDArray[np.float64], classes: NDArray[np.intp]) -> float:
    """What votes on held-out examples are divided by to be log-probabilities: the likeliest (Guo et al., ICML 2017)."""
    found = {value: likelihood(calibrated(votes, value), classes) for value in TEMPERATURES}
    return max(found, key=lambda value: found[value])


def likelihood(judged: NDArray[np.float64], classes: NDArray[np.intp]) -> float:
    """Mean log-probability of the true classes."""
    return float(judged[np.arange(len(classes)), classes].mean())
