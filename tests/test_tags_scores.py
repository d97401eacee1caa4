"""Tags that are decided on, their threshold and their scores, against scikit-learn."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from made_tags_head import LABELS, RATE, make_head, names, partially, probabilities, tagged
from sklearn import metrics

from etude.adapters.annotations import Annotation, Layer
from etude.adapters.annotations.tags import Tag
from etude.adapters.errors import UserError
from etude.adapters.heads._parts.clip_head import GRID
from etude.adapters.heads._parts.tag_scoring import (
    exact_matches,
    label_ranking_average_precision,
    micro_f1,
    tag_cells,
    tag_scores,
)


def test_decoding():
    head = make_head()
    head.thresholds = {"tags": 0.5}
    found = head.decode(*probabilities([0.75, 0.5, 0.625]), RATE)
    assert found == Layer((Tag("cel", 0.75), Tag("flu", 0.625)))
    assert head.decode(*probabilities([0.5, 0.5, 0.5]), RATE) == Layer()
    single = make_head(activation="softmax")
    assert single.thresholds == {}
    assert names(single.decode(*probabilities([0.25, 0.3, 0.45]), RATE)) == ["flu"]


def test_the_threshold_has_the_best_micro_f1_and_is_near_one_half():
    rng = np.random.default_rng(0)
    head = make_head()
    truth = rng.random((40, 3)) < 0.4
    values = np.clip(truth * 0.2 + rng.random((40, 3)) * 0.5, 0, 1).astype(np.float32)
    references = [tagged(*np.array(LABELS)[row]) for row in truth]
    head.tune(references, probabilities(*values), RATE)
    expected = {t: metrics.f1_score(truth, values.astype(np.float64) > t, average="micro", zero_division=0) for t in GRID}
    best = max(expected.values())
    assert head.thresholds["tags"] == min((t for t in GRID if expected[t] == best), key=lambda t: abs(t - 0.5))
    assert head.thresholds["tags"] != 0.5
    head.tune([tagged("cel")], probabilities([0.9, 0.1, 0.1]), RATE)
    assert head.thresholds == {"tags": 0.5}
    head.tune([Annotation()], probabilities([0.9, 0.1, 0.1]), RATE)
    assert head.thresholds == {"tags": 0.5}
    assert (min(GRID), max(GRID), len(GRID)) == (0.0, 0.98, 50)


def test_the_threshold_is_chosen_on_labelled_cells_alone():
    rng = np.random.default_rng(0)
    head, values = make_head(), rng.random((30, 3)).astype(np.float32)
    truth, labelled = values + rng.normal(0, 0.1, values.shape) > 0.7, rng.random((30, 3)) < 0.5
    classes = np.array(LABELS)
    references = [partially(classes[own & known], classes[~known]) for own, known in zip(truth, labelled, strict=True)]
    head.tune([*references, Annotation()], probabilities(*values, [0, 0, 0]), RATE)
    expected = {t: metrics.f1_score(truth[labelled], values[labelled].astype(np.float64) > t, zero_division=0) for t in GRID}
    best = max(expected.values())
    assert head.thresholds["tags"] == min((t for t in GRID if expected[t] == best), key=lambda t: abs(t - 0.5))
    # What is unlabelled would have moved it: there, the highest probabilities are of negatives.
    head.tune([*references, *[partially([], classes[:2])] * 9], probabilities(*values, *[[0.9, 0.9, 0.1]] * 9), RATE)
    assert expected[head.thresholds["tags"]] == best
    head.tune([*references, *[tagged()] * 9], probabilities(*values, *[[0.9, 0.9, 0.1]] * 9), RATE)
    assert expected[head.thresholds["tags"]] < best


# scores


def cells(classes=4, clips=12):
    size = st.tuples(st.integers(1, clips), st.integers(1, classes))
    return size.flatmap(
        lambda shape: st.tuples(
            arrays(np.bool_, shape), arrays(np.float32, shape, elements=st.sampled_from([0, 0.25, 0.5, 0.75, 1]))
        )
    )


@settings(deadline=None, max_examples=200)
@given(cells())
def test_ranking_precision_is_scikit_learns(pair):
    truth, values = pair
    expected = metrics.label_ranking_average_precision_score(truth, values)
    assert label_ranking_average_precision(truth, values) == pytest.approx(expected, abs=1e-12)


@settings(deadline=None, max_examples=80)
@given(cells())
def test_f1_and_accuracy_are_scikit_learns(pair):
    truth, values = pair
    estimate = values > 0.5
    scores = tag_scores(truth, values, estimate, [str(i) for i in range(truth.shape[1])])
    options = {"zero_division": 0}
    micro = metrics.f1_score(truth.ravel(), estimate.ravel(), **options)
    assert scores["f1_micro"] == pytest.approx(micro) == pytest.approx(micro_f1(truth, estimate))
    assert exact_matches(truth, estimate) == pytest.approx(metrics.accuracy_score(truth, estimate))
    by_class = [metrics.f1_score(truth[:, i], estimate[:, i], **options) for i in range(truth.shape[1])]
    present = [i for i, own in enumerate(truth.T) if own.any()]
    macro = metrics.f1_score(truth, estimate, labels=present, average="macro", **options) if present else 0.0
    # Of one class alone, scikit-learn reads a column as a binary problem, whose labels are 0 and 1.
    assert scores["f1_macro"] == pytest.approx(macro if truth.shape[1] > 1 else sum(by_class))
    assert scores["absent"] == {str(i): n for i, n in enumerate(estimate.sum(axis=0)) if n and i not in present}
    for i, row in enumerate(scores["per_class"].values()):
        assert row["clip"]["f1"] == pytest.approx(by_class[i])
        assert row["clip"]["precision"] == pytest.approx(metrics.precision_score(truth[:, i], estimate[:, i], **options))
        assert row["clip"]["recall"] == pytest.approx(metrics.recall_score(truth[:, i], estimate[:, i], **options))
        assert (row["clip"]["ref"], row["clip"]["est"]) == (truth[:, i].sum(), estimate[:, i].sum())


@pytest.mark.parametrize("activation", ["sigmoid", "softmax"])
def test_recordings_without_annotated_tags_count_in_nothing(activation):
    head = make_head(activation=activation)
    known, values = [tagged("cel"), tagged("flu")], [[0.9, 0.05, 0.05], [0.4, 0.5, 0.1]]
    alone = head.score(known, probabilities(*values), RATE)
    more = head.score([known[0], Annotation(), known[1]], probabilities(values[0], [0, 0, 1], values[1]), RATE)
    assert more == alone
    assert ("accuracy" in alone) == (activation == "softmax")
    assert ("openmic_f1" in alone) == (activation == "sigmoid")
    tables = ("per_class", "absent", "calibration")
    assert all(isinstance(value, float) for name, value in alone.items() if name not in tables)
    assert activation == "sigmoid" or alone["accuracy"] == 0.5
    assert head.score([], [], RATE).keys() == alone.keys()
    assert head.score([Annotation()], probabilities(values[0]), RATE)["lrap"] == 0


@pytest.mark.parametrize("activation", ["sigmoid", "softmax"])
def test_unlabelled_tags_count_in_no_score(activation):
    head = make_head(activation=activation)
    references = [partially(["cel"], ["flu"]), partially(["flu"], ["cla"]), tagged("cla", "flu"), tagged(), tagged("flu")]
    values = np.array([[0.6, 0.1, 0.3], [0.2, 0.1, 0.7], [0.3, 0.6, 0.1], [0.7, 0.2, 0.1], [0.1, 0.2, 0.7]], np.float32)
    scores = head.score(references, probabilities(*values), RATE)
    worse = values.copy()
    worse[0, 2] = 0.59  # no class changes: with softmax, the clip's own stays the most probable
    worse[1, 1] = 0.69
    assert head.score(references, probabilities(*worse), RATE) == scores
    if activation == "softmax":
        assert scores["accuracy"] == 1 / 3  # of the last three, whose classes are all labelled
        return
    head.thresholds = {"tags": 0.55}
    assert head.score(references, probabilities(*worse), RATE) == head.score(references, probabilities(*values), RATE)
    known = np.array([[1, 1, 0], [1, 0, 1], [1, 1, 1], [1, 1, 1], [1, 1, 1]], bool)
    truth = np.array([[1, 0, 0], [0, 0, 1], [0, 1, 1], [0, 0, 0], [0, 0, 1]], bool)
    by_class = [metrics.f1_score(truth[k, i], values[k, i] > 0.5, average="macro") for i, k in enumerate(known.T)]
    assert scores["openmic_f1"] == pytest.approx(np.mean(by_class))


def test_a_tag_that_is_no_class_is_told():
    with pytest.raises(UserError, match="tag 'piano' is not a class"):
        make_head().score([tagged("piano")], probabilities([0, 0, 0]), RATE)
    assert tag_cells([tagged("cla").tags, Annotation().tags], LABELS).tolist() == [[False, True, False], [False] * 3]
