"""Whether confidences are what they say: of what is found with confidence .8, four in five should be right.

The expected calibration error (Naeini et al., AAAI 2015; Guo et al., ICML 2017) is the mean distance of confidence and share
right over bins of equal width, by their counts.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

BINS = 10


def calibration_scores(confidences: NDArray[np.floating[Any]], right: NDArray[np.bool_]) -> dict[str, Any]:
    """``ece`` and ``reliability``, ``[{"from", "to", "count", "confidence", "right"}, ...]``: the bins that are not empty, with
    the mean confidence in each and the share that is right. Both arrays are ``[records]``; NaN, for a record that states no
    confidence, does not count, and where none does the result is empty: no error is not known from an error of 0.

    A bin holds its upper edge, as in scikit-learn's ``calibration_curve``.
    """
    stated = ~np.isnan(confidences)
    confidences, right = confidences[stated].astype(np.float64), right[stated]
    edges = np.linspace(0, 1, BINS + 1)
    places = np.searchsorted(edges[1:-1], confidences)
    table = [
        {
            "from": round(float(edges[place]), 2),
            "to": round(float(edges[place + 1]), 2),
            "count": int((places == place).sum()),
            "confidence": float(confidences[places == place].mean()),
            "right": float(right[places == place].mean()),
        }
        for place in np.unique(places)
    ]
    if not table:
        return {}
    error = sum(row["count"] * abs(row["confidence"] - row["right"]) for row in table) / len(confidences)
    return {"ece": float(error), "reliability": table}
