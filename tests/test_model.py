"""Backbone, method, mix and heads together: the cut at the first trainable block changes nothing, and an artifact holds all."""

import copy
import re

import numpy as np
import pytest
import torch
from made_models import LABELS, METHODS, STATISTICS, audio, make_backbone, make_method, make_model, perturb
from registered import WITH_BLOCKS
from safetensors.torch import load_file

from etude.adapters import artifact, registry
from etude.adapters.artifact import BackboneRef, Manifest
from etude.adapters.errors import UserError
from etude.adapters.heads import Context
from etude.adapters.heads.technique import Technique, TechniqueConfig
from etude.adapters.model.adapted import AdaptedModel
from etude.adapters.model.mix import LayerMix


@pytest.fixture(scope="module", params=WITH_BLOCKS)
def untouched(request):
    return make_backbone(request.param)


@pytest.fixture
def backbone(untouched):
    """A copy of its own: methods change it in place."""
    return copy.deepcopy(untouched)


# The layer mix.


def test_the_mix_is_uniform_at_the_start_and_a_softmax_later():
    states = {layer: torch.randn(2, 5, 4, generator=torch.Generator().manual_seed(layer)) for layer in range(4)}
    mix = LayerMix((0, 2, 3))
    torch.testing.assert_close(mix(states), (states[0] + states[2] + states[3]) / 3)
    with torch.no_grad():
        mix.weights.copy_(torch.tensor([0.0, np.log(2.0), np.log(5.0)]))
    torch.testing.assert_close(mix(states), (1 * states[0] + 2 * states[2] + 5 * states[3]) / 8)


def test_layers_that_do_not_exist(backbone):
    count = backbone.num_blocks
    for wrong in (count + 1, -1):
        with pytest.raises(UserError, match=rf"^mix\.layers: random:tiny has no layer {wrong} \(layers are 0 to {count}\)$"):
            make_model(backbone, layers=(0, wrong))


def test_repeated_layers_in_any_order_are_mixed_once(backbone):
    assert make_model(backbone, layers=(2, 0, 2)).mix.layers == (0, 2)


