"""Whether confidences are what they say: against scikit-learn, brute force and by hand; and where it is shown."""

import json

import numpy as np
import pytest
from made_tags_head import LABELS, RATE, make_head, partially, probabilities, tagged
from sklearn.calibration import calibration_curve
from test_card import rendered, rows

from etude.adapters.annotations import Layer
from etude.adapters.annotations.notes import Note
from etude.adapters.artifact import plain
from etude.adapters.heads._parts.calibration import calibration_scores
from etude.adapters.heads._parts.complete_notes import note_scores
from etude.cli.scores import print_scores


def brute_force(confidences, right):
    """Records that fall into (k/10, (k+1)/10], the first bin with 0; the mean of the gaps by the counts."""
    error = 0.0
    for k in range(10):
        inside = [i for i, own in enumerate(confidences) if k / 10 < own <= (k + 1) / 10 or (k == 0 and own == 0)]
        if inside:
            gap = abs(sum(confidences[i] for i in inside) / len(inside) - sum(bool(right[i]) for i in inside) / len(inside))
            error += gap * len(inside) / len(confidences)
    return error


@pytest.mark.parametrize("seed", range(5))
def test_error_and_table_are_those_of_scikit_learn_and_brute_force(seed):
    rng = np.random.default_rng(seed)
    confidences = np.append(rng.beta(3, 1, 200 * (seed > 0)), [0.0, 0.5, 1.0, 0.1, 0.95])
    right = rng.random(len(confidences)) < confidences**2
    scores = calibration_scores(confidences, right)["calibration"]
    shares, means = calibration_curve(right, confidences, n_bins=10, strategy="uniform")
    table = scores["bins"]
    assert [row["right"] for row in table] == pytest.approx(shares)
    assert [row["confidence"] for row in table] == pytest.approx(means)
    assert sum(row["count"] for row in table) == len(confidences)
    assert all(row["from"] <= row["confidence"] <= row["to"] == pytest.approx(row["from"] + 0.1) for row in table)
    assert scores["ece"] == pytest.approx(brute_force(confidences, right))
    json.dumps(plain(scores))


def test_what_states_no_confidence_does_not_count_and_nothing_is_not_an_error_of_nothing():
    stated = calibration_scores(np.array([0.8, np.nan, 0.8]), np.array([True, False, False]))["calibration"]
    assert stated == {"ece": pytest.approx(0.3), "bins": [{**stated["bins"][0], "count": 2, "right": 0.5}]}
    nothing = {"calibration": {"ece": None, "bins": []}}
    assert calibration_scores(np.array([np.nan]), np.array([True])) == nothing
    assert calibration_scores(np.zeros(0), np.zeros(0, bool)) == nothing


def test_notes_are_right_where_the_technique_of_the_note_at_their_onset_is():
    truth = [Note(1, 2, 60, "a"), Note(3, 4, 60, "b"), Note(5, 6, 60), Note(7, 8, 60, "b"), Note(9, 10, 60, "a")]
    found = [
        Note(1.04, 2, 99, "a", confidence=0.9),  # right: neither pitch nor end is asked for
        Note(3.0, 4, 60, "a", confidence=0.65),  # wrong
        Note(5.0, 6, 60, "a", confidence=0.1),  # nobody said what it is
        Note(6.0, 6.5, 60, "a", confidence=0.2),  # no note there: a false alarm says nothing of techniques
        Note(7.0, 8, 60, "b"),  # states no confidence
        Note(9.0, 10, 60, "a", confidence=0.7),  # right
    ]
    scores = note_scores([Layer(tuple(truth))], [Layer(tuple(found))], ("a", "b"), pitched=True)
    assert [(row["from"], row["count"], row["right"]) for row in scores["calibration"]["bins"]] == [
        (0.6, 2, 0.5),
        (0.8, 1, 1.0),
    ]
    assert scores["calibration"]["ece"] == pytest.approx((2 * abs(0.675 - 0.5) + 0.1) / 3)
    apart = note_scores([Layer(tuple(truth[:2])), Layer()], [Layer(), Layer(tuple(found))], ("a", "b"), pitched=True)
    assert apart["calibration"]["ece"] is None  # notes of another recording are matched with nothing


@pytest.mark.parametrize("activation", ["softmax", "sigmoid"])
def test_named_tags_are_right_where_the_clip_has_them(activation):
    head = make_head(activation=activation)
    if activation == "sigmoid":
        head.thresholds = {"tags": 0.5}
    references = [tagged("cel"), tagged("flu"), partially([], ["cel"])]
    activations = probabilities([0.75, 0.125, 0.125], [0.625, 0.0, 0.375], [0.875, 0.0625, 0.0625])
    scores = head.score(references, activations, RATE)
    assert LABELS[0] == "cel"
    assert [(row["confidence"], row["right"]) for row in scores["calibration"]["bins"]] == [(0.625, 0.0), (0.75, 1.0)]
    assert scores["calibration"]["ece"] == pytest.approx((0.625 + 0.25) / 2)
    assert head.score([], [], RATE)["calibration"]["ece"] is None


SCORES = {"frame_micro_f1": 0.5, **calibration_scores(np.array([0.9, 0.88, 0.3]), np.array([True, True, False]))}
LINE = "confidence 0.69 on average, right 0.67: ECE 0.17"


def test_a_line_in_the_terminal(capsys):
    print_scores({"technique": {**SCORES, "per_class": {}}}, "x")
    assert f"  {LINE}\n" in capsys.readouterr().out
    print_scores({"technique": {"frame_micro_f1": 0.5, "per_class": {}}}, "x")  # as of adapters that were made before
    assert "ECE" not in capsys.readouterr().out


def test_a_table_of_the_tested_split_on_the_card():
    card = rendered({"validation": {"technique": {"frame_micro_f1": 0.5}}, "test": {"technique": SCORES}})
    assert f"test split, head `technique` ({LINE})" in card
    assert rows(card, "Confidence") == [
        ["Confidence", "events", "mean confidence", "share right"],
        ["0.2 to 0.3", "1", "0.300", "0.000"],
        ["0.8 to 0.9", "2", "0.890", "1.000"],
    ]
    assert "Confidence" not in rendered({"test": {"technique": {"frame_micro_f1": 0.5}}})
