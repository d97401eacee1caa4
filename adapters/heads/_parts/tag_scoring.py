"""Scores of tags, which are of whole recordings (*clips*), pooled over a set of them.

Arrays are ``[clips, classes]``: ``truth`` and ``estimate`` boolean, ``probabilities`` of any scale that ranks the classes of a
clip and the clips of a class, ``labelled`` true where it is known whether a clip has a tag; other cells count in nothing.
``f1_micro`` pools all (clip, class) cells; ``f1_macro`` is the mean over the classes that occur in the truth. Where nothing is
to be found and nothing is found, 0 / 0 counts as 0, as in scikit-learn, and so does a mean over nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from etude.adapters.annotations import Layer
from etude.adapters.errors import UserError, nearest
from etude.adapters.heads._parts.scoring import summary

Cells = NDArray[np.bool_]
Probabilities = NDArray[np.floating[Any]]


def tag_cells(layers: Sequence[Layer], labels: Sequence[str]) -> Cells:
    """``[clips, classes]``, true where a clip has a tag. Raises :class:`UserError` for a tag that is not in ``labels``."""
    index = {label: i for i, label in enumerate(labels)}
    cells = np.zeros((len(layers), len(labels)), np.bool_)
    for row, layer in zip(cells, layers, strict=True):
        for tag in layer:
            if tag.name not in index:
                raise UserError(f"the tag {tag.name!r} is not a class of this adapter", fix=nearest(tag.name, labels))
            row[index[tag.name]] = True
    return cells


def labelled_cells(layers: Sequence[Layer], labels: Sequence[str]) -> Cells:
    """``[clips, classes]``, true where it is known whether a clip has a tag: nowhere in a clip whose tags nobody annotated."""
    index = {label: i for i, label in enumerate(labels)}
    cells = np.zeros((len(layers), len(labels)), np.bool_)
    for row, layer in zip(cells, layers, strict=True):
        row[:] = bool(layer.known)
        row[[index[name] for name in layer.unjudged if name in index]] = False
    return cells


def tag_scores(
    truth: Cells, probabilities: Probabilities, estimate: Cells, labels: Sequence[str], labelled: Cells | None = None
) -> dict[str, Any]:
    """``f1_micro``, ``f1_macro``, ``lrap``, ``map``, ``roc_auc``, ``per_class``: ``{label: {"clip": {"precision", "recall",
    "f1", "tp", "ref", "est"}}}``, the last three counted in clips, and ``absent``: ``{label: est}`` of the classes that are
    found though no clip has them. All cells are labelled unless ``labelled`` says otherwise.

    ``map`` is the mean of :func:`average_precision` over the classes that a clip has, ``roc_auc`` that of :func:`roc_auc` over
    the classes that some clips have and others have not.
    """
    if labelled is None:
        labelled = np.ones_like(truth)
    truth, estimate = truth & labelled, estimate & labelled
    counts = ((truth & estimate).sum(axis=0), truth.sum(axis=0), estimate.sum(axis=0))
    scores = summary("clip", labels, *counts)
    classes = [(own, values) for own, values in _classes(truth, probabilities, labelled) if own.any()]
    return {
        "f1_micro": scores["clip_micro_f1"],
        "f1_macro": scores["clip_macro_f1"],
        "lrap": label_ranking_average_precision(truth, probabilities, labelled),
        "map": _mean([average_precision(own, values) for own, values in classes]),
        "roc_auc": _mean([roc_auc(own, values) for own, values in classes if not own.all()]),
        "per_class": scores["per_class"],
        "absent": scores["absent"],
    }


def micro_f1(truth: Cells, estimate: Cells) -> float:
    """F1 over all (clip, class) cells."""
    total = int(truth.sum()) + int(estimate.sum())
    return 2 * int((truth & estimate).sum()) / total if total else 0.0


def exact_matches(truth: Cells, estimate: Cells) -> float:
    """Share of the clips whose tags are all found and nothing else (accuracy, where each clip has one tag); 0 of no clips."""
    return float((truth == estimate).all(axis=1).mean()) if len(truth) else 0.0


def label_ranking_average_precision(truth: Cells, probabilities: Probabilities, labelled: Cells | None = None) -> float:
    """Mean over clips of the mean over a clip's tags of (its tags that rank as high) / (classes that rank as high).

    A clip without tags, or with all of its labelled classes as tags, counts 1, as in scikit-learn's function of this name; no
    clips give 0, and one without a labelled class does not count. It is what Zhong et al. (APSIPA 2023) report for predominant
    instruments; where few classes of a clip are labelled there is little to rank, and it says little.
    """
    scores = []
    for tags, row, known in zip(truth, probabilities, np.ones_like(truth) if labelled is None else labelled, strict=True):
        if known.any():
            scores.append(average_precision(tags[known], row[known]) if tags[known].any() else 1.0)
    return _mean(scores)


def average_precision(truth: Cells, values: Probabilities) -> float:
    """Mean over the true items, of which there must be one, of (true items that rank as high) / (items that rank as high).

    Both arrays are ``[items]``. Over the clips of one class it is the area under the steps of the precision-recall curve, as in
    scikit-learn's ``average_precision_score``.
    """
    own = np.sort(values[truth])
    hits = len(own) - np.searchsorted(own, own)
    as_high = len(values) - np.searchsorted(np.sort(values), own)
    return float((hits / as_high).mean())


def roc_auc(truth: Cells, values: Probabilities) -> float:
    """Probability that a true item ranks above an untrue one, ties counting half; both arrays are ``[items]``, with items of
    both kinds. It is the area under the ROC curve (Hanley & McNeil 1982)."""
    own, others = values[truth], np.sort(values[~truth])
    below = np.searchsorted(others, own, side="left") + np.searchsorted(others, own, side="right")
    return float(below.mean() / 2 / len(others))


def openmic_f1(truth: Cells, probabilities: Probabilities, labelled: Cells) -> float:
    """The F1 of work on OpenMIC-2018: in each class the mean of the F1 of having it and of not having it, over its labelled
    clips; then the mean over the classes with a labelled clip.

    A clip has a class whose probability is above .5, whatever the threshold of decoding (the code of Chen & Lerch, MMM 2023,
    takes exactly .5 for a yes). Of a class where one of the two occurs in neither truth nor estimate, only the other counts, as
    in the "macro avg" of scikit-learn's ``classification_report``.
    """
    scores = []
    for own, values in _classes(truth, probabilities, labelled):
        found = values > np.float64(0.5)
        sides = [(own, found), (~own, ~found)]
        scores.append(_mean([micro_f1(real, said) for real, said in sides if (real | said).any()]))
    return _mean(scores)


def _classes(truth: Cells, probabilities: Probabilities, labelled: Cells) -> Iterator[tuple[Cells, Probabilities]]:
    """Truth and probabilities ``[clips]`` of the labelled clips of each class that has any."""
    for own, values, known in zip(truth.T, probabilities.T, labelled.T, strict=True):
        if known.any():
            yield own[known], values[known]


def _mean(scores: Sequence[float]) -> float:
    return sum(scores) / len(scores) if scores else 0.0
