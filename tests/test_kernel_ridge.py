"""Ridge regression on random features against the exact kernel, and where a panel asks it."""

import numpy as np
import pytest
from scipy.spatial.distance import cdist

from etude.adapters.heads._parts.discriminant import Scatter, macro_f1
from etude.adapters.heads._parts.kernel_ridge import LEAST, RIDGE, WIDTH, fit_kernel_ridge, held_out_kernel
from etude.adapters.heads._parts.panel import Panel
from etude.adapters.sound.descriptors import BANDS


def crossed(count, seed, width=6):
    """Two classes, each in two opposite corners: no line parts them."""
    rng = np.random.default_rng(seed)
    corners = np.array([[2, 2], [-2, -2], [2, -2], [-2, 2]])[np.arange(count) % 4]
    values = rng.normal(size=(count, width))
    values[:, :2] = corners + 0.4 * values[:, :2]
    return values, (np.arange(count) % 4 >= 2).astype(int)


def exact(blocks, classes, others):
    """Kernel ridge regression in its dual form, each example weighted so that classes count alike."""
    scaled = []
    for block, other in zip(blocks, others, strict=True):
        both = [(part - block.mean(0)) / block.std(0) / np.sqrt(block.shape[1] * len(blocks)) for part in (block, other)]
        scaled.append(both)
    train, test = (np.hstack([both[side] for both in scaled]) for side in (0, 1))
    sizes = np.bincount(classes)
    weights = len(classes) / len(sizes) / sizes[classes]
    targets = np.eye(len(sizes))[classes]
    mean = weights @ targets / weights.sum()
    kernel = np.exp(-WIDTH * cdist(train, train, "sqeuclidean"))
    dual = np.linalg.solve(kernel + RIDGE * np.diag(1 / weights), targets - mean)
    return np.exp(-WIDTH * cdist(test, train, "sqeuclidean")) @ dual + mean


@pytest.mark.parametrize("kept", [slice(None), slice(0, 130)])
def test_it_is_near_the_exact_kernel(kept):
    values, classes = crossed(200, 0)
    order = np.argsort(classes, kind="stable")[kept]  # the second time, one class has 100 examples and the other 30
    values, classes = values[order], classes[order]
    blocks, (fresh, _) = [values[:, :3], values[:, 3:], np.repeat(values[:, :1], 9, axis=1)], crossed(60, 1)
    others = [fresh[:, :3], fresh[:, 3:], np.repeat(fresh[:, :1], 9, axis=1)]
    found = np.exp(fit_kernel_ridge(blocks, classes, 2).log_probabilities(np.hstack(others)))
    expected = np.clip(exact(blocks, classes, others), LEAST, 1)
    np.testing.assert_allclose(found, expected / expected.sum(axis=1, keepdims=True), atol=0.12)


def test_it_parts_what_no_line_does_and_is_judged_on_what_it_had_not():
    values, classes = crossed(200, 0)
    linear = Scatter(values, classes, 2).discriminant(0.1).logits(values).argmax(axis=1)
    assert macro_f1(classes, linear, 2) < 0.7
    fold = np.arange(200) // 4 % 5
    assert macro_f1(classes, held_out_kernel([values], classes, fold, 2).argmax(axis=1), 2) > 0.95
    noise = np.random.default_rng(0).integers(0, 2, 200)
    assert macro_f1(noise, held_out_kernel([values], noise, fold, 2).argmax(axis=1), 2) < 0.65


def segments(values, classes):
    """For a panel on states of 6 numbers: the same everywhere, but for the spectrum, which is silent."""
    states = {(layer, "beginning"): values for layer in "23"} | {(layer, "course"): np.tile(values, 4) for layer in "23"}
    states["log_mel", "spectrum"] = np.zeros((len(classes), 5 * BANDS))
    return [{expert: own[row].astype(np.float32) for expert, own in states.items()} for row in range(len(classes))]


def fitted(values, classes):
    panel = Panel({}, 2, 6, 4)
    panel.fit(segments(values, classes), classes, [str(row) for row in range(len(classes))], [""] * len(classes))
    return panel


def test_a_panel_asks_it_where_it_helps_and_keeps_it():
    panel, (values, classes) = fitted(*crossed(200, 0)), crossed(80, 1)
    assert panel.statistics["kernel"]
    fresh = segments(values, classes)
    found = panel.log_probabilities(fresh)
    assert macro_f1(classes, found.argmax(axis=1), 2) > 0.9
    again = Panel(panel.statistics, 2, 6, 4)
    again.load_state_dict(panel.state_dict())
    np.testing.assert_array_equal(again.log_probabilities(fresh), found)


def test_where_there_are_no_errors_nothing_more_is_asked():
    values, classes = crossed(200, 0)
    values[:, 2] = 40 * classes  # which leaves the other experts no error, and them none to halve
    panel = fitted(values, classes)
    assert panel.statistics["cross_validated"] == 1
    assert panel.kinds == ("beginning",)
    assert not panel.statistics["kernel"]
