"""The technique head: its published size, its two readings of one plane, losses and statistics."""

import json
import math

import numpy as np
import pytest
import torch
from excerpts import excerpt_of
from made_technique_head import LABELS, SWITCHES, make_head, states
from pydantic import ValidationError
from torch.nn import functional as F

from etude.adapters.annotations import Annotation
from etude.adapters.annotations.notes import Note
from etude.adapters.errors import UserError
from etude.adapters.heads import Context, FrameGrid
from etude.adapters.heads.technique import Technique, TechniqueConfig


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


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"onset": False, "decoder": "fusion"}, "needs 'onset: true'"),
        ({"onset": False, "decoder": "onset_confirmed"}, "needs 'onset: true'"),
        ({"judge": "notes", "onset": False}, "judge: notes needs 'onset: true'"),
        ({"judge": "notes", "decoder": "fusion"}, "decoder is for 'judge: frames'; leave one of them out"),
        ({"pitch_range": (70, 60)}, r"\(lowest, highest\)"),
        ({"pitch_range": (-1, 60)}, "greater than or equal to 0"),
        ({"dropout": 1.0}, "less than 1"),
        ({"hidden": 0}, "greater than or equal to 1"),
    ],
)
def test_impossible_configurations(fields, message):
    with pytest.raises(ValidationError, match=message):
        TechniqueConfig(**fields)
