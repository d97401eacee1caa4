"""The head for tags of whole clips: its network, its targets and its loss, against PyTorch's own."""

import pytest
import torch
from excerpts import excerpt_of
from made_tags_head import LABELS, RATE, make_head, names, partially, tagged, targets
from pydantic import ValidationError

from etude.adapters.annotations import Annotation
from etude.adapters.annotations.notes import Note
from etude.adapters.annotations.tags import Tag
from etude.adapters.errors import UserError
from etude.adapters.heads import Context, FrameGrid
from etude.adapters.heads.tags import Tags, TagsConfig

# the network and its loss


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"hidden": 0}, 6 * 3 + 3),
        ({"hidden": 4}, 6 * 4 + 4 + 4 * 3 + 3),
        ({"hidden": 4, "pooling": "statistics"}, 6 * 4 + 4 + 2 * 12 + 12 * 3 + 3),
        ({"hidden": 4, "pooling": "statistics", "norm": True}, 2 * 6 + 6 * 4 + 4 + 2 * 12 + 12 * 3 + 3),
    ],
)
def test_size(fields, expected):
    head = make_head(**fields)
    assert sum(p.numel() for p in head.parameters()) == expected
    assert head(Context(torch.randn(2, 5, 6)))["tags"].shape == (2, 5, 4 if "pooling" in fields else 3)


def test_frames_are_judged_one_by_one():
    head, states = make_head().eval(), torch.randn(1, 5, 6)
    torch.testing.assert_close(head(Context(states))["tags"][:, 2], head(Context(states[:, 2:3]))["tags"][:, 0])


def test_targets_by_hand():
    head = make_head()
    target = head.targets(excerpt_of(tagged("flu", "cel"), FrameGrid(100, 5, RATE, 3)))
    assert target["tags"].tolist() == [[1, 0, 1]]
    assert target["tags_mask"].tolist() == [[1, 1, 1]] * 3 + [[0, 0, 0]] * 2
    assert head.targets(excerpt_of(tagged(), FrameGrid(0, 2, RATE, 2)))["tags_mask"].tolist() == [[1, 1, 1]] * 2
    partial = head.targets(excerpt_of(partially(["flu"], ["cla", "no class here"]), FrameGrid(0, 3, RATE, 2)))
    assert partial["tags"].tolist() == [[0, 0, 1]]
    assert partial["tags_mask"].tolist() == [[1, 0, 1]] * 2 + [[0, 0, 0]]
    nobody = head.targets(excerpt_of(Annotation(notes=(Note(0, 1, technique="x"),)), FrameGrid(0, 5, RATE, 5)))
    assert not nobody["tags_mask"].any()
    with pytest.raises(UserError, match=r"tag 'clo' is not a class of this adapter \(did you mean 'cl"):
        head.targets(excerpt_of(tagged("clo"), FrameGrid(0, 2, RATE, 2)))


def test_targets_of_a_soft_track_are_confidences():
    grid = FrameGrid(0, 2, RATE, 2)

    def soft(annotation, **fields):
        return make_head(**fields).targets(excerpt_of(annotation, grid, soft=True))["tags"].tolist()

    several = Annotation(tags=[Tag("cel", 0.25), Tag("flu")])
    assert soft(several) == [[0.25, 0, 1]]
    assert make_head().targets(excerpt_of(several, grid))["tags"].tolist() == [[1, 0, 1]]
    single = Annotation(tags=[Tag("cla", 0.5)])
    assert soft(single) == [[0, 0.5, 0]]
    assert soft(single, activation="softmax") == [[0.25, 0.5, 0.25]]
    assert soft(tagged("cla"), activation="softmax") == [[0, 1, 0]]
    assert soft(single, activation="softmax", labels=("cla",)) == [[0.5]]


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"activation": "softmax", "loss": "binary_cross_entropy"},
        {"activation": "softmax"},
        {"activation": "softmax", "label_smoothing": 0.1},
    ],
)
def test_loss_is_pytorchs_own_of_the_mean_logits(fields):
    head = make_head(weight=2.0, **fields)
    logits, annotations = torch.randn(3, 5, 3), [tagged("cel"), Annotation(), tagged("flu")]
    loss = head.loss({"tags": logits}, targets(head, annotations, real=4))["clip"]
    clips = logits[[0, 2], :4].mean(dim=1)
    if fields and "loss" not in fields:
        expected = torch.nn.CrossEntropyLoss(label_smoothing=head.config.label_smoothing)(clips, torch.tensor([0, 2]))
    else:
        expected = torch.nn.BCEWithLogitsLoss()(clips, torch.tensor([[1.0, 0, 0], [0, 0, 1]]))
    assert loss.item() == pytest.approx(2 * expected.item(), rel=1e-6)