# The cut at the first trainable block.


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("mixed", ["all", "last", "ends"])
def test_both_halves_together_are_the_whole(backbone, method, mixed):
    count = backbone.num_blocks
    layers = {"all": tuple(range(count + 1)), "last": (count,), "ends": (0, count)}[mixed]
    model = make_model(backbone, method, None if mixed == "all" else layers)
    perturb(model)
    stored = model.frozen_states(*audio(backbone))
    assert [state.shape for state in stored] == [(2, *model.stored_shapes()[layer]) for layer in model.stored_layers]
    with torch.no_grad():
        whole = backbone(backbone.prepare(*audio(backbone)))
        frames = [backbone.readout(state) for state in whole]
        shares = torch.softmax(model.mix.weights, 0)
        mixed = sum(share * frames[layer] for share, layer in zip(shares, layers, strict=True))
        expected = model.heads["technique"](Context(mixed))
        found = model(stored).logits["technique"]
    assert set(found) == set(expected) == {"technique", "pitch", "onset"}
    for name, values in found.items():
        torch.testing.assert_close(values, expected[name], atol=1e-5, rtol=1e-5)
    for index, layer in enumerate(model.stored_layers):
        states = frames if model.stores_frames else whole
        torch.testing.assert_close(stored[index], states[layer], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(
    ("method", "mixed", "stored"),
    [
        ("heads_only", None, "0..N"),
        ("heads_only", ("N",), "N"),
        ("heads_only", (0, 1), "0 1"),
        ("heads_only", (0,), "0"),
        ("lora", None, "0"),
        ("lora", ("N",), "0"),
        ("lora-last", None, "0..N-1"),
        ("lora-last", ("N",), "N-1"),
        ("lora-last", (0, "N"), "0 N-1"),
    ],
)
def test_no_more_is_stored_than_needed(backbone, method, mixed, stored):
    count = backbone.num_blocks
    layers = mixed and tuple(count if layer == "N" else layer for layer in mixed)
    expected = {
        **{"0..N": range(count + 1), "0..N-1": range(count)},
        **{"N": (count,), "N-1": (count - 1,), "0": (0,), "0 1": (0, 1), "0 N-1": (0, count - 1)},
    }[stored]
    assert make_model(backbone, method, layers).stored_layers == tuple(expected)


@pytest.mark.parametrize(
    ("method", "mixed", "once", "every_step"),
    [
        ("heads_only", (0,), [], []),
        ("heads_only", (0, 1), [0], []),
        ("lora", (0, "N"), [], "all"),
        ("lora-first", (0, 1), [], [0]),
        ("lora-last", (0, "N"), "all but last", "last"),
    ],
)
def test_blocks_run_once_below_the_cut_and_never_above_the_mix(backbone, monkeypatch, method, mixed, once, every_step):
    indices = list(range(backbone.num_blocks))
    named = {"all": indices, "all but last": indices[:-1], "last": indices[-1:]}
    model = make_model(backbone, method, tuple(backbone.num_blocks if layer == "N" else layer for layer in mixed))
    ran, block = [], backbone.block
    monkeypatch.setattr(backbone, "block", lambda index, state: ran.append(index) or block(index, state))
    stored = model.frozen_states(*audio(backbone))
    assert ran == (named[once] if isinstance(once, str) else once)
    ran.clear()
    model(stored)
    assert ran == (named[every_step] if isinstance(every_step, str) else every_step)


@pytest.mark.parametrize(("method", "first_idle"), [("lora", "blocks.01.attn.q.lora_A"), ("lora-last", None)])
def test_adapted_blocks_that_the_mix_never_reads_are_refused(backbone, method, first_idle):
    first_idle = first_idle or f"blocks.{backbone.num_blocks - 1:02d}.attn.out.lora_A"
    with pytest.raises(UserError, match=rf"^mix\.layers: '{first_idle}' changes nothing.*\(add layer {backbone.num_blocks}"):
        make_model(backbone, method, (0, 1))


# What an artifact holds.


@pytest.mark.parametrize("method", METHODS)
def test_trained_tensors_carry_over_to_a_fresh_model(untouched, method):
    trained, fresh = (make_model(copy.deepcopy(untouched), method) for _ in range(2))
    perturb(trained)
    state = trained.trainable_state()
    stored = trained.frozen_states(*audio(untouched))
    expected = trained(stored).logits["technique"]
    assert not torch.equal(fresh(stored).logits["technique"]["technique"], expected["technique"])
    fresh.load_trainable(state)
    for name, values in fresh(stored).logits["technique"].items():
        assert torch.equal(values, expected[name])
    counts = trained.trainable_counts()
    assert sum(counts.values()) == sum(tensor.numel() for tensor in state.values())
    assert counts["mix"] == untouched.num_blocks + 1
    assert (counts["backbone"] == 0) == (method == "heads_only")
    assert {name.split(".")[0] for name in state} <= {"blocks", "mix", "heads"}
    with torch.no_grad():
        next(iter(state.values())).fill_(7.0)
    assert not any((parameter == 7.0).all() for _, parameter in trained.named_trainable())  # copies, not views


def test_tensors_that_do_not_fit_are_refused_before_any_is_copied(backbone):
    model = make_model(backbone, "lora")
    before = model.trainable_state()
    filled = {name: torch.full_like(tensor, 3.0) for name, tensor in before.items()}
    mix = "mix.weights"
    bias, other = "heads.technique.onset.0.bias", "blocks.99.attn.q.lora_A"
    wrong = {
        f"'{mix}': [99] in the adapter, [{len(before[mix])}] here": {**filled, mix: torch.ones(99)},
        f"'{bias}': missing in the adapter, {list(before[bias].shape)} here": {n: t for n, t in filled.items() if n != bias},
        f"'{other}': [1] in the adapter, missing here": {**filled, other: torch.ones(1)},
    }
    for message, tensors in wrong.items():
        with pytest.raises(UserError, match=f"do not fit this model, first at {re.escape(message)} .use its own recipe"):
            model.load_trainable(tensors)
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.trainable_state().items())


