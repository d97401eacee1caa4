"""Scores against mir_eval, scikit-learn and hand computation; tuned thresholds against brute force."""

from __future__ import annotations

import itertools
import json
import math
from dataclasses import replace
from typing import Any, get_args

import mir_eval
import numpy as np
import pytest
from decoded import decode
from numpy.typing import NDArray
from sklearn.metrics import f1_score, precision_recall_fscore_support

from etude.adapters.annotations import Layer
from etude.adapters.annotations.notes import Note
from etude.adapters.errors import UserError
from etude.adapters.heads._parts.decoding import Decoder, render
from etude.adapters.heads._parts.scoring import count_matches, event_scores, frame_scores, judged_at, merge_scores
from etude.adapters.heads._parts.tuning import tune_thresholds

LABELS = ("vibrato", "plucks", "tremolo")
RATE = 75.0
DECODERS = get_args(Decoder)


def random_notes(rng: np.random.Generator, count: int, duration: float, classes: int = 3) -> tuple[Note, ...]:
    onsets = np.round(rng.random(count) * duration, 2)  # a coarse grid: distances of exactly .05 s occur
    lengths = 0.01 + rng.random(count)
    labels = rng.integers(0, classes, count)
    return tuple(Note(o, o + d, technique=LABELS[c]) for o, d, c in zip(onsets, lengths, labels, strict=True))


