"""Scores of complete notes, against mir_eval, brute force and hand computation."""

from __future__ import annotations

import itertools
import json
from dataclasses import replace
from typing import Any

import mir_eval
import numpy as np
import pytest

from etude.adapters.annotations import Layer
from etude.adapters.annotations.notes import Note
from etude.adapters.errors import UserError
from etude.adapters.heads._parts.complete_notes import note_scores
from etude.adapters.heads._parts.scoring import event_scores

LABELS = ("bend", "slide", "trill")
PARTS = ("onset", "offset", "pitch", "technique", "all")
NOTE = Note(1.0, 3.0, 60, "bend")


def random_notes(rng: np.random.Generator, count: int, seconds: float) -> list[Note]:
    """Onsets on a grid of 10 ms, so that some are apart by the tolerance; pitches never are, since logarithms would decide."""
    numbers = zip(rng.random(count), rng.random(count), rng.integers(0, 6, count), rng.integers(0, 3, count), strict=True)
    starts = [(round(start * seconds, 2), length, 60 + 0.3 * pitch, LABELS[label]) for start, length, pitch, label in numbers]
    return sorted((Note(o, o + 0.05 + d, p, t) for o, d, p, t in starts), key=lambda note: (note.onset, note.offset))


def played(rng: np.random.Generator, notes: list[Note]) -> list[Note]:
    """Most of the notes, most of them about right."""
    found = []
    for note in notes:
        onset, length = abs(note.onset + rng.normal(0, 0.03)), (note.offset - note.onset) * rng.uniform(0.75, 1.25)
        pitch, technique = (note.pitch or 0) + rng.choice([0, 0, 0, 1.2]), rng.choice([note.technique, *LABELS])
        found.append(Note(onset, onset + length, pitch, str(technique)))
    return [note for note in found if rng.random() < 0.9]


def mir_eval_matches(truth: list[Note], found: list[Note], part: str) -> int:
    """Correct notes by the definition of ``part``; techniques are octaves, so that one never passes for another."""

    def arrays(notes: list[Note]) -> tuple[Any, Any]:
        pitches = [n.pitch if part in ("pitch", "all") else 60 for n in notes]
        octaves = [12 * LABELS.index(n.technique or "") if part in ("technique", "all") else 0 for n in notes]
        return np.array([(n.onset, n.offset) for n in notes]), mir_eval.util.midi_to_hz(np.add(pitches, octaves))

    ratio = 0.2 if part in ("offset", "all") else None
    scores = mir_eval.transcription.precision_recall_f1_overlap(*arrays(truth), *arrays(found), offset_ratio=ratio)
    return round(scores[0] * len(found))


@pytest.mark.parametrize("seed", range(20))
def test_f1_is_that_of_mir_evals_matches_in_all_recordings(seed: int) -> None:
    rng = np.random.default_rng(seed)
    truths = [random_notes(rng, count, 6.0) for count in (60, 1, 40)]
    founds = [played(rng, truth) or truth if seed % 2 else random_notes(rng, 50, 6.0) for truth in truths]
    scores = note_scores([Layer(tuple(t)) for t in truths], [Layer(tuple(f)) for f in founds], LABELS, pitched=True)
    total = sum(map(len, truths)) + sum(map(len, founds))
    for part in PARTS:
        matches = sum(mir_eval_matches(truth, found, part) for truth, found in zip(truths, founds, strict=True))
        assert scores[f"note_{part}_f1"] == pytest.approx(2 * matches / total, abs=1e-12)
        row = scores["parts"][f"note_{part}"]
        assert (row["tp"], row["ref"] + row["est"], row["f1"]) == (matches, total, scores[f"note_{part}_f1"])


@pytest.mark.parametrize("seed", range(5))
def test_onset_and_technique_are_what_events_are_scored_by(seed: int) -> None:
    rng = np.random.default_rng(seed)
    truth = Layer(tuple(n for n in random_notes(rng, 60, 6.0) if n.technique != "trill"), ((0.5, 2.0), (3.0, 9.0)), ("trill",))
    found = Layer(tuple(random_notes(rng, 60, 6.0)))
    scores, events = note_scores([truth], [found], LABELS, pitched=True), event_scores([truth], [found], LABELS)
    assert scores["note_technique_f1"] == events["event_micro_f1"] > 0
    assert scores["parts"]["note_technique"]["recall"] == events["event_micro_recall"]


