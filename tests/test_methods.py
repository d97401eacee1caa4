"""Methods on every backbone: identity at step 0, what is trainable, canonical names, and what stays frozen."""

import pytest
import torch
from registered import WITH_BLOCKS
from torch.nn import functional

from etude.adapters import registry
from etude.adapters.errors import UserError

VARIANTS = [
    *((name, registry.find("methods", name).Config.example) for name in registry.names("methods")),
    ("lora", {"variant": "dora"}),
    ("lora", {"variant": "ia3", "sites": ("attn.k", "ffn.out")}),
    ("lora", {"blocks": "last 1", "sites": ("attn.out", "ffn.in"), "dropout": 0.5}),
]


def make_backbone(name):
    kind = registry.find("backbones", name)
    return kind(kind.Config(name=name, weights="random:tiny", window=2.0))


def make_method(name, **fields):
    kind = registry.find("methods", name)
    return kind(kind.Config(name=name, **fields))


def audio(backbone):
    generator = torch.Generator().manual_seed(1)
    return torch.randn(2, backbone.window_samples, generator=generator), torch.full((2,), backbone.window_samples)


@pytest.mark.parametrize("backbone_name", WITH_BLOCKS)
@pytest.mark.parametrize(("method_name", "fields"), VARIANTS)
def test_identity_at_step_0_and_frozen_base(backbone_name, method_name, fields):
    backbone = make_backbone(backbone_name)
    prepared = backbone.prepare(*audio(backbone))
    before, fingerprint = backbone(prepared), backbone.fingerprint()
    names = {id(p) for p in backbone.parameters()}
    method = make_method(method_name, **fields)
    method.attach(backbone)
    after = backbone(prepared)
    for old, new in zip(before, after, strict=True):
        torch.testing.assert_close(new, old, atol=2e-5, rtol=1e-5)
    assert backbone.fingerprint() == fingerprint
    trainable = {id(p) for p in backbone.parameters() if p.requires_grad}
    assert trainable == {id(p) for p in method.parameters().values()}
    assert not trainable & names
    first = method.first_block(backbone)
    for name in method.parameters():
        assert int(name.split(".")[1]) >= first
        assert ".".join(name.split(".")[:4]) in backbone.sites


@pytest.mark.parametrize("backbone_name", WITH_BLOCKS)
@pytest.mark.parametrize(("method_name", "fields"), [*VARIANTS, ("lora", {"rank": 3, "alpha": 24.0, "sites": ("attn.k",)})])
def test_site_updates_are_what_the_trained_layers_compute(backbone_name, method_name, fields):
    backbone, method = make_backbone(backbone_name), make_method(method_name, **fields)
    method.attach(backbone)
    with torch.no_grad():
        for parameter in method.parameters().values():
            parameter.add_(0.3 * torch.randn(parameter.shape))
    method.train(False)
    clean = make_backbone(backbone_name)
    others = {"mix.weights": torch.ones(3), "heads.technique.plane.0.weight": torch.ones(2, 2)}
    updates = make_method(method_name, **fields).site_updates(clean, {**method.parameters(), **others})
    assert set(updates) == {name.rpartition(".")[0] for name in method.parameters()}
    for site, update in updates.items():
        trained, linear = (part.model.get_submodule(part.sites[site]) for part in (backbone, clean))
        x = torch.randn(2, 5, linear.in_features)
        expected = trained(x)
        y = linear(x if update.gain_in is None else x * update.gain_in)
        y = y if update.gain_out is None else y * update.gain_out
        y = y if update.down is None else y + x @ update.down.T @ update.up.T
        y = y if update.shift is None else y + update.shift
        atol = 1e-5 * float(expected.detach().abs().max())
        torch.testing.assert_close(y, expected, rtol=0, atol=atol)
        torch.testing.assert_close(
            functional.linear(x, *update.merged(linear.weight, linear.bias)), expected, rtol=0, atol=atol
        )


def test_tensors_of_another_shape_or_missing_ones_give_no_site_updates():
    backbone, method = make_backbone("mert"), make_method("lora", rank=2)
    good = {f"{site}.lora_A": torch.ones(2, 48) for site in method.sites(backbone)}
    good |= {f"{site}.lora_B": torch.ones(48, 2) for site in method.sites(backbone)}
    assert len(method.site_updates(backbone, good)) == 6
    for name, tensor in (("blocks.02.attn.v.lora_B", None), ("blocks.01.attn.q.lora_A", torch.ones(3, 48))):
        bad = {key: value for key, value in {**good, name: tensor}.items() if value is not None}
        with pytest.raises(UserError, match=f"do not fit this backbone at '{name.rpartition('.')[0]}'"):
            method.site_updates(backbone, bad)


@pytest.mark.parametrize("backbone_name", WITH_BLOCKS)
@pytest.mark.parametrize("variant", ["lora", "dora", "ia3"])
def test_first_block_is_the_lowest_whose_output_changes(backbone_name, variant):
    backbone = make_backbone(backbone_name)
    prepared = backbone.prepare(*audio(backbone))
    before = backbone(prepared)
    method = make_method("lora", variant=variant, blocks="last 1")
    method.attach(backbone)
    with torch.no_grad():
        for parameter in method.parameters().values():
            parameter.add_(torch.randn(parameter.shape, generator=torch.Generator().manual_seed(0)))
    after = backbone(prepared)
    first = method.first_block(backbone)
    assert all(torch.equal(before[i], after[i]) for i in range(first + 1))
    assert not torch.allclose(before[first + 1], after[first + 1])


def test_dropout_is_active_in_training_only():
    backbone = make_backbone("mert")
    method = make_method("lora", dropout=0.5)
    method.attach(backbone)
    with torch.no_grad():
        for parameter in method.parameters().values():
            parameter.add_(0.1)
    prepared = backbone.prepare(*audio(backbone))
    method.train(True)
    assert not torch.equal(backbone(prepared)[-1], backbone(prepared)[-1])
    method.train(False)
    assert torch.equal(backbone(prepared)[-1], backbone(prepared)[-1])


def test_parameter_count_is_that_of_the_published_geometry():
    """Rank 8 on q and v of 12 layers of width 768: 12 * 2 * 2 * 8 * 768 = 294,912."""
    kind = registry.find("backbones", "mert")
    with torch.device("meta"):
        backbone = kind(kind.Config(name="mert", weights="random:95M"))
        method = make_method("lora", rank=8)
        method.attach(backbone)
    assert sum(p.numel() for p in method.parameters().values()) == 294_912


def test_sites_that_match_nothing_list_the_candidates():
    backbone = make_backbone("whisper")
    with pytest.raises(UserError, match=r"attn\.query.*attn\.k, attn\.out, attn\.q, attn\.v"):
        make_method("lora", sites=("attn.query",)).attach(backbone)
    with pytest.raises(UserError, match=r"no block 99.*blocks are 0 to"):
        make_method("lora", blocks=(99,)).attach(backbone)
