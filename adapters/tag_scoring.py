"""Scores of tags, which are of whole recordings (*clips*), pooled over a set of them.

Arrays are ``[clips, classes]``: ``truth`` and ``estimate`` boolean, ``probabilities`` of any scale that ranks the classes of a
clip. ``f1_micro`` pools all (clip, class) cells; ``f1_macro`` is the mean over the classes that occur in truth or estimate.
Where nothing is to be found and nothing is found, 0 / 0 counts as 0, as in scikit-learn.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from etude.adapters.annotations import Annotation
from etude.adapters.errors import UserError, nearest
from etude.adapters.scoring import summary

Cells = NDArray[np.bool_]
Probabilities = NDArray[np.floating[Any]]


def tag_cells(annotations: Sequence[Annotation], labels: Sequence[str]) -> Cells:
    """``[clips, classes]``, true where a clip has a tag. Raises :class:`UserError` for a tag that is not in ``labels``."""
    index = {label: i for i, label in enumerate(labels)}
    cells = np.zeros((len(annotations), len(labels)), np.bool_)
    for row, annotation in zip(cells, annotations, strict=True):
        for tag in annotation.tags or ():
            if tag not in index:
                raise UserError(f"the tag {tag!r} is not a class of this adapter", fix=nearest(tag, labels))
            row[index[tag]] = True
    return cells


def tag_scores(truth: Cells, probabilities: Probabilities, estimate: Cells, labels: Sequence[str]) -> dict[str, Any]:
    """``f1_micro``, ``f1_macro``, ``lrap`` and ``per_class``: ``{label: {"clip": {"precision", "recall", "f1", "tp", "ref",
    "est"}}}``, the last three counted in clips."""
    counts = ((truth & estimate).sum(axis=0), truth.sum(axis=0), estimate.sum(axis=0))
    scores = summary("clip", labels, *counts)
    return {
        "f1_micro": scores["clip_micro_f1"],
        "f1_macro": scores["clip_macro_f1"],
        "lrap": label_ranking_average_precision(truth, probabilities),
        "per_class": scores["per_class"],
    }


def micro_f1(truth: Cells, estimate: Cells) -> float:
    """F1 over all (clip, class) cells."""
    total = int(truth.sum()) + int(estimate.sum())
    return 2 * int((truth & estimate).sum()) / total if total else 0.0


def exact_matches(truth: Cells, estimate: Cells) -> float:
    """Share of the clips whose tags are all found and nothing else (accuracy, where each clip has one tag); 0 of no clips."""
    return float((truth == estimate).all(axis=1).mean()) if len(truth) else 0.0


def label_ranking_average_precision(truth: Cells, probabilities: Probabilities) -> float:
    """Mean over clips of the mean over a clip's tags of (its tags that rank as high) / (classes that rank as high).

    A clip without tags, or with all of them, counts 1, as in scikit-learn's function of this name; no clips give 0. It is what
    Zhong et al. (APSIPA 2023) report for predominant instruments.
    """
    scores = []
    for tags, row in zip(truth, probabilities, strict=True):
        own = row[tags]
        as_high = (row >= own[:, None]).sum(axis=1)
        scores.append(float(((own >= own[:, None]).sum(axis=1) / as_high).mean()) if len(own) else 1.0)
    return sum(scores) / len(scores) if scores else 0.0
