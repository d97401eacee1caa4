"""What the technique head learns from: targets by hand, and what is unknown."""

import math

import numpy as np
import pytest
import torch
from excerpts import excerpt_of
from made_technique_head import make_head

from etude.adapters.annotations import EVERYWHERE, Annotation, Layer
from etude.adapters.annotations.notes import Note
from etude.adapters.heads import FrameGrid

# 10 frames per second, so that frames can be counted by hand.


def targets_of(*notes, known=EVERYWHERE, unjudged=(), start=0, frames=10, real=None, soft=False, **fields):
    grid = FrameGrid(start, frames, 10.0, frames if real is None else real)
    return make_head(**fields).targets(excerpt_of(Annotation(notes=Layer(notes, known, unjudged)), grid, soft=soft))


def frames_of(column):
    return np.flatnonzero(column).tolist()


def test_targets_by_hand():
    made = targets_of(Note(0.2, 0.5, 61, "slide"), Note(0.4, 0.8, 63, "bend"), Note(0.81, 0.82, 60, "trill"))
    assert {name: roll.shape for name, roll in made.items()} == {
        **{"technique": (10, 3), "pitch": (10, 4), "onset": (10, 1)},
        **{"technique_mask": (10, 1), "pitch_mask": (10, 1), "onset_mask": (10, 1)},
    }
    assert all(roll.dtype == np.float32 for roll in made.values())
    assert [frames_of(made["technique"][:, label]) for label in range(3)] == [[4, 5, 6, 7], [2, 3, 4], [8]]
    assert [frames_of(made["pitch"][:, pitch]) for pitch in range(4)] == [[8], [2, 3, 4], [], [4, 5, 6, 7]]
    assert frames_of(made["onset"]) == [2, 4, 8]
    assert all(made[f"{name}_mask"].all() for name in ("technique", "pitch", "onset"))


def test_targets_of_a_soft_track_are_confidences():
    """Two meet in the frames 4 to 6 (of one class: the surer counts), one is certain, and one is as good as absent."""
    notes = (
        Note(0.2, 0.6, 61, "slide", confidence=0.25),
        Note(0.4, 0.7, 61, "slide", confidence=0.75),
        Note(0.4, 0.5, 60, "bend"),
        Note(0.8, 0.9, 63, "bend", confidence=0.0),
    )
    hard = targets_of(*notes)
    assert set(np.unique(np.concatenate([roll.ravel() for roll in hard.values()]))) == {0, 1}
    soft = targets_of(*notes, soft=True)
    assert soft["technique"][:, 1].tolist() == [0, 0, 0.25, 0.25, 0.75, 0.75, 0.75, 0, 0, 0]
    assert soft["technique"][:, 0].tolist() == [0, 0, 0, 0, 1, 0, 0, 0, 0, 0]
    assert soft["pitch"][:, 1].tolist() == soft["technique"][:, 1].tolist()
    assert soft["pitch"][:, 0].tolist() == soft["technique"][:, 0].tolist()
    assert soft["onset"][:, 0].tolist() == [0, 0, 0.25, 0, 1, 0, 0, 0, 0, 0]
    assert all(np.array_equal(soft[name], hard[name]) for name in hard if name.endswith("_mask"))
    assert all(roll.dtype == np.float32 for roll in soft.values())


def test_a_note_across_the_border_has_its_onset_in_the_earlier_window_only():
    note = Note(0.8, 1.3, 60, "bend")
    first, second, third = (targets_of(note, start=start) for start in (0, 10, 20))
    assert (frames_of(first["technique"][:, 0]), frames_of(first["onset"])) == ([8, 9], [8])
    assert (frames_of(second["technique"][:, 0]), frames_of(second["onset"])) == ([0, 1, 2], [])
    assert frames_of(second["pitch"][:, 0]) == [0, 1, 2]
    assert not third["technique"].any()
    on_the_border = targets_of(Note(1.0, 1.3, 60, "bend"), start=10)
    assert frames_of(on_the_border["onset"]) == [0]


