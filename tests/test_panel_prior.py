"""A panel that starts from an older one: both vote, by the share that is likeliest on held-out segments."""

import json

import numpy as np
import pytest
import torch
from scipy.special import log_softmax, logsumexp
from sklearn.metrics import log_loss

from etude.adapters.heads._parts import panel as panel_module
from etude.adapters.heads._parts.panel import EVEN, PRIOR_SHARES, SPECTRUM, Panel
from etude.adapters.sound.descriptors import BANDS

HIDDEN, BLOCKS = 3, 4
WIDTHS = {
    **{(layer, kind): HIDDEN * factor for layer in "23" for kind, factor in (("beginning", 1), ("course", 4))},
    (SPECTRUM, "spectrum"): 5 * BANDS,
}


def examples(seed, *labels, spread=0.1):
    """A segment of each of ``labels``, around a centre of its own that is the same for every seed."""
    centres, rng = np.random.default_rng(99), np.random.default_rng(seed)
    means = {expert: centres.normal(0, 1, (3, width)) for expert, width in WIDTHS.items()}
    return [{e: rng.normal(m[label], spread).astype(np.float32) for e, m in means.items()} for label in labels]


def fitted(segments, labels, prior=None, recordings=None):
    panel = Panel({}, 3, HIDDEN, BLOCKS)
    if prior is not None:
        panel.start_from(prior.statistics, prior.state_dict())
    names = [str(index) for index in range(len(labels))] if recordings is None else recordings
    panel.fit(segments, np.array(labels), names, [""] * len(labels))
    return panel


LABELS = (0, 1, 2) * 6
ORIGINAL = examples(0, *LABELS)


@pytest.fixture(scope="module")
def older():
    return fitted(ORIGINAL, LABELS)


def test_an_older_one_that_is_wrong_is_outvoted():
    misled = fitted(ORIGINAL, [(label + 1) % 3 for label in LABELS])
    heard = examples(2, *LABELS)
    assert misled.log_probabilities(heard).argmax(axis=1).tolist() != list(LABELS)
    panel = fitted(examples(1, *LABELS, spread=3.0), LABELS, misled)
    assert panel.statistics["prior_share"] == 0
    assert panel.log_probabilities(heard).argmax(axis=1).tolist() == list(LABELS)


def test_without_a_share_the_older_one_changes_nothing():
    misled = fitted(ORIGINAL, [(label + 1) % 3 for label in LABELS])
    segments, heard = examples(1, *LABELS), examples(2, *LABELS, spread=1.0)
    panel, alone = fitted(segments, LABELS, misled), fitted(segments, LABELS)
    panel.statistics["prior_share"] = 0.0
    np.testing.assert_allclose(panel.log_probabilities(heard), alone.log_probabilities(heard), atol=1e-9)


def test_the_share_is_that_with_the_likeliest_votes_on_held_out_segments(monkeypatch):
    """Neither is right alone."""
    older = fitted(examples(5, *LABELS, spread=5.0), LABELS)
    segments, joined, last = examples(1, *LABELS, spread=5.0), Panel._joined, []
    monkeypatch.setattr(Panel, "_joined", lambda *votes: last.append(joined(*votes)) or last[-1])
    likelihoods, scores = {}, {}
    for share in PRIOR_SHARES:
        monkeypatch.setattr(panel_module, "PRIOR_SHARES", (share,))
        scores[share] = fitted(segments, LABELS, older).statistics["cross_validated"]
        likelihoods[share] = -log_loss(LABELS, np.exp(last[-1]))
    monkeypatch.undo()
    found = fitted(segments, LABELS, older).statistics
    assert found["prior_share"] == max(likelihoods, key=likelihoods.get)
    assert 0 < found["prior_share"] < 1
    assert found["cross_validated"] == scores[found["prior_share"]]


def test_what_the_new_segments_lack_is_left_to_the_older_one(older):
    labels = (0, 1) * 6
    panel = fitted(examples(1, *labels), labels, older)
    panel.statistics["prior_share"] = 0.0
    heard = examples(2, 2, 0, 1, 2)
    found = panel.log_probabilities(heard)
    assert found.argmax(axis=1).tolist() == [2, 0, 1, 2]
    known = log_softmax(older.log_probabilities(heard) / panel.statistics["prior_temperature"], axis=1)
    np.testing.assert_allclose(found[:, 2], known[:, 2], atol=1e-9)


@pytest.mark.parametrize("share", [0.25, 0.75])
def test_the_vote_by_hand(older, share):
    labels = (0, 1) * 6
    segments, heard = examples(1, *labels), examples(2, 0, 1, 2, spread=1.0)
    panel, alone = fitted(segments, labels, older), fitted(segments, labels)
    panel.statistics["prior_share"] = share
    known = log_softmax(older.log_probabilities(heard) / panel.statistics["prior_temperature"], axis=1)
    own = known.copy()
    own[:, :2] = log_softmax(alone.log_probabilities(heard)[:, :2], axis=1) + logsumexp(known[:, :2], axis=1, keepdims=True)
    expected = log_softmax(share * known + (1 - share) * own, axis=1)
    np.testing.assert_allclose(panel.log_probabilities(heard), expected, atol=1e-9)


def test_where_nothing_can_be_held_out_both_count_the_same(older):
    panel = fitted(examples(1, *LABELS), LABELS, older, ["one take"] * len(LABELS))
    assert panel.statistics["prior_share"] == EVEN


def test_until_it_is_fitted_the_older_one_judges_alone(older):
    panel = Panel({}, 3, HIDDEN, BLOCKS)
    assert not panel.seated
    panel.start_from(older.statistics, older.state_dict())
    heard = examples(2, *LABELS)
    assert panel.seated
    np.testing.assert_array_equal(panel.log_probabilities(heard), older.log_probabilities(heard))


def test_statistics_and_tensors_say_all_of_three_generations(older):
    second = fitted(examples(1, *LABELS), LABELS, older)
    third = fitted(examples(2, *LABELS, spread=1.0), LABELS, second)
    again = Panel(json.loads(json.dumps(third.statistics)), 3, HIDDEN, BLOCKS)
    again.load_state_dict(third.state_dict())
    assert third.statistics["prior"]["prior"] == older.statistics
    heard = examples(3, *LABELS, spread=1.0)
    np.testing.assert_array_equal(again.log_probabilities(heard), third.log_probabilities(heard))
    kept = third.state_dict()
    for name, tensor in older.state_dict().items():
        assert torch.equal(kept[f"prior.prior.{name}"], tensor)
