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
    """``{"calibration": {"ece", "bins": [{"from", "to", "count", "confidence", "right"}, ...]}}``.

    The bins are those that are not empty, with the mean confidence in each and the share that is right; one holds its upper
    edge, as in scikit-learn's ``calibration_curve``. Both arrays are ``[records]``; NaN, for a record that states no
    confidence, does not count, and where none does ``ece`` is ``None``: nothing is known of the error. It lies a level below
    the other scores, since less is better and no checkpoint is to be chosen by it.
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
    errors = [row["count"] * abs(row["confidence"] - row["right"]) for row in table]
    return {"calibration": {"ece": float(sum(errors) / len(confidences)) if table else None, "bins": table}}
