"""The head for tags of whole clips, against scikit-learn, PyTorch's own losses and brute force."""

import socket

import numpy as np
import pytest
import torch
from excerpts import excerpt_of
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from pydantic import ValidationError
from sklearn import metrics

from etude.adapters.annotations import Annotation, Layer
from etude.adapters.annotations.notes import Note
from etude.adapters.annotations.tags import Tag
from etude.adapters.errors import UserError
from etude.adapters.heads import Context, FrameGrid
from etude.adapters.heads._parts.clip_head import GRID
from etude.adapters.heads._parts.statistics_pooling import StatisticsPooling
from etude.adapters.heads._parts.tag_scoring import (
    exact_matches,
    label_ranking_average_precision,
    micro_f1,
    tag_cells,
    tag_scores,
)
from etude.adapters.heads.tags import Tags, TagsConfig

LABELS = ("cel", "cla", "flu")
RATE = 50.0


def make_head(labels=LABELS, hidden_size=6, **fields):
    torch.manual_seed(0)
    return Tags(TagsConfig(**fields), labels, hidden_size, {})


def tagged(*tags):
    return Annotation(tags=map(Tag, tags))


def partially(tags, unlabelled):
    return Annotation(tags=Layer(tuple(map(Tag, tags)), unjudged=tuple(unlabelled)))


def names(layer):
    return [tag.name for tag in layer]


def targets(head, annotations, frames=5, real=None):
    grid = FrameGrid(0, frames, RATE, frames if real is None else real)
    rows = [head.targets(excerpt_of(item, grid)) for item in annotations]
    return {key: torch.stack([torch.from_numpy(row[key]) for row in rows]) for key in rows[0]}


def probabilities(*rows):
    return [{"tags": np.array([row], np.float32)} for row in rows]


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


def statistics_by_hand(features):
    """``[frames, hidden]`` -> mean, deviation and maximum, normalised to mean 0 and variance 1 as one vector."""
    pooled = np.concatenate([features.mean(axis=0), np.sqrt(features.var(axis=0) + 1e-5), features.max(axis=0)])
    return (pooled - pooled.mean()) / np.sqrt(pooled.var() + 1e-5)


def test_statistics_by_hand():
    pooling, features = StatisticsPooling(4), torch.rand(2, 7, 4)
    real = torch.tensor([[1.0] * 7, [1.0] * 3 + [0.0] * 4])
    found = pooling(features, real).detach().numpy()
    np.testing.assert_allclose(found[0], statistics_by_hand(features[0].double().numpy()), atol=1e-5)
    np.testing.assert_allclose(found[1], statistics_by_hand(features[1, :3].double().numpy()), atol=1e-5)
    assert torch.isfinite(pooling(features, torch.zeros(2, 7))).all()


def gradients_on_two_processes(rank, port, file):
    """One clip on each process; those of the first are kept."""
    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo", init_method=f"tcp://127.0.0.1:{port}", rank=rank, world_size=2)
    head = make_head(pooling="statistics", hidden=4, dropout=0.0)
    wrapped = torch.nn.parallel.DistributedDataParallel(head)
    states = torch.randn(2, 5, 6, generator=torch.Generator().manual_seed(3))[rank : rank + 1]
    head.loss(wrapped(Context(states)), targets(head, [tagged(LABELS[rank])]))["clip"].backward()
    if rank == 0:
        torch.save([p.grad for p in head.parameters()], file)
    torch.distributed.destroy_process_group()