def brute_force(truth: list[Note], found: list[Note]) -> tuple[dict[str, Any], dict[str, Any]]:
    """For each part the counts, and the share that is right, from all one-to-one matchings of notes in time."""

    def right(a: Note, b: Note) -> dict[str, bool]:
        within = max(0.2 * (a.offset - a.onset), 0.05)
        rules = {
            "offset": abs(a.offset - b.offset) <= within,
            "pitch": a.pitch == b.pitch,
            "technique": a.technique == b.technique,
        }
        return {"onset": True, **rules, "all": all(rules.values())}

    def judged(a: Note) -> dict[str, bool]:
        known = {"pitch": a.pitch is not None, "technique": a.technique is not None}
        return {"onset": True, "offset": True, **known, "all": all(known.values())}

    near = [(i, j) for i, a in enumerate(truth) for j, b in enumerate(found) if round(abs(a.onset - b.onset), 4) <= 0.05]
    matchings = [
        pairs
        for size in range(len(near) + 1)
        for pairs in itertools.combinations(near, size)
        if len({i for i, _ in pairs}) == len({j for _, j in pairs}) == size
    ]
    cells = {(i, j): (judged(truth[i]), right(truth[i], found[j])) for i, j in near}
    counts, shares = {}, {}
    best = max((len(p), sum(cells[c][0][k] and cells[c][1][k] for c in p for k in PARTS)) for p in matchings)
    for part in PARTS:
        # First as many hits as can be, then as many estimates as can be that belong to a note which is not judged.
        hits, others = max(
            (sum(cells[c][0][part] for c in p), sum(not cells[c][0][part] for c in p))
            for p in matchings
            if all(cells[c][1][part] or not cells[c][0][part] for c in p)
        )
        counts[part] = (hits, sum(judged(a)[part] for a in truth), len(found) - others)
        shares[part] = {
            tuple(sum(cells[c][0][part] and (cells[c][1][part] or whole) for c in p) for whole in (False, True))
            for p in matchings
            if (len(p), sum(cells[c][0][k] and cells[c][1][k] for c in p for k in PARTS)) == best
        }
    return counts, shares


@pytest.mark.parametrize("seed", range(60))
def test_counts_are_those_of_all_matchings(seed: int) -> None:
    """Notes that stand so close that there are many, of which some lack a pitch or a technique."""
    rng = np.random.default_rng(seed)
    truth, found = ([replace(n, pitch=round(n.pitch or 0)) for n in random_notes(rng, k, 0.2)] for k in rng.integers(1, 5, 2))
    lacking = rng.random((len(truth), 2)) < 0.3
    changes = [{"pitch": None} if a else {"technique": None} if b else {} for a, b in lacking]
    truth = [replace(note, **change) for note, change in zip(truth, changes, strict=True)]
    scores = note_scores([Layer(tuple(truth))], [Layer(tuple(found))], LABELS, pitched=True)
    counts, shares = brute_force(truth, found)
    rows = {part: scores["parts"][f"note_{part}"] for part in PARTS}
    assert {part: (row["tp"], row["ref"], row["est"]) for part, row in rows.items()} == counts
    for part in PARTS[1:]:
        assert scores[f"note_{part}_right"] in [pytest.approx(hits / of if of else 0.0) for hits, of in shares[part]]


def f1(truth: list[Note] | Layer, found: list[Note], *, pitched: bool = True) -> dict[str, float]:
    layer = truth if isinstance(truth, Layer) else Layer(tuple(truth))
    scores = note_scores([layer], [Layer(tuple(found))], LABELS, pitched=pitched)
    return {part: scores[f"note_{part}_f1"] for part in PARTS if f"note_{part}_f1" in scores}


@pytest.mark.parametrize(
    ("change", "wrong"),
    [
        ({"onset": 1.05}, set()),
        ({"onset": 1.051}, set(PARTS)),
        ({"offset": 3.4}, set()),  # 20 % of 2 s
        ({"offset": 3.41}, {"offset", "all"}),
        ({"pitch": 60.5}, set()),
        ({"pitch": 60.51}, {"pitch", "all"}),
        ({"pitch": None}, {"pitch", "all"}),
        ({"technique": "slide"}, {"technique", "all"}),
        ({"confidence": 0.1, "instrument": "koto"}, set()),
    ],
)
def test_what_is_wrong_of_a_note(change: dict[str, Any], wrong: set[str]) -> None:
    assert f1([NOTE], [replace(NOTE, **change)]) == {part: 0.0 if part in wrong else 1.0 for part in PARTS}