def test_a_head_may_be_named_freely_and_several_share_the_states(backbone):
    heads = {name: Technique(TechniqueConfig(hidden=4, onset=False), LABELS, backbone.hidden_size, STATISTICS) for name in "ab"}
    model = AdaptedModel(backbone, make_method("heads_only"), heads, None).eval()
    outputs = model(model.frozen_states(*audio(backbone))).logits
    assert set(outputs) == {"a", "b"}
    assert not torch.equal(outputs["a"]["technique"], outputs["b"]["technique"])
    assert {name.split(".")[1] for name, _ in model.named_trainable()} == {"a", "b", "weights"}


@pytest.mark.parametrize(("dtype", "limit"), [("float16", 4e6), ("float32", 6e6)])
def test_the_published_geometry_fits_into_a_few_megabytes(dtype, limit, tmp_path):
    """MERT-95M, LoRA of rank 8 on q and v, MERTech's heads: 989,308 + 13 + 12 * 2 * 2 * 8 * 768 trained parameters."""
    kind = registry.find("backbones", "mert")
    with torch.device("meta"):
        backbone = kind(kind.Config(name="mert", weights="random:95M"))
        head = Technique(TechniqueConfig(), "abcdefg", 768, {"pitch_range": [36, 87], "class_weights": [1.0] * 7})
        model = AdaptedModel(backbone, make_method("lora"), {"technique": head}, None)
    counts = model.trainable_counts()
    assert counts == {"backbone": 294_912, "mix": 13, "heads": 989_308}
    manifest = Manifest(
        **{"name": "size", "created": "2026-01-01", "etude_version": "0", "versions": {}, "seed": 0, "method": "lora"},
        **{"labels": {"technique": tuple("abcdefg")}, "thresholds": {}, "statistics": {"technique": head.statistics}},
        **{"dataset": "d", "data_licence": "CC0-1.0", "trainable": counts, "scores": {}, "metric": "m"},
        backbone=BackboneRef(
            **{"name": "mert", "id": "random:95M", "fingerprint": "0" * 64, "licence": "CC0-1.0"},
            **{"sample_rate": 24000, "frame_rate": 75.0, "hidden_size": 768, "num_blocks": 12},
        ),
    )
    tensors = {name: torch.zeros(parameter.shape) for name, parameter in model.named_trainable()}
    artifact.save(tmp_path / "a", manifest=manifest, tensors=tensors, recipe="", metrics={}, card="", dtype=dtype)
    assert sum(file.stat().st_size for file in (tmp_path / "a").iterdir()) < limit
    stored = load_file(tmp_path / "a" / "adapter.safetensors")
    assert {name: tensor.shape for name, tensor in stored.items()} == {name: tensor.shape for name, tensor in tensors.items()}


def test_the_mix_has_the_gradients_of_a_plain_weighted_sum(backbone):
    torch.manual_seed(0)
    states = {layer: torch.randn(2, 3, 4, dtype=torch.double, requires_grad=layer != 1) for layer in (0, 1, 2)}
    mix = LayerMix((0, 1, 2)).double()
    with torch.no_grad():
        mix.weights.copy_(torch.randn(3))
    direction = torch.randn(2, 3, 4, dtype=torch.double)
    leaves = [mix.weights, states[0], states[2]]
    found = torch.autograd.grad((mix(states) * direction).sum(), leaves)
    plain = torch.stack([states[0], states[1], states[2]], -1) @ torch.softmax(mix.weights, 0)
    assert torch.allclose(mix(states), plain)
    for ours, theirs in zip(found, torch.autograd.grad((plain * direction).sum(), leaves), strict=True):
        assert torch.allclose(ours, theirs)