def test_loss_of_partial_labels_is_the_mean_over_the_labelled_cells():
    head, logits = make_head(weight=2.0), torch.randn(3, 5, 3, requires_grad=True)
    annotations = [partially(["cel"], ["cla"]), partially([], LABELS), partially(["cel", "flu"], [])]
    loss = head.loss({"tags": logits}, targets(head, annotations, real=4))["clip"]
    loss.backward()
    own = logits.detach().clone().requires_grad_()
    clips = own[:, :4].mean(dim=1)
    cells = [clips[0, 0], clips[0, 2], *clips[2]]
    expected = 2 * torch.nn.BCEWithLogitsLoss()(torch.stack(cells), torch.tensor([1.0, 0, 1, 0, 1]))
    expected.backward()
    assert loss.item() == pytest.approx(expected.item(), rel=1e-6)
    torch.testing.assert_close(logits.grad, own.grad)
    assert not logits.grad[1].any()
    assert not logits.grad[0, :, 1].any()


@pytest.mark.parametrize("pooling", ["mean", "statistics"])
@pytest.mark.parametrize("scale", [1.0, 0.01])
@pytest.mark.parametrize("activation", ["sigmoid", "softmax"])
def test_weighted_clips_count_by_their_weight_and_are_pooled_as_if_they_had_none(activation, scale, pooling):
    head = make_head(activation=activation, pooling=pooling, hidden=4).eval()
    outputs, annotations = torch.rand(3, 5, 4 if pooling == "statistics" else 3), [tagged("cel"), tagged("cla"), tagged("flu")]
    weights = torch.tensor([0.5, 3.0, 1.5])
    alone = [
        head.loss({"tags": own[None]}, targets(head, [item], real=4))["clip"]
        for own, item in zip(outputs, annotations, strict=True)
    ]
    weighted = targets(head, annotations, real=4)
    weighted["tags_mask"] = weighted["tags_mask"] * (scale * weights)[:, None, None]
    loss = head.loss({"tags": outputs}, weighted)["clip"]
    assert loss.item() == pytest.approx(
        sum(w * one.item() for w, one in zip(weights.tolist(), alone, strict=True)) / 5, rel=1e-5
    )


def test_softmax_learns_nothing_from_a_partially_labelled_clip():
    head, logits = make_head(activation="softmax"), torch.randn(2, 5, 3)
    both = head.loss({"tags": logits}, targets(head, [tagged("cel"), partially(["flu"], ["cla"])]))["clip"]
    assert both.item() == pytest.approx(head.loss({"tags": logits[:1]}, targets(head, [tagged("cel")]))["clip"].item())


@pytest.mark.parametrize("pooling", ["mean", "statistics"])
@pytest.mark.parametrize("activation", ["sigmoid", "softmax"])
@pytest.mark.parametrize("annotation", [Annotation(), tagged("cel"), partially([], LABELS)])
def test_loss_and_gradient_are_finite_for_one_clip_labelled_or_not(activation, annotation, pooling):
    head = make_head(activation=activation, pooling=pooling)
    silent = torch.zeros(1, 5, 6)  # every frame the same
    loss = head.loss(head(Context(silent)), targets(head, [annotation]))["clip"]
    loss.backward()
    assert (loss.item() == 0) == (names(annotation.tags) != ["cel"])
    assert all(torch.isfinite(p.grad).all() for p in head.parameters())


