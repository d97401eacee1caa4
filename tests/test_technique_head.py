"""The technique head: its published size, its two readings of one plane, targets by hand, losses, decoding and scores."""

import json
import math

import numpy as np
import pytest
import torch
from excerpts import excerpt_of
from pydantic import ValidationError
from torch import nn
from torch.nn import functional as F

from etude.adapters.annotations import EVERYWHERE, Annotation, Layer
from etude.adapters.annotations.notes import Note
from etude.adapters.errors import UserError
from etude.adapters.heads import Context, FrameGrid
from etude.adapters.heads.technique import Technique, TechniqueConfig

LABELS = ("bend", "slide", "trill")
STATISTICS = {"pitch_range": [60, 63], "class_weights": [1.0, 2.0, 0.5]}
SWITCHES = [{}, {"pitch": False}, {"onset": False}, {"pitch": False, "onset": False}]


def make_head(labels=LABELS, hidden_size=6, statistics=STATISTICS, **fields):
    torch.manual_seed(0)
    return Technique(TechniqueConfig(**{"hidden": 8, **fields}), labels, hidden_size, statistics).eval()


def states(frames=5, hidden_size=6, batch=2):
    return torch.randn(batch, frames, hidden_size, generator=torch.Generator().manual_seed(1))


def count(module):
    return sum(parameter.numel() for parameter in module.parameters())


def test_size_is_the_published_one():
    """MERTech: 7 classes, MIDI 36-87, 768 inputs."""
    head = Technique(TechniqueConfig(), "abcdefg", 768, {"pitch_range": [36, 87], "class_weights": [1.0] * 7})
    assert count(head.plane) == 768 * 512 + 512 + 512 * 364 + 364 == 580_460
    assert count(head.onset) == 768 * 512 + 512 + 512 + 1 == 394_241
    # Attention over n channels: 3 n * n + 3 n in, n * n + n out; then n -> n - 1.
    assert (
        [count(head.refine[name]) for name in ("technique", "pitch")]
        == [4 * 8 * 9 + 9 * 7, 4 * 53 * 54 + 54 * 52]
        == [351, 14_256]
    )
    assert count(head) + 13 == 989_321
    assert [type(layer).__name__ for layer in head.plane] == ["Linear", "Dropout", "ReLU", "Linear"]
    assert head.plane[1].p == 0.2


def test_logits_are_the_two_sums_of_one_plane():
    head, mixed = make_head(onset=False), states()
    planes = head.plane(mixed).reshape(2, 5, 3, 4)  # frames, techniques, pitches
    logits = head(Context(mixed))
    assert set(logits) == {"technique", "pitch"}
    torch.testing.assert_close(logits["technique"], torch.stack([planes[:, :, i, :].sum(-1) for i in range(3)], -1))
    torch.testing.assert_close(logits["pitch"], torch.stack([planes[:, :, :, i].sum(-1) for i in range(4)], -1))


