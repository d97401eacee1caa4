"""A stretch of sound, a note or a clip, as a few vectors: how its frames are spread, and what its beginning is like.

Each frame counts by its loudness, so that silence and tails count for nothing. The beginning is described by itself: most
techniques are heard in the first third of a second, and what follows differs between two recordings more than between two
techniques.
"""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy.special import logsumexp

Kind = Literal["beginning", "course", "spectrum"]
EARLY_SECONDS = 0.3
ATTACK_SECONDS = 0.08
RANGE_DB = 40.0
"""Frames that are this much softer than the loudest do not sound."""
LOWEST = -14.0
"""Natural logarithm of power below that of the loudest band, where a spectrum ends."""
NEPERS = float(np.log(10) / 10)
"""Natural logarithm of power per dB."""
SILENCE = -15.0
"""Loudness, natural logarithm of power, that nothing audible stays below: some 65 dB under a full-scale sine."""

Frames = NDArray[np.float32]


def loudness(log_mel: NDArray[np.floating[Any]]) -> NDArray[np.float64]:
    """Natural logarithm of a frame's power, ``[frames, bands]`` -> ``[frames]``."""
    found: NDArray[np.float64] = logsumexp(log_mel.astype(np.float64), axis=-1)
    return found


def sounding(level: NDArray[np.float64]) -> tuple[int, int] | None:
    """First frame that sounds, and the first after the last one; ``None`` for digital silence."""
    (found,) = np.nonzero(level > max(level.max(initial=-np.inf) - RANGE_DB * NEPERS, SILENCE))
    return (int(found[0]), int(found[-1]) + 1) if len(found) else None


def describe(kind: Kind, frames: Frames, level: NDArray[np.float64], rate: float) -> Frames:
    """Frames of a segment ``[frames, width]``, at least one, and their loudness ``[frames]`` -> one vector.

    ``beginning``: the mean of the first :data:`EARLY_SECONDS`. ``course``: mean and deviation there and over all. ``spectrum``:
    what log-mel bands do (mean, deviation, maximum, attack, mean step), relative to the loudest.
    """
    weights = np.exp((level - level.max()) / 4).astype(np.float32)
    early = max(1, round(EARLY_SECONDS * rate))
    if kind == "beginning":
        return _moments(frames[:early], weights[:early])[0]
    if kind == "course":
        return np.concatenate([*_moments(frames[:early], weights[:early]), *_moments(frames, weights)])
    bands = np.maximum(frames - frames.max(), np.float32(LOWEST))
    attack = bands[: max(1, round(ATTACK_SECONDS * rate))].mean(axis=0)
    steps = np.abs(np.diff(bands, axis=0)).mean(axis=0) if len(bands) > 1 else np.zeros_like(attack)
    return np.concatenate([bands.mean(axis=0), bands.std(axis=0), bands.max(axis=0), attack, steps])


def _moments(frames: Frames, weights: Frames) -> tuple[Frames, Frames]:
    shares = weights / weights.sum()
    mean = shares @ frames
    return mean, np.sqrt(shares @ np.square(frames - mean))
