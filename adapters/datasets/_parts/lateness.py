"""By how much labels are later than the onsets that are heard: annotators react late, exports shift.

The onset strength of a recording, seen from its labels and averaged over them, peaks where the onsets are heard.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from etude.adapters.sound.onset_strength import HOP_SECONDS

REACH = 40
"""Hops before and after a label: 200 ms."""
CLIP = 5.0
"""Standard deviations of the strength: no loud onset speaks for the others."""
LEAD = 0.5
"""Hops by which the strength of a sudden onset is before it, since a window sees what begins in it."""
EARLIEST = 0.05
"""Seconds; a label before that means a recording as a whole, or a note that was cut where it begins."""
SMOOTH = np.array([1, 2, 3, 2, 1]) / 9
"""Over hops: nobody labels to the hop."""
HEIGHT = 0.4
"""Standard deviations by which the strength rises, at least, where onsets are heard, ..."""
SIGNIFICANCE = 8.0
"""... and standard errors: fewer labels must rise higher."""
FEWEST = 10
"""Labels that can tell."""
LEAST = 0.02
"""Seconds that matter: onsets are scored to 50 ms, and no attack is immediate."""


@dataclass(frozen=True, slots=True)
class Onsets:
    """``curve`` is the standardised onset strength around labels, ``[2 * REACH + 1]`` hops, summed over ``count`` labels."""

    curve: NDArray[np.float64]
    count: int

    def __add__(self, other: Onsets) -> Onsets:
        return Onsets(self.curve + other.curve, self.count + other.count)

    @property
    def smooth(self) -> NDArray[np.float64]:
        """The mean over the labels, smoothed, ``[2 * REACH + 1]``."""
        return np.convolve(self.curve / self.count, SMOOTH, "same")

    def lateness(self) -> float | None:
        """Seconds by which the labels are later than what is heard, negative for early ones; ``None`` where nothing tells."""
        found = self._peak()
        return None if found is None else found[0]

    def shift(self) -> float | None:
        """:meth:`lateness` if it matters and the labels are wrong for sure, else ``None``.

        What is heard at the labels as well is a rhythm; what comes late and gradually is a slow attack.
        """
        found = self._peak()
        if found is None or abs(found[0]) < LEAST:
            return None
        seconds, height, width = found
        return None if self.smooth[REACH] > height / 2 or width > -seconds > 0 else seconds

    def _peak(self) -> tuple[float, float, float] | None:
        """Lateness, height, and width at half the height (seconds) of the peak: the nearest of those that are about equal."""
        if self.count < FEWEST:
            return None
        mean = self.smooth
        inner = mean[1:-1]
        (tops,) = np.nonzero((inner >= mean[:-2]) & (inner >= mean[2:]) & (inner >= 0.8 * mean.max()))
        if not len(tops):
            return None
        top = int(min(tops + 1, key=lambda index: abs(index - REACH)))
        height = float(mean[top])
        if height < max(HEIGHT, SIGNIFICANCE / self.count**0.5):
            return None
        above = mean > height / 2
        first = top - int(np.argmin(np.append(above[top::-1], False))) + 1
        last = top + int(np.argmin(np.append(above[top:], False)))
        weights = mean[first:last] - height / 2
        centre = float(weights @ np.arange(first, last) / weights.sum())
        return (REACH - centre - LEAD) * HOP_SECONDS, height, (last - first) * HOP_SECONDS


def around(times: Iterable[float], strength: NDArray[np.float32], hop: float) -> Onsets:
    """The onset strength ``[hops]`` around labels at ``times`` (seconds); ``hop`` is about :data:`HOP_SECONDS`."""
    positions = np.array(sorted({round(time / hop) for time in times if time >= EARLIEST}), int)
    positions = positions[positions < len(strength)]
    spread = float(strength.std())
    if not (len(positions) and spread):
        return NONE
    standard = np.clip((strength - strength.mean()) / spread, -CLIP, CLIP)
    curve = sliding_window_view(np.pad(standard, REACH), 2 * REACH + 1)[positions].sum(axis=0, dtype=np.float64)
    return Onsets(curve, len(positions))


NONE = Onsets(np.zeros(2 * REACH + 1), 0)
"""No label."""
