"""The discriminant: scikit-learn's, and folds that keep groups together."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import log_softmax
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.metrics import f1_score
from sklearn.preprocessing import StandardScaler

from etude.adapters.heads._parts.discriminant import (
    FOLDS,
    SMALLEST_DEVIATION,
    Scatter,
    folds,
    held_out,
    log_probabilities,
    macro_f1,
)

SIZES = (40, 25, 12)


def examples(seed=0, sizes=SIZES, width=6):
    """Classes of different sizes whose features are correlated and of very different scales."""
    rng = np.random.default_rng(seed)
    classes = np.repeat(np.arange(len(sizes)), sizes)
    mixing = rng.normal(size=(width, width))
    inputs = (rng.normal(size=(len(classes), width)) + rng.normal(size=(len(sizes), width))[classes]) @ mixing
    return inputs * np.geomspace(0.1, 1000, width) + 5, classes


@pytest.mark.parametrize("shrinkage", [0.0, 0.3, 0.7, 1.0])
@pytest.mark.parametrize("sizes", [SIZES, (9, 30)])
def test_it_is_that_of_scikit_learn_on_standardised_features(shrinkage, sizes):
    """Equal priors add the same to all logits there, and two classes are one logit, the difference of ours."""
    inputs, classes = examples(sizes=sizes)
    count = len(sizes)
    reference = LinearDiscriminantAnalysis(solver="lsqr", shrinkage=shrinkage, priors=np.full(count, 1 / count))
    scaler = StandardScaler().fit(inputs)
    reference.fit(scaler.transform(inputs), classes)
    fresh = examples(seed=1, sizes=sizes)[0]
    model = Scatter(inputs, classes, count).discriminant(shrinkage)
    logits, expected = model.logits(fresh), reference.decision_function(scaler.transform(fresh))
    found = logits + np.log(1 / count) if count > 2 else logits[:, 1] - logits[:, 0]
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-6)
    probabilities = np.exp(log_softmax(logits, axis=1))
    np.testing.assert_allclose(probabilities, reference.predict_proba(scaler.transform(fresh)), atol=1e-9)


def test_features_that_hardly_vary_are_not_blown_up_where_scikit_learn_does():
    """Rounding of a constant would otherwise count like any other feature."""
    inputs, classes = examples()
    inputs[:, 2] = 7.0 + 1e-7 * inputs[:, 2]
    model = Scatter(inputs, classes, 3).discriminant(0.7)
    assert model.scale[2] == 1 / SMALLEST_DEVIATION
    without = np.delete(inputs, 2, axis=1)
    reduced = Scatter(without, classes, 3).discriminant(0.7)
    agreement = model.logits(inputs).argmax(axis=1) == reduced.logits(without).argmax(axis=1)
    assert agreement.mean() > 0.95
    constant = Scatter(np.ones((6, 3)), np.arange(6) % 2, 2).discriminant(0.7)
    assert np.isfinite(constant.logits(np.ones((1, 3)))).all()


def test_every_class_counts_the_same_however_many_examples_it_has():
    """Unshrunk, the scale of the features does not matter either, which examples of one class alone would change."""
    inputs, classes = examples()
    more = np.concatenate([np.flatnonzero(classes != 0), *[np.flatnonzero(classes == 0)] * 7])
    plain, heavy = (Scatter(inputs[rows], classes[rows], 3).discriminant(0.0) for rows in (np.arange(len(classes)), more))
    expected = log_softmax(plain.logits(inputs), axis=1)
    np.testing.assert_allclose(log_softmax(heavy.logits(inputs), axis=1), expected, rtol=1e-6, atol=1e-9)


def test_a_class_without_examples_is_never_found_and_changes_nothing():
    inputs, classes = examples()
    renumbered = np.array([0, 2, 3])[classes]
    logits, without = (Scatter(inputs, own, n).discriminant(0.7).logits(inputs) for own, n in ((renumbered, 5), (classes, 3)))
    np.testing.assert_allclose(logits[:, [0, 2, 3]], without, rtol=1e-12)
    assert (logits[:, [1, 4]] < without.min() - 1000).all()


def test_log_probabilities_have_a_floor_and_large_logits_do_not_overflow():
    logits = np.array([[0.0, 1.0, 2.0], [1e4, -1e4, 0.0]])
    exact = np.exp(logits[0]) / np.exp(logits[0]).sum()
    np.testing.assert_allclose(log_probabilities(logits)[0], np.log(exact + 1e-3))
    np.testing.assert_allclose(log_probabilities(logits)[1], np.log([1.001, 1e-3, 1e-3]))


@given(st.lists(st.sampled_from("abcdefghij"), min_size=1, max_size=60))
@settings(deadline=None, max_examples=50)
def test_no_group_is_in_two_folds_and_folds_are_about_as_large(groups):
    fold = folds(groups)
    counts = Counter(groups)
    assert len(set(zip(groups, fold.tolist(), strict=True))) == len(counts)
    sizes = np.bincount(fold)
    assert len(sizes) == min(FOLDS, len(counts))
    assert sizes.all()
    # What is put on the smallest each time ends no larger than that, however it is put.
    assert sizes.max() - sizes.min() <= max(counts.values())
    assert np.array_equal(fold, folds(groups))


def test_the_largest_group_has_a_fold_of_its_own():
    sizes = np.bincount(folds([*"hh", *"gg", *"bbbb", *"cccc", *"dddd", *"ee", *"ff", *"a" * 8]))
    assert sorted(sizes) == [4, 4, 6, 6, 8]
    assert np.bincount(folds([*"abcdefghij"] * 3)).tolist() == [6] * 5


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 4)), min_size=1, max_size=30))
@settings(deadline=None, max_examples=50)
def test_macro_f1_is_that_of_scikit_learn_over_the_classes_that_occur(pairs):
    truth, found = np.array(pairs).T
    expected = f1_score(truth, found, labels=np.unique(truth), average="macro", zero_division=0.0)
    assert macro_f1(truth, found, 5) == pytest.approx(expected)


def test_held_out_judges_each_fold_by_a_fit_without_it():
    inputs, classes = examples()
    fold = np.arange(len(classes)) % 3
    found = held_out(inputs, classes, fold, 3, 0.5)
    for one in range(3):
        model = Scatter(inputs[fold != one], classes[fold != one], 3).discriminant(0.5)
        np.testing.assert_allclose(found[fold == one], log_probabilities(model.logits(inputs[fold == one])), rtol=1e-12)
    alone = held_out(inputs, classes, np.zeros(len(classes), int), 3, 0.5)
    np.testing.assert_allclose(alone, log_probabilities(Scatter(inputs, classes, 3).discriminant(0.5).logits(inputs)))
    assert np.abs(alone - found).max() > 1e-3