def as_mir_eval(notes: list[tuple[float, Note]]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Intervals and fake pitches of notes, each with the time its recording begins at."""
    intervals = np.array([(begin + n.onset, begin + n.offset) for begin, n in notes])
    return intervals, mir_eval.util.midi_to_hz(21.0 + np.array([LABELS.index(n.technique or "") for _, n in notes]))


def test_hand_computed_frame_scores() -> None:
    #                vibrato     plucks      tremolo
    # reference      1 1 0 0     0 1 1 1     0 0 0 0
    # estimate       1 0 0 0     0 1 1 0     0 0 1 0
    # the last frame is unlabelled
    reference = np.array([[1, 0, 0], [1, 1, 0], [0, 1, 0], [0, 1, 0]], bool)
    estimate = np.array([[1, 0, 0], [0, 1, 0], [0, 1, 1], [0, 0, 0]], bool)
    scores = frame_scores([reference], [estimate], [np.array([[True], [True], [True], [False]])], LABELS)
    # vibrato: tp 1, ref 2, est 1: P 1, R 1/2, F1 2/3.  plucks: tp 2, ref 2, est 2: F1 1.  tremolo: tp 0, ref 0, est 1.
    # micro: tp 3, ref 4, est 4: P = R = F1 = 3/4.  macro, of the two that there are: (2/3 + 1) / 2 = 5/6.
    assert scores["frame_micro_precision"] == scores["frame_micro_recall"] == scores["frame_micro_f1"] == 0.75
    assert scores["frame_macro_f1"] == pytest.approx(5 / 6)
    assert scores["absent"] == {"tremolo": 1}
    vibrato = {"precision": 1.0, "recall": 0.5, "f1": pytest.approx(2 / 3), "tp": 1, "ref": 2, "est": 1}
    assert scores["per_class"]["vibrato"] == {"frame": vibrato}


def test_hand_computed_event_scores() -> None:
    reference = Layer(
        (Note(1.0, 2.0, technique="vibrato"), Note(2.0, 3.0, technique="vibrato"), Note(2.0, 3.0, technique="plucks"))
    )
    estimate = Layer(
        (
            Note(1.05, 1.1, technique="vibrato"),  # 50 ms late: correct, whatever its offset
            Note(0.99, 2.0, technique="vibrato"),  # also near the first reference, which is taken
            Note(2.06, 3.0, technique="vibrato"),  # 60 ms late: wrong
            Note(2.0, 3.0, technique="plucks"),  # correct
            Note(2.0, 3.0, technique="tremolo"),  # there is none
        )
    )
    scores = event_scores([reference], [estimate], LABELS)
    # vibrato: tp 1, ref 2, est 3: F1 = 2 / 5.  plucks: F1 1.  tremolo: tp 0, ref 0, est 1.
    # micro: tp 2, ref 3, est 5: P 2/5, R 2/3, F1 = 4 / 8.  macro, of the two that there are: (2/5 + 1) / 2 = 7/10.
    assert scores["event_micro_precision"] == pytest.approx(2 / 5)
    assert scores["event_micro_recall"] == pytest.approx(2 / 3)
    assert scores["event_micro_f1"] == pytest.approx(1 / 2)
    assert scores["event_macro_f1"] == pytest.approx(7 / 10)
    assert scores["absent"] == {"tremolo": 1}
    assert [scores["per_class"][c]["event"][n] for c in LABELS for n in ("tp", "ref", "est")] == [1, 2, 3, 1, 1, 1, 0, 0, 1]


@pytest.mark.parametrize("seed", range(5))
def test_frame_scores_equal_mir_eval_and_scikit_learn(seed: int) -> None:
    rng = np.random.default_rng(seed)
    references, estimates = ([rng.random((n, 3)) < 0.4 for n in (40, 7)] for _ in range(2))
    for roll in references:
        roll[:, 2] &= seed % 2 == 0  # in some, a class is never annotated
    masks = [rng.random(n) < 0.8 for n in (40, 7)]
    scores = frame_scores(references, estimates, [mask[:, None] for mask in masks], LABELS)
    truth, guess = (np.concatenate([r[m] for r, m in zip(rolls, masks, strict=True)]) for rolls in (references, estimates))
    times = np.arange(len(truth)) / RATE
    pitches = [[mir_eval.util.midi_to_hz(21.0 + np.flatnonzero(row)) for row in roll] for roll in (truth, guess)]
    expected = mir_eval.multipitch.evaluate(times, pitches[0], times, pitches[1])
    assert scores["frame_micro_precision"] == pytest.approx(expected["Precision"], abs=1e-12)
    assert scores["frame_micro_recall"] == pytest.approx(expected["Recall"], abs=1e-12)
    assert scores["frame_micro_f1"] == pytest.approx(f1_score(truth, guess, average="micro"))
    present = np.flatnonzero(truth.any(axis=0))
    assert scores["frame_macro_f1"] == pytest.approx(f1_score(truth, guess, labels=present, average="macro"))
    assert scores["absent"] == ({} if len(present) == 3 else {"tremolo": guess[:, 2].sum()})
    table = np.transpose(precision_recall_fscore_support(truth, guess, zero_division=0)[:3])
    ours = [[scores["per_class"][c]["frame"][n] for n in ("precision", "recall", "f1")] for c in LABELS]
    np.testing.assert_allclose(ours, table)


@pytest.mark.parametrize("seed", range(5))
def test_event_scores_equal_mir_eval_on_the_shifted_recordings(seed: int) -> None:
    rng = np.random.default_rng(seed)
    references, estimates = ([random_notes(rng, n, 4.0) for n in (60, 1, 50)] for _ in range(2))
    scores = event_scores([Layer(n) for n in references], [Layer(n) for n in estimates], LABELS)
    pooled = [
        [(10.0 * i, note) for i, notes in enumerate(recordings) for note in notes] for recordings in (references, estimates)
    ]
    settings: dict[str, Any] = {"onset_tolerance": 0.05, "offset_ratio": None, "pitch_tolerance": 0.01}
    expected = mir_eval.transcription.precision_recall_f1_overlap(*as_mir_eval(pooled[0]), *as_mir_eval(pooled[1]), **settings)
    ours = [scores[f"event_micro_{name}"] for name in ("precision", "recall", "f1")]
    assert ours == pytest.approx(expected[:3], abs=1e-12)
    per_class = []
    for label in LABELS:
        own = [as_mir_eval([pair for pair in notes if pair[1].technique == label]) for notes in pooled]
        per_class.append(mir_eval.transcription.precision_recall_f1_overlap(*own[0], *own[1], **settings)[2])
        assert scores["per_class"][label]["event"]["f1"] == pytest.approx(per_class[-1])
    assert scores["event_macro_f1"] == pytest.approx(np.mean(per_class))


def test_matches_never_cross_recordings() -> None:
    note = Layer((Note(0.0, 1.0, technique="plucks"),))
    assert event_scores([note, Layer()], [Layer(), note], LABELS)["event_micro_f1"] == 0.0
    assert event_scores([note, Layer()], [note, Layer()], LABELS)["event_micro_f1"] == 1.0


def test_a_class_with_neither_reference_nor_estimate_is_left_out_of_the_macro_mean() -> None:
    note = Layer((Note(0.0, 1.0, technique="plucks"),))
    roll = render(note, LABELS, 75, RATE)
    mask = np.ones((75, 1), bool)
    scores = merge_scores(frame_scores([roll], [roll], [mask], LABELS), event_scores([note], [note], LABELS))
    assert scores["frame_macro_f1"] == scores["event_macro_f1"] == 1.0
    assert json.loads(json.dumps(scores)) == scores
    assert set(scores["per_class"]) == set(LABELS)
    assert set(scores["per_class"]["plucks"]) == {"frame", "event"}
    assert scores["absent"] == {}
    nothing = event_scores([Layer()], [Layer()], LABELS)
    assert all(nothing[f"event_{name}"] == 0.0 for name in ("micro_precision", "micro_recall", "micro_f1", "macro_f1"))


def test_what_is_never_annotated_counts_in_the_micro_mean_alone() -> None:
    notes = tuple(Note(float(t), t + 0.5, technique="plucks") for t in range(9))
    stray = Note(20.0, 20.5, technique="tremolo")
    references, estimates = [Layer(notes), Layer()], [Layer(notes), Layer((stray, replace(stray, onset=20.2)))]
    rolls = [[render(layer, LABELS, 1600, RATE) for layer in layers] for layers in (references, estimates)]
    frames = frame_scores(*rolls, [np.ones((1600, 1), bool)] * 2, LABELS)
    scores = merge_scores(frames, event_scores(references, estimates, LABELS))
    assert scores["event_macro_f1"] == scores["frame_macro_f1"] == 1.0
    assert scores["event_micro_f1"] == pytest.approx(2 * 9 / (9 + 11))
    assert frames["absent"] == {"tremolo": 38}  # frames 1500 to 1537
    assert scores["absent"] == {"tremolo": 2}  # events
    unjudged = [Layer(notes), Layer(unjudged=("tremolo",))]
    assert event_scores(unjudged, estimates, LABELS)["absent"] == {}


def test_estimates_where_the_technique_is_unknown_are_not_counted() -> None:
    reference = Layer((Note(0.5, 1.0, technique="plucks"), Note(3.0, 4.0, pitch=60)), ((0.0, 1.0), (2.0, math.inf)))
    onsets = (0.5, 1.0, 1.99, 3.5, 2.0)  # correct, three in unknown territory, and one false positive
    estimate = Layer(tuple(Note(onset, 5.0, technique="plucks") for onset in onsets))
    table = event_scores([reference], [estimate], LABELS)["per_class"]["plucks"]["event"]
    assert (table["tp"], table["ref"], table["est"]) == (1, 1, 2)
    np.testing.assert_array_equal(judged_at(reference, np.array(onsets), LABELS), [[known] * 3 for known in (1, 0, 0, 0, 1)])


def test_an_unknown_technique_is_named() -> None:
    with pytest.raises(UserError, match=r"'pluck' is not a class.*'plucks'"):
        event_scores([Layer((Note(0, 1, technique="pluck"),))], [Layer()], LABELS)


@pytest.mark.parametrize("seed", range(100))
def test_count_matches_equals_mir_eval(seed: int) -> None:
    rng = np.random.default_rng(seed)
    sizes = rng.integers(0, 60, 2)
    # Steps of 10 ms, of half a unit of the rounding, and none: distances on and around the tolerance.
    step = (0.01, 0.00005, 1e-9)[seed % 3]
    spread = (1.0, 0.2)[seed % 2]
    references, estimates = (np.round(rng.random(n) * spread / step) * step for n in sizes)
    intervals = [np.stack([x, x + 1.0], axis=1) for x in (references, estimates)]
    expected = len(mir_eval.transcription.match_note_onsets(*intervals)) if sizes.all() else 0
    assert count_matches(references, estimates) == expected


def validation_set(seed: int, recordings: int, seconds: float, notes: int, classes: int = 3) -> tuple[Any, Any, Any]:
    rng = np.random.default_rng(seed)
    frames = int(seconds * RATE)
    layers, techniques, onsets = [], [], []
    for _ in range(recordings):
        layer = Layer(random_notes(rng, notes, seconds - 0.1, classes), ((0.3, math.inf),))
        technique = 0.5 * render(layer, LABELS, frames, RATE) * rng.random(3) + 0.6 * rng.random((frames, 3))
        onset = 0.6 * rng.random(frames)
        onset[[min(round(n.onset * RATE), frames - 1) for n in layer]] += 0.3
        layers.append(layer)
        techniques.append(technique.astype(np.float32))
        onsets.append(onset.astype(np.float32)[:, None])
    return layers, techniques, onsets


def macro_f1(references: Any, techniques: Any, onsets: Any, thresholds: Any, decoder: Any) -> float:
    decoded = [decode(t, o, thresholds, decoder, RATE, LABELS) for t, o in zip(techniques, onsets, strict=True)]
    return float(event_scores(references, [Layer(tuple(notes)) for notes in decoded], LABELS)["event_macro_f1"])


@pytest.mark.parametrize("decoder", DECODERS)
@pytest.mark.parametrize("seed", range(3))
def test_tuning_finds_what_brute_force_finds(decoder: Any, seed: int) -> None:
    data = validation_set(seed, recordings=2, seconds=2.0, notes=12)
    grid, onset_grid = (0.3, 0.5, 0.7), (0.4, 0.5, 0.7)
    tuned = tune_thresholds(*data, decoder, LABELS, RATE, technique_grid=grid, onset_grid=onset_grid)
    brute = max(
        macro_f1(*data, {"technique": combination, "onset": onset}, decoder)
        for combination in itertools.product(grid, repeat=3)
        for onset in ((0.5,) if decoder == "rising_edges" else onset_grid)
    )
    assert macro_f1(*data, tuned, decoder) == pytest.approx(brute)


@pytest.mark.parametrize("decoder", DECODERS)
def test_tuned_thresholds_beat_one_half_on_the_same_data(decoder: Any) -> None:
    data = validation_set(7, recordings=3, seconds=20.0, notes=60)
    tuned = tune_thresholds(*data, decoder, LABELS, RATE)
    assert macro_f1(*data, tuned, decoder) > macro_f1(*data, {"technique": [0.5] * 3, "onset": 0.5}, decoder)


def test_ties_go_to_the_better_frames_then_to_one_half() -> None:
    roll = np.zeros((75, 3))
    roll[10:20, 0] = 0.9
    roll[20:30, 0] = 0.55  # the event goes on: a threshold below .55 has the better frames
    note = Layer((Note(10 / RATE, 30 / RATE, technique="vibrato"),))
    onset = np.zeros(75)
    onset[10] = 0.95
    # Class 0: .05 to .5 all find the whole event. Absent classes keep .5.
    assert tune_thresholds([note], [roll], [onset], "onset_confirmed", LABELS, RATE) == {"technique": [0.5] * 3, "onset": 0.5}
    short = Layer((Note(10 / RATE, 20 / RATE, technique="vibrato"),))
    assert tune_thresholds([short], [roll], None, "rising_edges", LABELS, RATE)["technique"] == [0.55, 0.5, 0.5]


def test_tuning_never_matches_across_recordings() -> None:
    rolls = np.zeros((3, 75, 3))
    rolls[1, 0, 0] = 0.4  # a false event at the start of one recording, missed at the end of the one before
    rolls[2, 15, 0] = 0.9
    missed, found = (Layer((Note(t / RATE, (t + 1) / RATE, technique="vibrato"),)) for t in (74, 15))
    # From .4 on: tp 1, ref 2, est 1, F1 = 2/3. Below: est 2, F1 = 1/2, or 1 if the false event matched the missed one.
    tuned = tune_thresholds([missed, Layer(), found], list(rolls), None, "rising_edges", LABELS, RATE)
    assert tuned["technique"][0] == 0.5


@pytest.mark.parametrize("decoder", DECODERS)
def test_a_class_absent_from_validation_keeps_one_half(decoder: Any) -> None:
    data = validation_set(3, recordings=1, seconds=10.0, notes=20, classes=2)
    assert tune_thresholds(*data, decoder, LABELS, RATE)["technique"][2] == 0.5