def test_unknown_spans_are_masked_everywhere():
    made = targets_of(Note(0.1, 0.9, 60, "bend"), known=((0.0, 0.25), (0.5, 0.9), (7.0, math.inf)))
    for name in ("technique", "pitch", "onset"):
        assert frames_of(made[f"{name}_mask"]) == [0, 1, 5, 6, 7, 8]
    later = targets_of(known=((0.3, 0.95), (1.2, math.inf)), start=10)
    assert frames_of(later["onset_mask"]) == [2, 3, 4, 5, 6, 7, 8, 9]


def test_padding_is_masked():
    made = targets_of(Note(0.1, 0.9, 60, "bend"), real=4)
    for name in ("technique", "pitch", "onset"):
        assert frames_of(made[f"{name}_mask"]) == [0, 1, 2, 3]
    assert not any(targets_of(real=0)[f"{name}_mask"].any() for name in ("technique", "pitch", "onset"))


def test_a_note_without_technique_masks_the_technique_only():
    made = targets_of(Note(0.2, 0.5, 61))
    assert frames_of(made["technique_mask"]) == [0, 1, 5, 6, 7, 8, 9]
    assert not made["technique"].any()
    assert made["pitch_mask"].all()
    assert frames_of(made["pitch"][:, 1]) == [2, 3, 4]
    assert made["onset_mask"].all()
    assert frames_of(made["onset"]) == [2]


@pytest.mark.parametrize("pitch", [None, 59, 64, 59.4, 63.6])
def test_a_pitch_unknown_or_out_of_range_masks_the_pitch_only(pitch):
    made = targets_of(Note(0.2, 0.5, pitch, "slide"))
    assert frames_of(made["pitch_mask"]) == [0, 1, 5, 6, 7, 8, 9]
    assert not made["pitch"].any()
    assert made["technique_mask"].all()
    assert frames_of(made["technique"][:, 1]) == [2, 3, 4]


def test_pitches_between_semitones_go_to_the_nearest():
    made = targets_of(Note(0.0, 0.1, 61.4, "bend"), Note(0.1, 0.2, 61.6, "bend"), Note(0.2, 0.3, 59.6, "bend"))
    assert [frames_of(made["pitch"][:, pitch]) for pitch in range(4)] == [[2], [0], [1], []]
    assert made["pitch_mask"].all()


# Classes of which nobody said whether they occur.


def test_unjudged_classes_mask_their_own_column():
    made = targets_of(Note(0.2, 0.5, 61, "slide"), Note(0.6, 0.8), unjudged=("trill", "not a class"), real=9)
    known = np.ones((10, 3))
    known[9], known[6:8], known[:, 2] = 0, 0, 0
    np.testing.assert_array_equal(made["technique_mask"], known)
    assert {made[f"{name}_mask"].shape for name in ("pitch", "onset")} == {(10, 1)}
    assert made["onset_mask"].sum() == 9
    assert targets_of(Note(0.2, 0.5, 61, "slide"), unjudged=("not a class",))["technique_mask"].all()


def test_what_is_said_of_unjudged_classes_changes_no_loss_and_gets_no_gradient():
    head = make_head()
    made = targets_of(Note(0.2, 0.5, 61, "slide"), unjudged=("trill",))
    targets = {name: torch.from_numpy(array)[None] for name, array in made.items()}
    outputs = {"technique": torch.randn(1, 10, 3, requires_grad=True)}
    loss = head.loss(outputs, targets)["technique"]
    loss.backward()
    assert not outputs["technique"].grad[..., 2].any()
    assert outputs["technique"].grad[..., :2].all()
    alone = torch.nn.functional.binary_cross_entropy_with_logits(
        outputs["technique"][..., :2], targets["technique"][..., :2], pos_weight=head.class_weights[:2]
    )
    assert loss.item() == pytest.approx(alone.item(), rel=1e-6)


def test_nothing_is_known_where_nobody_annotated_notes():
    made = make_head().targets(excerpt_of(Annotation(tags=()), FrameGrid(0, 10, 10.0, 10)))
    assert not any(made[f"{name}_mask"].any() for name in ("technique", "pitch", "onset"))
