"""What the technique head decides, its thresholds and its scores."""

import json
import math

import numpy as np
import pytest
import torch
from excerpts import excerpt_of
from made_technique_head import SWITCHES, make_head, states
from torch import nn

from etude.adapters.annotations import Annotation, Layer
from etude.adapters.annotations.notes import Note
from etude.adapters.heads import Context, FrameGrid

RATE = 50.0
PIECES = [
    Annotation(notes=(Note(0.1, 0.5, 60, "bend"), Note(0.6, 0.9, 62, "slide"), Note(1.0, 1.9, 63, "bend"))),
    Annotation(notes=(Note(0.0, 0.3, 61, "trill"), Note(0.5, 1.5, 60, "slide"))),
]


def perfect(head, annotation, frames=100):
    rolls = head.targets(excerpt_of(annotation, FrameGrid(0, frames, RATE, frames)))
    outputs = ["technique", *["pitch"] * head.config.pitch, *["onset"] * head.config.onset]
    return {name: rolls[name].astype(np.float16) for name in outputs}


@pytest.mark.parametrize("fields", [{"decoder": d} for d in ("onset_confirmed", "rising_edges", "fusion")] + SWITCHES)
def test_perfect_activations_score_1(fields):
    head = make_head(**fields)
    activations = [perfect(head, piece) for piece in PIECES]
    scores = head.score(PIECES, activations, RATE)
    for name in ("event_micro_f1", "event_macro_f1", "frame_micro_f1", "frame_macro_f1"):
        assert scores[name] == 1.0
    assert scores.get("pitch_frame_f1") == scores.get("note_pitch_f1") == (1.0 if head.config.pitch else None)
    assert scores["note_all_f1"] == scores["note_all_right"] == 1.0
    assert ("before" in scores) == (head.decoder != "rising_edges")
    if "before" in scores:
        assert scores["before"]["event_micro_f1"] == 1.0
        assert "per_class" not in scores["before"]
    assert scores["per_class"]["bend"]["event"]["tp"] == 2
    json.dumps(scores)
    for piece, item in zip(PIECES, activations, strict=True):
        decoded = head.decode(item, RATE)
        assert [(n.technique, round(n.onset, 6), round(n.offset, 6)) for n in decoded] == [
            (n.technique, n.onset, n.offset) for n in piece.notes
        ]
        assert [n.pitch for n in decoded] == [n.pitch if head.config.pitch else None for n in piece.notes]


def test_scores_before_and_after_differ_by_what_no_onset_confirms():
    """A false run of 10 frames without an onset: before it is an error, afterwards it is gone."""
    head = make_head()
    activations = [perfect(head, piece) for piece in PIECES]
    activations[0]["technique"][40:50, 2] = 0.9
    scores = head.score(PIECES, activations, RATE)
    assert scores["event_micro_f1"] == 1.0
    assert scores["before"]["event_micro_f1"] == pytest.approx(2 * 5 / (5 + 6))
    reference_frames = 20 + 15 + 45 + 15 + 50
    assert scores["before"]["frame_micro_f1"] == pytest.approx(2 * reference_frames / (2 * reference_frames + 10))
    assert scores["frame_micro_f1"] == 1.0


def test_pitch_score_by_hand():
    """80 + 65 pitched frames; 10 missed, 5 too many, in frames whose pitch is known."""
    head = make_head()
    activations = [perfect(head, piece) for piece in PIECES]
    activations[0]["pitch"][5:15] = 0.0
    activations[1]["pitch"][80:85, 2] = 1.0
    assert head.score(PIECES, activations, RATE)["pitch_frame_f1"] == pytest.approx(2 * 135 / (145 + 140))
    unpitched = Annotation(notes=(*PIECES[1].notes, Note(1.6, 1.7, None, "bend")))
    assert head.score([PIECES[0], unpitched], activations, RATE)["pitch_frame_f1"] == pytest.approx(2 * 135 / (145 + 135))
    silent = [Annotation(notes=())]
    nothing = [{name: values * 0 for name, values in activations[0].items()}]
    assert head.score(silent, nothing, RATE)["pitch_frame_f1"] == 0.0


def test_notes_are_scored_with_their_ends_and_pitches():
    """Of 5 notes, one ends .2 s early, one is at another pitch: what counts frames or onsets hardly sees that."""
    head = make_head()
    activations = [perfect(head, piece) for piece in PIECES]
    activations[0]["technique"][35:45, 1] = 0.0  # slide
    activations[1]["pitch"][25:75] = np.eye(4)[3]  # slide
    scores = head.score(PIECES, activations, RATE)
    found = {part: scores[f"note_{part}_f1"] for part in ("onset", "offset", "pitch", "technique", "all")}
    assert found == pytest.approx({"onset": 1, "offset": 0.8, "pitch": 0.8, "technique": 1, "all": 0.6})
    assert scores["event_micro_f1"] == 1.0
    blind = make_head(pitch=False).score(PIECES, activations, RATE)
    assert "note_pitch_f1" not in blind
    assert blind["note_all_f1"] == pytest.approx(0.8)


def test_tuned_thresholds_are_used():
    """Probabilities of .3 and onsets of .25: nothing at .5, everything at the tuned thresholds."""
    head = make_head()
    faint = [
        {"technique": p["technique"] * np.float16(0.3), "pitch": p["pitch"], "onset": p["onset"] * np.float16(0.25)}
        for p in (perfect(head, piece) for piece in PIECES)
    ]
    assert head.score(PIECES, faint, RATE)["event_macro_f1"] == 0.0
    head.tune(PIECES, faint, RATE)
    assert head.score(PIECES, faint, RATE)["event_macro_f1"] == 1.0
    assert head.thresholds["onset"] < 0.25
    assert all(threshold <= 0.3 for threshold in head.thresholds["technique"])
    json.dumps(head.thresholds)