@pytest.mark.parametrize("pooling", ["mean", "statistics"])
def test_padding_and_unlabelled_clips_change_no_gradient(pooling):
    head = make_head(pooling=pooling)
    known = targets(head, [tagged("cel")], real=3)
    states = torch.randn(2, 5, 6)
    torch.manual_seed(1)
    alone = head.eval().loss(head(Context(states[:1])), known)["clip"]
    both = {key: torch.cat([known[key], targets(head, [Annotation()])[key]]) for key in known}
    changed = states.clone()
    changed[0, 3:] = 100
    assert head.loss(head(Context(changed)), both)["clip"].item() == pytest.approx(alone.item(), rel=1e-6)


@pytest.mark.parametrize("pooling", ["mean", "statistics"])
@pytest.mark.parametrize("activation", ["sigmoid", "softmax"])
def test_it_learns(activation, pooling):
    head = make_head(activation=activation, dropout=0.0, pooling=pooling)
    states = torch.randn(6, 5, 6) + torch.eye(6)[:, None, :] * 4
    annotations = [tagged(LABELS[i % 3]) for i in range(6)]
    optimizer = torch.optim.Adam(head.parameters(), 0.01)
    for _ in range(150):
        optimizer.zero_grad()
        head.loss(head(Context(states)), targets(head, annotations))["clip"].backward()
        optimizer.step()
    head.eval()
    with torch.no_grad():
        found = [head.pool({"tags": row.half().numpy()}, RATE) for row in head.activations(head(Context(states)))["tags"]]
    assert [names(head.decode(item, RATE)) for item in found] == [names(item.tags) for item in annotations]


def test_context_lets_each_frame_be_read_with_its_neighbours():
    torch.manual_seed(0)
    head = Tags(TagsConfig(context=4, hidden=4), ("a", "b"), 3, {}).eval()
    mixed = torch.randn(1, 20, 3)
    changed = mixed.clone()
    changed[0, 10] += 5 * torch.randn(3)
    moved = (head(Context(mixed))["tags"] != head(Context(changed))["tags"]).any(dim=-1)[0].nonzero().flatten()
    assert (moved.min(), moved.max()) == (6, 14)


# what it learns from


def test_measure_checks_the_tags():
    assert Tags.measure(TagsConfig(), LABELS, [tagged("cel", "flu"), Annotation()], RATE) == {}
    assert Tags.measure(TagsConfig(activation="softmax"), LABELS, [tagged("cel"), Annotation()], RATE) == {}
    some = [partially(["cel"], ["cla"]), tagged("cel"), Annotation()]
    assert Tags.measure(TagsConfig(), LABELS, some, RATE) == {}
    with pytest.raises(
        UserError, match=r"activation: 1 of 2 training .* partially labelled \(one lacks 'cla'\) \(set it to sig"
    ):
        Tags.measure(TagsConfig(activation="softmax"), LABELS, some, RATE)
    with pytest.raises(UserError, match="no training recording has tags"):
        Tags.measure(TagsConfig(), LABELS, [Annotation()], RATE)
    for tags, shown in ((("cel", "flu"), "one has 'cel', 'flu'"), ((), "one has none")):
        with pytest.raises(UserError, match=rf"1 of 2 training recordings .*{shown}.*\(set it to sigmoid\)"):
            Tags.measure(TagsConfig(activation="softmax"), LABELS, [tagged("cel"), tagged(*tags)], RATE)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"label_smoothing": 0.1}, "label_smoothing needs the loss cross_entropy, and 'activation: softmax'"),
        ({"label_smoothing": 0.1, "activation": "softmax", "loss": "binary_cross_entropy"}, "label_smoothing needs the loss"),
        ({"loss": "cross_entropy"}, "loss: cross_entropy needs 'activation: softmax'"),
        ({"clip_seconds": 0}, "greater than 0"),
        ({"activation": "relu"}, "'sigmoid' or 'softmax'"),
        ({"hidden": -1}, "greater than or equal to 0"),
        ({"hidden": 0, "pooling": "statistics"}, "needs a hidden layer; set hidden to 256"),
    ],
)
def test_impossible_configurations(fields, message):
    with pytest.raises(ValidationError, match=message):
        TagsConfig(**fields)