def test_the_end_of_a_short_note_may_be_50_ms_off() -> None:
    short = Note(1.0, 1.1, 60, "bend")
    assert f1([short], [replace(short, offset=1.15)])["offset"] == 1.0
    assert f1([short], [replace(short, offset=1.16)])["offset"] == 0.0
    assert f1([short], [replace(short, offset=1.5)])["offset"] == 0.0  # the reference's duration counts
    assert f1([replace(short, offset=1.5)], [replace(short, offset=1.4)])["offset"] == 1.0


def test_each_part_has_a_matching_of_its_own_and_all_must_be_right_of_one_note() -> None:
    truth = [Note(1.0, 2.0, 60, "bend"), Note(1.0, 2.0, 64, "slide")]
    found = [Note(1.0, 2.0, 60, "slide"), Note(1.0, 2.0, 64, "bend")]
    assert f1(truth, found) == {"onset": 1, "offset": 1, "pitch": 1, "technique": 1, "all": 0}


def test_a_chord_is_matched_note_by_note() -> None:
    chord = [Note(1.0, 2.0 + pitch / 100, pitch, "bend") for pitch in (60, 64, 67)]
    scores = note_scores([Layer(tuple(chord))], [Layer(tuple(chord[::-1]))], LABELS, pitched=True)
    assert [scores[f"note_{part}_right"] for part in PARTS[1:]] == [1.0] * 4


def test_two_techniques_at_one_onset_are_one_note_found_and_one_false() -> None:
    found = [replace(NOTE, technique="trill"), NOTE]
    assert set(f1([NOTE], found).values()) == {2 / 3}
    assert note_scores([Layer((NOTE,))], [Layer(tuple(found))], LABELS, pitched=True)["note_technique_right"] == 1.0


@pytest.mark.parametrize(("lacking", "parts"), [("pitch", {"pitch", "all"}), ("technique", {"technique", "all"})])
def test_what_the_reference_lacks_does_not_count(lacking: str, parts: set[str]) -> None:
    other = Note(5.0, 6.0, 62, "slide")
    truth = [replace(NOTE, **{lacking: None}), other]
    found = [replace(NOTE, onset=0.97, technique="trill", pitch=70), other]  # before it, and wrong in what is not judged
    scores = f1(truth, found)
    others = {"pitch", "technique"} - {lacking}
    assert scores == {part: 0.5 if part in others else 1.0 for part in PARTS}
    twice = f1(truth, [*found, replace(NOTE, onset=1.04)])  # but there is one note only
    assert {part: twice[part] for part in parts} == dict.fromkeys(parts, 2 / 3)
    missed = f1(truth, [other])
    assert {part: score for part, score in missed.items() if score == 1.0} == dict.fromkeys(parts, 1.0)


def test_unknown_spans_and_unjudged_classes_count_in_nothing() -> None:
    truth = Layer((NOTE, replace(NOTE, onset=7.0, offset=8.0)), ((0.0, 5.0),), ("trill",))
    strays = [Note(6.0, 7.0, 60, "bend"), Note(2.0, 3.0, 60, "trill")]
    assert set(f1(truth, [NOTE, *strays]).values()) == {1.0}
    assert set(f1(truth, [NOTE, *strays, Note(2.0, 3.0, 60, "slide")]).values()) == {2 / 3}


def test_without_a_pitch_branch_nothing_asks_for_a_pitch() -> None:
    assert f1([NOTE], [replace(NOTE, pitch=None)], pitched=False) == {"onset": 1, "offset": 1, "technique": 1, "all": 1}
    assert f1([NOTE], [replace(NOTE, pitch=None, technique="slide")], pitched=False)["all"] == 0


def test_matches_never_cross_recordings() -> None:
    one, none = Layer((NOTE,)), Layer()
    assert note_scores([one, none], [none, one], LABELS, pitched=True)["note_onset_f1"] == 0.0
    assert note_scores([one, one], [one, one], LABELS, pitched=True)["note_onset_f1"] == 1.0


def test_nothing_has_the_same_scores_and_all_are_0() -> None:
    nothing, some = (note_scores(layers, layers, LABELS, pitched=True) for layers in ([], [Layer((NOTE,))]))
    assert nothing.keys() == some.keys()
    tables = ("parts", "calibration")
    assert {value for name, value in nothing.items() if name not in tables} == {0.0}
    assert {value for name, value in some.items() if name not in tables} == {1.0}
    assert nothing["calibration"] == some["calibration"] == {"ece": None, "bins": []}, "no confidence is stated"
    assert json.loads(json.dumps(some)) == some


def test_an_unknown_technique_is_named() -> None:
    with pytest.raises(UserError, match=r"'pluck' is not a class"):
        note_scores([Layer((replace(NOTE, technique="pluck"),))], [Layer()], LABELS, pitched=True)