def test_refinement_is_attention_over_time_with_the_onset_as_a_further_channel():
    """Against attention written out: softmax(q k' / sqrt(n)) v, then the residual and the linear layer."""
    head, mixed = make_head(), states()
    plane, onset = head.plane(mixed).reshape(2, 5, 3, 4), head.onset(mixed)
    for name, logits in (("technique", plane.sum(3)), ("pitch", plane.sum(2))):
        refiner, joined = head.refine[name], torch.cat([logits, onset], -1)
        channels = joined.shape[-1]
        query, key, value = (joined @ refiner.attention.in_proj_weight.T + refiner.attention.in_proj_bias).split(channels, -1)
        shares = torch.softmax(query @ key.transpose(1, 2) / math.sqrt(channels), -1)
        attended = refiner.attention.out_proj(shares @ value)
        torch.testing.assert_close(head(Context(mixed))[name], refiner.project(joined + attended), atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(head(Context(mixed))["onset"], onset)


@pytest.mark.parametrize("fields", SWITCHES)
def test_switches_remove_outputs_parameters_and_loss_terms(fields):
    head, mixed = make_head(**fields), states()
    pitch, onset = fields.get("pitch", True), fields.get("onset", True)
    outputs = ["technique", *["pitch"] * pitch, *["onset"] * onset]
    logits = head(Context(mixed))
    assert {name: tuple(values.shape) for name, values in logits.items()} == {
        name: (2, 5, {"technique": 3, "pitch": 4, "onset": 1}[name]) for name in outputs
    }
    assert count(head.plane) == 6 * 8 + 8 + 9 * (3 * 4 if pitch else 3)
    assert {name.split(".")[0] for name, _ in head.named_parameters()} == {"plane", *(["onset", "refine"] if onset else [])}
    assert set(head.refine) == ({"technique", *["pitch"] * pitch} if onset else set())
    targets = {name: torch.zeros_like(values) for name, values in logits.items()}
    masks = {f"{name}_mask": torch.ones(2, 5, 1) for name in ("technique", "pitch", "onset")}
    assert list(head.loss(logits, {**targets, **masks})) == outputs
    assert head.decoder == ("onset_confirmed" if onset else "rising_edges")


def test_no_gradient_from_the_technique_into_the_onset_branch():
    head, mixed = make_head(), states()
    logits = head(Context(mixed))
    (logits["technique"].square().sum() + logits["pitch"].square().sum()).backward()
    assert all(parameter.grad is None for parameter in head.onset.parameters())
    assert all(parameter.grad.abs().sum() > 0 for parameter in head.plane.parameters())
    head.zero_grad()
    head(Context(mixed))["onset"].square().sum().backward()
    assert all(parameter.grad.abs().sum() > 0 for parameter in head.onset.parameters())


def test_onset_logit_changes_the_refined_logits():
    head, mixed = make_head(), states()
    before = head(Context(mixed))
    with torch.no_grad():
        head.onset[-1].bias.add_(3.0)
    after = head(Context(mixed))
    assert all((before[name] - after[name]).abs().max() > 1e-3 for name in ("technique", "pitch"))


def test_loss_is_the_weighted_sum_of_published_terms():
    head = make_head()
    logits = {name: values.detach() for name, values in head(Context(states())).items()}
    generator = torch.Generator().manual_seed(2)
    targets = {name: (torch.rand(values.shape, generator=generator) < 0.4).float() for name, values in logits.items()}
    masks = {f"{name}_mask": torch.ones(2, 5, 1) for name in logits}
    masks["pitch_mask"][:, 3:] = 0.0
    positive = {"technique": torch.tensor([1.0, 2.0, 0.5]), "pitch": torch.ones(4), "onset": torch.tensor([10.0])}
    mean = {
        name: F.binary_cross_entropy_with_logits(logits[name][:, :frames], targets[name][:, :frames], pos_weight=positive[name])
        for name, frames in (("technique", 5), ("pitch", 3), ("onset", 5))
    }
    terms = head.loss(logits, {**targets, **masks})
    for name, weight in (("technique", 1.0), ("pitch", 0.5), ("onset", 0.5)):
        torch.testing.assert_close(terms[name], weight * mean[name])
    heavier = make_head(weight=3.0, pitch_weight=0.25, onset_weight=0.0, onset_positive_weight=1.0)
    terms = heavier.loss(logits, {**targets, **masks})
    torch.testing.assert_close(terms["technique"], 3.0 * mean["technique"])
    torch.testing.assert_close(terms["pitch"], 3.0 * 0.25 * mean["pitch"])
    assert terms["onset"] == 0


def test_context_lets_every_output_see_so_many_frames_and_no_more():
    head = make_head(pitch=False, onset=False, context=6, hidden=8).eval()
    mixed = torch.randn(1, 40, 6)
    changed = mixed.clone()
    changed[0, 20] += 5 * torch.randn(6)
    moved = (head(Context(mixed))["technique"] != head(Context(changed))["technique"]).any(dim=-1)[0].nonzero().flatten()
    assert (moved.min(), moved.max()) == (12, 28)  # nine frames, every second one
    assert 20 in moved
    plain = make_head(pitch=False, onset=False, hidden=8).eval()
    moved = (plain(Context(mixed))["technique"] != plain(Context(changed))["technique"]).any(dim=-1)[0]
    assert moved.nonzero().flatten().tolist() == [20]


# Targets. 10 frames per second, so that frames can be counted by hand.


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


# Statistics.


def test_measure_by_hand():
    """40, 20, 20 frames: shares .5, .25, .25; see the losses' tests for the weights."""
    annotations = [
        Annotation(notes=(Note(0.0, 4.0, 60.5, "bend"), Note(4.0, 6.0, 64, "slide"))),
        Annotation(notes=(Note(1.0, 3.0, 55, "trill"), Note(3.0, 9.0))),
    ]
    measured = Technique.measure(TechniqueConfig(class_weight_power=1.0), LABELS, annotations, 10.0)
    assert measured == {"pitch_range": [55, 64], "class_weights": [0.5, 1.5, 1.5]}
    assert json.loads(json.dumps(measured)) == measured
    chosen = Technique.measure(TechniqueConfig(pitch_range=(50, 70)), LABELS, annotations, 10.0)
    assert chosen["pitch_range"] == [50, 70]


def test_measure_without_pitches():
    annotations = [Annotation(notes=(Note(0.0, 1.0, None, "bend"),))]
    with pytest.raises(UserError, match=r"^heads\.technique\.pitch: no training note has a pitch \(set it to false\)$"):
        Technique.measure(TechniqueConfig(), LABELS, annotations, 10.0)
    outside = [*annotations, Annotation(notes=(Note(0.0, 1.0, 72, "bend"),))]
    with pytest.raises(UserError, match="no training note has a pitch from 40 to 50"):
        Technique.measure(TechniqueConfig(pitch_range=(40, 50)), LABELS, outside, 10.0)
    config = TechniqueConfig(pitch=False)
    statistics = Technique.measure(config, LABELS, annotations, 10.0)
    assert statistics["class_weights"] == [1.0, 1.0, 1.0]
    logits = Technique(config, LABELS, 6, statistics)(Context(states()))
    assert {name: values.shape[-1] for name, values in logits.items()} == {"technique": 3, "onset": 1}


def test_rebuilt_from_its_stored_statistics_and_tensors_it_is_the_same():
    annotations = [Annotation(notes=(Note(0.0, 1.0, 60, "bend"), Note(1.0, 1.3, 70, "slide")))]
    config = TechniqueConfig(hidden=8)
    head = Technique(config, LABELS, 6, Technique.measure(config, LABELS, annotations, 75.0)).eval()
    stored = json.loads(json.dumps(head.statistics))
    again = Technique(TechniqueConfig(**json.loads(config.model_dump_json())), LABELS, 6, stored).eval()
    assert set(head.state_dict()) == {name for name, _ in head.named_parameters()}
    again.load_state_dict(head.state_dict())
    expected = head(Context(states()))
    for name, values in again(Context(states())).items():
        assert torch.equal(values, expected[name])
    assert torch.equal(again.class_weights, head.class_weights)
    grid = FrameGrid(0, 100, 75.0, 100)
    for name, roll in again.targets(excerpt_of(annotations[0], grid)).items():
        np.testing.assert_array_equal(roll, head.targets(excerpt_of(annotations[0], grid))[name])


# Decoding and scores.

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
    assert scores.get("pitch_frame_f1") == (1.0 if head.config.pitch else None)
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


def test_activations_are_probabilities_in_full_precision():
    logits = {"technique": torch.tensor([[[0.0, -30.0, math.log(3)]]], dtype=torch.bfloat16)}
    probabilities = make_head().activations(logits)["technique"]
    assert probabilities.dtype == torch.float32
    torch.testing.assert_close(probabilities, torch.tensor([[[0.5, 0.0, 0.75]]]), atol=2e-3, rtol=0)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"onset": False, "decoder": "fusion"}, "needs 'onset: true'"),
        ({"onset": False, "decoder": "onset_confirmed"}, "needs 'onset: true'"),
        ({"pitch_range": (70, 60)}, r"\(lowest, highest\)"),
        ({"pitch_range": (-1, 60)}, "greater than or equal to 0"),
        ({"dropout": 1.0}, "less than 1"),
        ({"hidden": 0}, "greater than or equal to 1"),
    ],
)
def test_impossible_configurations(fields, message):
    with pytest.raises(ValidationError, match=message):
        TechniqueConfig(**fields)


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