def test_before_post_processing_has_thresholds_of_its_own():
    """False runs of .4 that no onset confirms: the decoder may go below, what has no post-processing must not."""
    head = make_head(pitch=False)
    pieces = [perfect(head, piece) for piece in PIECES]
    for item in pieces:
        item["technique"] *= np.float16(0.6)
        item["technique"][80:90, 2] = item["technique"][96:99, 0] = 0.4
        item["technique"][[10, 30, 50, 5, 25], :] *= np.float16(0.5)  # .3 where some of the notes begin
    head.tune(PIECES, pieces, RATE)
    scores = head.score(PIECES, pieces, RATE)
    plain = make_head(pitch=False, onset=False)
    plain.tune(PIECES, pieces, RATE)
    alone = plain.score(PIECES, pieces, RATE)
    assert head.thresholds["technique"] != head.thresholds["before"]
    assert scores["before"] == {name: alone[name] for name in scores["before"]}
    assert set(scores["before"]) == {name for name in alone if name.startswith(("frame_", "event_"))}
    head.thresholds = {name: value for name, value in head.thresholds.items() if name != "before"}  # as adapters of 0.1.0
    plain.thresholds = {"technique": [0.5] * 3, "onset": 0.5}
    assert head.score(PIECES, pieces, RATE)["before"]["event_micro_f1"] == plain.score(PIECES, pieces, RATE)["event_micro_f1"]


def test_fixed_thresholds_are_not_tuned():
    """MERTech's decoding: .5 for everything, whatever validation data would say."""
    for given in (0.5, 0.2):
        head = make_head(thresholds=given)
        faint = [{name: values * np.float16(0.3) for name, values in perfect(head, piece).items()} for piece in PIECES]
        head.tune(PIECES, faint, RATE)
        assert head.thresholds == {"technique": [given] * 3, "onset": given}
        scores = head.score(PIECES, faint, RATE)
        assert scores["event_micro_f1"] == scores["before"]["event_micro_f1"] == (1.0 if given < 0.3 else 0.0)


def test_activations_are_probabilities_in_full_precision():
    logits = {"technique": torch.tensor([[[0.0, -30.0, math.log(3)]]], dtype=torch.bfloat16)}
    probabilities = make_head().activations(logits)["technique"]
    assert probabilities.dtype == torch.float32
    torch.testing.assert_close(probabilities, torch.tensor([[[0.5, 0.0, 0.75]]]), atol=2e-3, rtol=0)


def test_it_learns_a_single_window():
    """Every loss term falls and the targets are found again: no branch is cut off from its input."""
    head, mixed = make_head(hidden_size=16, hidden=32, dropout=0.0).train(), states(frames=40, hidden_size=16, batch=1)
    annotation = Annotation(notes=(Note(0.1, 0.3, 60, "bend"), Note(0.34, 0.5, 62, "slide"), Note(0.56, 0.7, 63, "trill")))
    rolls = head.targets(excerpt_of(annotation, FrameGrid(0, 40, RATE, 40)))
    targets = {name: torch.from_numpy(roll)[None] for name, roll in rolls.items()}
    optimizer = torch.optim.Adam(head.parameters(), lr=2e-2)
    first = {name: term.item() for name, term in head.loss(head(Context(mixed)), targets).items()}
    for _ in range(150):
        optimizer.zero_grad()
        sum(head.loss(head(Context(mixed)), targets).values()).backward()
        nn.utils.clip_grad_norm_(head.parameters(), 1.0)
        optimizer.step()
    last = {name: term.item() for name, term in head.loss(head(Context(mixed)), targets).items()}
    assert all(last[name] < 0.2 * first[name] for name in first), (first, last)
    with torch.no_grad():
        found = {
            name: values[0].numpy().astype(np.float16) for name, values in head.eval().activations(head(Context(mixed))).items()
        }
    assert head.score([annotation], [found], RATE)["event_micro_f1"] == 1.0


def test_estimates_of_unjudged_classes_count_in_no_score():
    head = make_head(decoder="rising_edges")
    unjudged = Layer(tuple(note for note in PIECES[1].notes if note.technique != "trill"), unjudged=("trill",))
    partial = [PIECES[0], Annotation(notes=unjudged)]
    activations = [perfect(head, piece) for piece in PIECES]
    quiet = [{name: values.copy() for name, values in item.items()} for item in activations]
    quiet[1]["technique"][:, 2] = 0  # as if the trill, of which the second reference does not tell, had not been found
    scores = head.score(partial, activations, RATE)
    assert scores == head.score(partial, quiet, RATE)
    assert scores["event_micro_f1"] == scores["frame_micro_f1"] == 1.0
    trill = scores["per_class"]["trill"]
    assert [trill[part][count] for part in ("frame", "event") for count in ("ref", "est")] == [0] * 4
    assert head.score(PIECES, quiet, RATE)["event_micro_f1"] < 1


def test_estimates_of_unjudged_classes_move_no_threshold():
    head = make_head(decoder="rising_edges", pitch=False, onset=False)
    judged, rolls = Annotation(notes=(Note(0.2, 0.6, technique="trill"),)), np.zeros((2, 100, 3))
    rolls[0, 10:30, 2] = 0.6
    rolls[1, 10:30, 2] = 0.55  # a false alarm that a threshold of .55 avoids, if anybody knows that it is one
    for other, threshold in ((Annotation(notes=()), 0.55), (Annotation(notes=Layer(unjudged=("trill",))), 0.5)):
        head.tune([judged, other], [{"technique": roll} for roll in rolls], RATE)
        assert head.thresholds["technique"] == [0.5, 0.5, threshold]
