"""Tags of which only some are labelled: the scores against scikit-learn on the labelled cells, and what an annotation holds."""

import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from sklearn import metrics

from etude.adapters.annotations import Annotation, Layer
from etude.adapters.annotations.notes import Note
from etude.adapters.annotations.tags import Tag
from etude.adapters.heads._parts.tag_scoring import (
    average_precision,
    label_ranking_average_precision,
    labelled_cells,
    openmic_f1,
    roc_auc,
    tag_scores,
)

PROBABILITIES = st.sampled_from([0.0, 0.1, 0.25, 0.5, np.nextafter(np.float32(0.5), np.float32(1)).item(), 0.75, 1.0])
"""Few of them, so that ties abound."""


@st.composite
def cells(draw):
    shape = draw(st.tuples(st.integers(0, 12), st.integers(1, 4)))
    truth, labelled = draw(arrays(np.bool_, shape)), draw(arrays(np.bool_, shape))
    return truth, draw(arrays(np.float32, shape, elements=PROBABILITIES.map(np.float32))), labelled


def names(truth):
    return [str(i) for i in range(truth.shape[1])]


def mean(scores):
    return float(np.mean(scores)) if scores else 0.0


@settings(deadline=None, max_examples=80)
@given(cells())
def test_scores_are_scikit_learns_of_the_labelled_cells(drawn):
    truth, values, labelled = drawn
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        scores = tag_scores(truth, values, values > 0.5, names(truth), labelled)
        openmic = openmic_f1(truth, values, labelled)
    micro = metrics.f1_score(truth[labelled], values[labelled] > 0.5, zero_division=0) if labelled.any() else 0
    assert scores["f1_micro"] == pytest.approx(micro)
    f1, precision, area, halves = [], [], [], []
    for i, known in enumerate(labelled.T):
        own, ranks = truth[known, i], values[known, i]
        row = scores["per_class"][str(i)]["clip"]
        assert (row["ref"], row["est"], row["tp"]) == (own.sum(), (ranks > 0.5).sum(), (own & (ranks > 0.5)).sum())
        assert (str(i) in scores["absent"]) == ((ranks > 0.5).any() and not own.any())
        if own.any():
            f1.append(metrics.f1_score(own, ranks > 0.5, zero_division=0))
            precision.append(metrics.average_precision_score(own, ranks))
        if own.any() and not own.all():
            area.append(metrics.roc_auc_score(own, ranks))
        if known.any():
            halves.append(metrics.f1_score(own, ranks > 0.5, average="macro", zero_division=0))
    assert scores["f1_macro"] == pytest.approx(mean(f1))
    assert scores["map"] == pytest.approx(mean(precision), abs=1e-12)
    assert scores["roc_auc"] == pytest.approx(mean(area), abs=1e-12)
    assert openmic == pytest.approx(mean(halves))


@settings(deadline=None, max_examples=80)
@given(cells())
def test_ranking_precision_is_scikit_learns_clip_by_clip(drawn):
    truth, values, labelled = drawn
    rows = [
        metrics.label_ranking_average_precision_score(own[None, known], ranks[None, known]) if known.sum() > 1 else 1.0
        for own, ranks, known in zip(truth, values, labelled, strict=True)
        if known.any()
    ]
    assert label_ranking_average_precision(truth, values, labelled) == pytest.approx(mean(rows), abs=1e-12)


@settings(deadline=None, max_examples=50)
@given(cells(), st.integers(0, 2**32 - 1))
def test_what_is_unlabelled_may_be_anything(drawn, seed):
    truth, values, labelled = drawn
    rng = np.random.default_rng(seed)
    other_truth = np.where(labelled, truth, rng.random(truth.shape) < 0.5)
    other_values = np.where(labelled, values, rng.random(truth.shape)).astype(np.float32)
    first = tag_scores(truth, values, values > 0.5, names(truth), labelled)
    assert tag_scores(other_truth, other_values, other_values > 0.5, names(truth), labelled) == first
    assert openmic_f1(other_truth, other_values, labelled) == openmic_f1(truth, values, labelled)


def test_everything_is_labelled_by_default():
    rng = np.random.default_rng(0)
    truth, values = rng.random((20, 3)) < 0.4, rng.random((20, 3)).astype(np.float32)
    full = np.ones_like(truth)
    assert tag_scores(truth, values, values > 0.5, names(truth)) == tag_scores(truth, values, values > 0.5, names(truth), full)
    assert tag_scores(truth, values, values > 0.5, names(truth))["map"] == pytest.approx(
        metrics.average_precision_score(truth, values, average="macro")
    )
    assert label_ranking_average_precision(truth, values) == pytest.approx(
        metrics.label_ranking_average_precision_score(truth, values)
    )


def test_many_clips_with_ties_agree_with_scikit_learn():
    rng = np.random.default_rng(1)
    truth, values = rng.random(3000) < 0.2, (rng.random(3000) * 50).round().astype(np.float32)
    assert average_precision(truth, values) == pytest.approx(metrics.average_precision_score(truth, values), abs=1e-12)
    assert roc_auc(truth, values) == pytest.approx(metrics.roc_auc_score(truth, values), abs=1e-12)


def test_openmic_f1_by_hand():
    truth = np.array([[1, 0, 0], [1, 0, 1], [0, 0, 1], [0, 0, 1]], bool)
    values = np.array([[0.9, 0.2, 0.9], [0.5, 0.1, 0.9], [0.3, 0.5, 0.9], [0.8, 0.9, 0.9]], np.float32)
    labelled = np.array([[1, 1, 0], [1, 1, 0], [1, 1, 0], [1, 0, 0]], bool)
    # Class 0: a hit, a miss (exactly .5 is no yes), a rejection, a false alarm: F1 is 1/2 of both sides. Class 1: only "not",
    # rightly. Class 2 is not labelled, and not counted.
    assert openmic_f1(truth, values, labelled) == (0.5 + 1) / 2
    assert openmic_f1(truth, values, np.zeros_like(labelled)) == 0


def test_labelled_cells():
    labels = ("cel", "cla", "flu")
    layers = [Annotation().tags, Layer(), Layer((Tag("cel"),), unjudged=("flu", "not a class"))]
    assert labelled_cells(layers, labels).tolist() == [[False] * 3, [True] * 3, [True, True, False]]
    assert labelled_cells([], labels).shape == (0, 3)


def test_unjudged_classes_of_an_annotation():
    annotation = Annotation(notes=(Note(0, 1),), tags=Layer((Tag("oboe"),), unjudged=("flute", "cello", "flute")))
    assert annotation.tags.unjudged == ("cello", "flute")
    assert Annotation(tags=()).tags.unjudged == ()
    assert Annotation(annotation, notes=()).tags.unjudged == ("cello", "flute")
    assert annotation != Annotation(annotation, tags=annotation.tags.records)
    assert isinstance(hash(annotation), int)
    with pytest.raises(ValueError, match="'oboe' is among the tags and among the unjudged classes"):
        Annotation(tags=Layer((Tag("cello"), Tag("oboe")), unjudged=("oboe",)))
    with pytest.raises(ValueError, match="known spans cannot be empty"):
        Layer(known=(), unjudged=("oboe",))
