"""How far training reaches: what lies far from all of it may well be of none of the classes.

Distances are those to the nearest class centre, after every feature is divided by its deviation. A covariance, as Lee et al.
(NeurIPS 2018) take, would tell foreign instruments better from the training session, but the next session as well.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

UNKNOWN = "unknown"
"""What is beyond reach is called so where that is asked for."""
QUANTILE = 0.9
"""Of the distances of held-out segments; a higher one is that of a few odd segments."""
BEYOND = 0.4
"""How likely what is beyond reach is of one of the classes: less than that it is not."""
SMALLEST_DEVIATION = 1e-3
NOWHERE = 1e3
"""Where the centre of a class without examples is."""

Inputs = Mapping[str, NDArray[np.floating[Any]]]
"""What is read of each segment, ``[n, width]`` by name."""


class Reach(nn.Module):
    """Learns from segments what is near them. By name, ``margins`` say how many times the usual distance is still near, and
    ``widths`` how much is read. ``statistics`` are what :meth:`fit` left, ``None`` of a panel that was made without.

    Its tensors are kept with those of the head, but no gradient reaches them.
    """

    def __init__(
        self, margins: Mapping[str, float], widths: Mapping[str, int], classes: int, statistics: Mapping[str, float] | None
    ) -> None:
        super().__init__()
        self.margins, self.classes = dict(margins), classes
        self.statistics = dict(statistics or {})
        kept = {} if statistics is None else {name: torch.zeros(classes + 1, width) for name, width in widths.items()}
        self._tensors = nn.ParameterDict({name: nn.Parameter(own, requires_grad=False) for name, own in kept.items()})
        """The centres, and in the last row the deviations."""

    def fit(self, inputs: Inputs, classes: NDArray[np.intp], fold: NDArray[np.intp]) -> None:
        """Learn from segments of ``classes`` ``[n]``, each judged without its fold ``[n]`` where there are several."""
        for name, values in inputs.items():
            self._tensors[name].copy_(torch.from_numpy(_centres(values, classes, self.classes)))
            distances = np.zeros(len(classes))
            for one in np.unique(fold):
                own = fold == one
                rest = own if own.all() else ~own
                distances[own] = _distances(values[own], _centres(values[rest], classes[rest], self.classes))
            self.statistics[name] = float(np.quantile(distances, QUANTILE))

    def known(self, inputs: Inputs) -> NDArray[np.float64]:
        """How likely each segment is of one of the classes at all, ``[n]``: 1, or :data:`BEYOND`."""
        near = np.ones(len(next(iter(inputs.values()))), np.bool_)
        for name, usual in self.statistics.items():
            near &= _distances(inputs[name], self._tensors[name].double().cpu().numpy()) <= self.margins[name] * usual
        return np.where(near, 1.0, BEYOND)


def _centres(values: NDArray[np.floating[Any]], classes: NDArray[np.intp], count: int) -> NDArray[np.float64]:
    """``[count + 1, width]``, as they are kept."""
    values = values.astype(np.float64)
    deviation = np.maximum(values.std(axis=0), SMALLEST_DEVIATION)
    own = [values[classes == label] for label in range(count)]
    return np.stack([*(some.mean(axis=0) if len(some) else np.full(len(deviation), NOWHERE) for some in own), deviation])


def _distances(values: NDArray[np.floating[Any]], kept: NDArray[np.float64]) -> NDArray[np.float64]:
    """To the nearest centre, in deviations, root mean square over the features, ``[n]``."""
    found: NDArray[np.float64] = np.min(
        [np.sqrt(np.square((values - centre) / kept[-1]).mean(axis=1)) for centre in kept[:-1]], axis=0
    )
    return found


def is_unknown(probabilities: NDArray[np.floating[Any]]) -> NDArray[np.bool_]:
    """Which rows of ``[n, classes]`` leave as much to none of the classes as :meth:`Reach.known` says beyond reach."""
    total = probabilities.sum(axis=1)
    found: NDArray[np.bool_] = (total > 0) & (total < (1 + BEYOND) / 2)
    return found