def test_two_processes_learn_the_pooled_layer_together(tmp_path):
    """It is read in the loss, outside the forward pass that the processes agree on."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    torch.multiprocessing.spawn(gradients_on_two_processes, (port, tmp_path / "gradients"), nprocs=2)
    head = make_head(pooling="statistics", hidden=4, dropout=0.0)
    states = torch.randn(2, 5, 6, generator=torch.Generator().manual_seed(3))
    head.loss(head(Context(states)), targets(head, [tagged("cel"), tagged("cla")]))["clip"].backward()
    for found, parameter in zip(torch.load(tmp_path / "gradients"), head.parameters(), strict=True):
        torch.testing.assert_close(found, parameter.grad)


# prediction


def brute_force(logits, rate, seconds, activation):
    """Windows of ``seconds``, half of it apart, the last one ending with the recording."""
    length, hop = max(1, round(seconds * rate)), max(1, round(seconds / 2 * rate))
    starts, start = [], 0
    while start + length < len(logits):
        starts.append(start)
        start += hop
    starts.append(max(0, len(logits) - length))
    rows = []
    for start in starts:
        mean = torch.from_numpy(logits[start : start + length].astype(np.float64)).mean(dim=0)
        rows.append(mean.sigmoid() if activation == "sigmoid" else mean.softmax(dim=0))
    return torch.stack(rows).mean(dim=0).numpy()


@pytest.mark.parametrize("activation", ["sigmoid", "softmax"])
@pytest.mark.parametrize("frames", [1, 10, 49, 50, 51, 74, 75, 76, 100, 237])
@pytest.mark.parametrize("seconds", [1.0, 0.4, 0.01])
def test_pooling_is_the_mean_over_overlapping_windows(activation, frames, seconds):
    head = make_head(activation=activation, clip_seconds=seconds)
    logits = (np.random.default_rng(frames).normal(size=(frames, 3)) * 3).astype(np.float16)
    pooled = head.pool({"tags": logits}, RATE)["tags"]
    assert pooled.shape == (1, 3)
    np.testing.assert_allclose(pooled[0], brute_force(logits, RATE, seconds, activation), rtol=1e-5)


@pytest.mark.parametrize("frames", [1, 30, 75, 237])
def test_statistics_are_of_the_same_windows(frames):
    head = make_head(pooling="statistics", hidden=4, activation="softmax").eval()
    features = torch.rand(frames, 4, generator=torch.Generator().manual_seed(frames)).half().numpy()
    last = head.last[1]
    weight, bias = last.weight.detach().double().numpy(), last.bias.detach().double().numpy()
    starts = [*range(0, frames - 50, 25), max(0, frames - 50)]
    pooled = [statistics_by_hand(features[start : start + 50].astype(np.float64)) for start in starts]
    expected = torch.from_numpy(np.stack(pooled) @ weight.T + bias).softmax(dim=1).mean(dim=0).numpy()
    np.testing.assert_allclose(head.pool({"tags": features}, RATE)["tags"][0], expected, rtol=1e-4)


def test_activations_are_logits_that_half_precision_holds():
    head = make_head()
    logits = torch.tensor([[[30.0, -30.0, 0.0]]])
    kept = head.activations({"tags": logits})["tags"].half().numpy()[0]
    assert head.pool({"tags": kept}, RATE)["tags"][0] == pytest.approx([1, 0, 0.5], abs=1e-6)


def test_decoding():
    head = make_head()
    head.thresholds = {"tags": 0.5}
    found = head.decode(*probabilities([0.75, 0.5, 0.625]), RATE)
    assert found == Layer((Tag("cel", 0.75), Tag("flu", 0.625)))
    assert head.decode(*probabilities([0.5, 0.5, 0.5]), RATE) == Layer()
    single = make_head(activation="softmax")
    assert single.thresholds == {}
    assert names(single.decode(*probabilities([0.25, 0.3, 0.45]), RATE)) == ["flu"]


def test_the_threshold_has_the_best_micro_f1_and_is_near_one_half():
    rng = np.random.default_rng(0)
    head = make_head()
    truth = rng.random((40, 3)) < 0.4
    values = np.clip(truth * 0.2 + rng.random((40, 3)) * 0.5, 0, 1).astype(np.float32)
    references = [tagged(*np.array(LABELS)[row]) for row in truth]
    head.tune(references, probabilities(*values), RATE)
    expected = {t: metrics.f1_score(truth, values.astype(np.float64) > t, average="micro", zero_division=0) for t in GRID}
    best = max(expected.values())
    assert head.thresholds["tags"] == min((t for t in GRID if expected[t] == best), key=lambda t: abs(t - 0.5))
    assert head.thresholds["tags"] != 0.5
    head.tune([tagged("cel")], probabilities([0.9, 0.1, 0.1]), RATE)
    assert head.thresholds == {"tags": 0.5}
    head.tune([Annotation()], probabilities([0.9, 0.1, 0.1]), RATE)
    assert head.thresholds == {"tags": 0.5}
    assert (min(GRID), max(GRID), len(GRID)) == (0.0, 0.98, 50)


def test_the_threshold_is_chosen_on_labelled_cells_alone():
    rng = np.random.default_rng(0)
    head, values = make_head(), rng.random((30, 3)).astype(np.float32)
    truth, labelled = values + rng.normal(0, 0.1, values.shape) > 0.7, rng.random((30, 3)) < 0.5
    classes = np.array(LABELS)
    references = [partially(classes[own & known], classes[~known]) for own, known in zip(truth, labelled, strict=True)]
    head.tune([*references, Annotation()], probabilities(*values, [0, 0, 0]), RATE)
    expected = {t: metrics.f1_score(truth[labelled], values[labelled].astype(np.float64) > t, zero_division=0) for t in GRID}
    best = max(expected.values())
    assert head.thresholds["tags"] == min((t for t in GRID if expected[t] == best), key=lambda t: abs(t - 0.5))
    # What is unlabelled would have moved it: there, the highest probabilities are of negatives.
    head.tune([*references, *[partially([], classes[:2])] * 9], probabilities(*values, *[[0.9, 0.9, 0.1]] * 9), RATE)
    assert expected[head.thresholds["tags"]] == best
    head.tune([*references, *[tagged()] * 9], probabilities(*values, *[[0.9, 0.9, 0.1]] * 9), RATE)
    assert expected[head.thresholds["tags"]] < best


# scores


def cells(classes=4, clips=12):
    size = st.tuples(st.integers(1, clips), st.integers(1, classes))
    return size.flatmap(
        lambda shape: st.tuples(
            arrays(np.bool_, shape), arrays(np.float32, shape, elements=st.sampled_from([0, 0.25, 0.5, 0.75, 1]))
        )
    )


@settings(deadline=None, max_examples=200)
@given(cells())
def test_ranking_precision_is_scikit_learns(pair):
    truth, values = pair
    expected = metrics.label_ranking_average_precision_score(truth, values)
    assert label_ranking_average_precision(truth, values) == pytest.approx(expected, abs=1e-12)


def test_context_lets_each_frame_be_read_with_its_neighbours():
    torch.manual_seed(0)
    head = Tags(TagsConfig(context=4, hidden=4), ("a", "b"), 3, {}).eval()
    mixed = torch.randn(1, 20, 3)
    changed = mixed.clone()
    changed[0, 10] += 5 * torch.randn(3)
    moved = (head(Context(mixed))["tags"] != head(Context(changed))["tags"]).any(dim=-1)[0].nonzero().flatten()
    assert (moved.min(), moved.max()) == (6, 14)


@settings(deadline=None, max_examples=200)
@given(cells())
def test_f1_and_accuracy_are_scikit_learns(pair):
    truth, values = pair
    estimate = values > 0.5
    scores = tag_scores(truth, values, estimate, [str(i) for i in range(truth.shape[1])])
    options = {"zero_division": 0}
    micro = metrics.f1_score(truth.ravel(), estimate.ravel(), **options)
    assert scores["f1_micro"] == pytest.approx(micro) == pytest.approx(micro_f1(truth, estimate))
    assert exact_matches(truth, estimate) == pytest.approx(metrics.accuracy_score(truth, estimate))
    by_class = [metrics.f1_score(truth[:, i], estimate[:, i], **options) for i in range(truth.shape[1])]
    seen = [f1 for i, f1 in enumerate(by_class) if (truth | estimate)[:, i].any()]
    assert scores["f1_macro"] == pytest.approx(np.mean(seen) if seen else 0.0)
    for i, row in enumerate(scores["per_class"].values()):
        assert row["clip"]["f1"] == pytest.approx(by_class[i])
        assert row["clip"]["precision"] == pytest.approx(metrics.precision_score(truth[:, i], estimate[:, i], **options))
        assert row["clip"]["recall"] == pytest.approx(metrics.recall_score(truth[:, i], estimate[:, i], **options))
        assert (row["clip"]["ref"], row["clip"]["est"]) == (truth[:, i].sum(), estimate[:, i].sum())


@pytest.mark.parametrize("activation", ["sigmoid", "softmax"])
def test_recordings_without_annotated_tags_count_in_nothing(activation):
    head = make_head(activation=activation)
    known, values = [tagged("cel"), tagged("flu")], [[0.9, 0.05, 0.05], [0.4, 0.5, 0.1]]
    alone = head.score(known, probabilities(*values), RATE)
    more = head.score([known[0], Annotation(), known[1]], probabilities(values[0], [0, 0, 1], values[1]), RATE)
    assert more == alone
    assert ("accuracy" in alone) == (activation == "softmax")
    assert ("openmic_f1" in alone) == (activation == "sigmoid")
    assert all(isinstance(value, float) for name, value in alone.items() if name != "per_class")
    assert activation == "sigmoid" or alone["accuracy"] == 0.5
    assert head.score([], [], RATE).keys() == alone.keys()
    assert head.score([Annotation()], probabilities(values[0]), RATE)["lrap"] == 0


@pytest.mark.parametrize("activation", ["sigmoid", "softmax"])
def test_unlabelled_tags_count_in_no_score(activation):
    head = make_head(activation=activation)
    references = [partially(["cel"], ["flu"]), partially(["flu"], ["cla"]), tagged("cla", "flu"), tagged(), tagged("flu")]
    values = np.array([[0.6, 0.1, 0.3], [0.2, 0.1, 0.7], [0.3, 0.6, 0.1], [0.7, 0.2, 0.1], [0.1, 0.2, 0.7]], np.float32)
    scores = head.score(references, probabilities(*values), RATE)
    worse = values.copy()
    worse[0, 2] = 0.59  # no class changes: with softmax, the clip's own stays the most probable
    worse[1, 1] = 0.69
    assert head.score(references, probabilities(*worse), RATE) == scores
    if activation == "softmax":
        assert scores["accuracy"] == 1 / 3  # of the last three, whose classes are all labelled
        return
    head.thresholds = {"tags": 0.55}
    assert head.score(references, probabilities(*worse), RATE) == head.score(references, probabilities(*values), RATE)
    known = np.array([[1, 1, 0], [1, 0, 1], [1, 1, 1], [1, 1, 1], [1, 1, 1]], bool)
    truth = np.array([[1, 0, 0], [0, 0, 1], [0, 1, 1], [0, 0, 0], [0, 0, 1]], bool)
    by_class = [metrics.f1_score(truth[k, i], values[k, i] > 0.5, average="macro") for i, k in enumerate(known.T)]
    assert scores["openmic_f1"] == pytest.approx(np.mean(by_class))


def test_a_tag_that_is_no_class_is_told():
    with pytest.raises(UserError, match="tag 'piano' is not a class"):
        make_head().score([tagged("piano")], probabilities([0, 0, 0]), RATE)
    assert tag_cells([tagged("cla").tags, Annotation().tags], LABELS).tolist() == [[False, True, False], [False] * 3]


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
