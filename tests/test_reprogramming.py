"""Input reprogramming: published sizes, the identity at step 0, a gradient for everything, and what is stored."""

import pytest
import torch
from torch import nn

from etude.adapters import artifact, registry
from etude.adapters.backbones import INPUT
from etude.adapters.errors import UserError
from etude.adapters.methods.reprogramming import Additive, Cnn, Film, Generator, UNet
from etude.adapters.model.adapted import AdaptedModel
from etude.adapters.training import engine
from etude.adapters.training.interrupt import Interruption

FORMS = ("additive", "cnn", "unet", "generator", "film")
HEAD = nn.Sequential(nn.LayerNorm(768), nn.Linear(768, 20))


def count(module):
    return sum(parameter.numel() for parameter in module.parameters())


def make_backbone(name, **fields):
    kind = registry.find("backbones", name)
    return kind(kind.Config(name=name, weights="random:tiny", **{"window": 2.0, **fields}))


def make_model(name, form, **fields):
    """A model with a linear head on all states, and a batch of its frozen states."""
    backbone, kind = make_backbone(name), registry.find("methods", "reprogramming")
    head = registry.find("heads", "tags")
    torch.manual_seed(0)
    heads = {"tags": head(head.Config(hidden=0), ("a", "b"), backbone.hidden_size, {})}
    model = AdaptedModel(backbone, kind(kind.Config(form=form, **fields)), heads, None)
    audio = torch.randn(2, backbone.window_samples, generator=torch.Generator().manual_seed(1))
    lengths = torch.tensor([backbone.window_samples, backbone.window_samples // 2])
    return model, model.frozen_states(audio, lengths), (audio, lengths)


@pytest.mark.parametrize(
    ("module", "published"),
    [
        (nn.ModuleList([UNet(), HEAD]), 18_201),
        (nn.ModuleList([Cnn(), HEAD]), 16_936),
        (nn.ModuleList([Additive((128, 1024)), HEAD]), 148_000),
        (Additive((160_000,)), 160_000),
        (Generator(128, 135), 234_600),
        (Film(8, 768, 54), 235_700),
    ],
)
def test_sizes_are_the_published_ones(module, published):
    assert abs(count(module) / published - 1) < 0.002


def test_the_u_net_is_as_small_as_published():
    assert abs(count(UNet()) - 1_285) < 20


@pytest.mark.parametrize(("name", "form"), [*(("whisper", form) for form in FORMS), ("mert", "additive"), ("mert", "film")])
def test_step_0_is_the_plain_backbone_or_near(name, form):
    model, stored, given = make_model(name, form)
    model.eval()
    found = model.context(stored).mixed
    expected = model.mix(dict(enumerate(model.backbone(model.backbone.prepare(*given)))))
    if form == "generator":
        assert found.shape == expected.shape  # it replaces the spectrogram: no start makes it the identity
    else:
        assert (found - expected).abs().max() <= (0.05 if form != "additive" else 1e-5) * expected.abs().max()


@pytest.mark.parametrize(("name", "form"), [*(("whisper", form) for form in FORMS), ("mert", "additive"), ("mert", "film")])
def test_everything_in_it_has_a_gradient_at_step_0_and_nothing_else(name, form):
    model, stored, _ = make_model(name, form)
    model.train()
    (model(stored).logits["tags"]["tags"] ** 2).sum().backward()
    trained = dict(model.reader.wrapper.named_parameters())
    assert trained
    assert all(parameter.grad is not None and parameter.grad.abs().max() > 0 for parameter in trained.values())
    assert not any(parameter.grad is not None for parameter in model.backbone.parameters())
    assert {parameter for _, parameter in model.named_trainable()} > set(trained.values())


@pytest.mark.parametrize("form", FORMS)
def test_what_is_frozen_is_stored_and_nothing_more(form):
    model, stored, (audio, lengths) = make_model("whisper", form)
    backbone = model.backbone
    if form == "film":
        assert model.stored_layers == (0, 1, 2)
        assert [state.shape for state in stored] == [(2, backbone.tokens_per_window, backbone.hidden_size)] * 3
    else:
        assert model.stored_layers == (INPUT,)
        assert torch.equal(stored[0], backbone.prepare(audio, lengths))
    assert [state.shape[1:] for state in stored] == list(model.stored_shapes.values())


def test_film_reads_the_tokens_after_two_thirds_of_the_blocks_unless_told_otherwise():
    assert make_model("mert", "film")[0].reader.wrapper.reads == (2,)  # of 3 blocks
    assert make_model("mert", "film", block=1)[0].reader.wrapper.reads == (1,)
    model, stored, _ = make_model("mert", "film", block=1)
    with torch.no_grad():
        model.reader.wrapper.output_film.weight.normal_()
    before = model.eval().context(stored).mixed
    stored[1] += 1
    mixed = model.context(stored).mixed
    scale, _ = model.reader.wrapper.output_film(model.reader.wrapper.output_layers(stored[1].mT).mean(-1)).chunk(2, -1)
    assert not torch.allclose(mixed, before)
    assert scale.shape == (2, model.backbone.hidden_size)


def test_what_batch_norm_measures_is_kept_with_what_is_trained():
    model, stored, _ = make_model("whisper", "unet")
    model.train()
    model(stored)
    state = model.trainable_state()
    measured = [name for name in state if name.endswith("running_var")]
    assert len(measured) == 5
    assert not any("num_batches" in name for name in state)
    fresh, _, _ = make_model("whisper", "unet")
    fresh.load_trainable(state)
    torch.testing.assert_close(fresh.eval().context(stored).mixed, model.eval().context(stored).mixed)


@pytest.mark.parametrize("shape", [(80, 400), (80, 401), (79, 33)])
def test_the_u_net_takes_any_size(shape):
    assert UNet().input(torch.randn(1, *shape)).shape == (1, *shape)


@pytest.mark.parametrize("form", ["cnn", "unet", "generator"])
def test_forms_for_spectrograms_refuse_a_waveform(form):
    with pytest.raises(UserError, match=rf"method.form: '{form}' changes a spectrogram.*use additive"):
        make_model("mert", form)


@pytest.mark.parametrize(("name", "form", "field"), [("mert", "additive", "mask_bands"), ("whisper", "film", "mask_frames")])
def test_masks_without_a_spectrogram_to_mask_are_refused(name, form, field):
    with pytest.raises(UserError, match=rf"method\.{field}.*'{form}'"):
        make_model(name, form, **{field: 4})


def test_masks_hide_one_run_of_bands_and_one_of_frames_in_training_alone():
    model, stored, _ = make_model("whisper", "additive", mask_bands=10, mask_frames=30)
    front, ones = model.reader.wrapper, torch.ones(1000, *stored[0].shape[1:])
    front.eval()
    assert torch.equal(front.input(ones), ones)
    front.train()
    hidden = front.input(ones) == 0
    for size, longest, along in ((hidden.shape[1], 10, hidden.all(dim=2)), (hidden.shape[2], 30, hidden.all(dim=1))):
        lengths = along.sum(dim=1)
        edges = along.int().diff(dim=1, prepend=torch.zeros(1000, 1), append=torch.zeros(1000, 1))
        assert ((edges > 0).sum(dim=1) <= 1).all(), "one run"
        assert set(lengths.tolist()) == set(range(longest + 1)), "every length up to the longest"
        assert along.any(dim=0).sum() == size, "every place, the ends included"
    assert torch.equal(hidden, hidden.all(dim=2, keepdim=True) | hidden.all(dim=1, keepdim=True))


def test_film_refuses_a_state_that_is_not_there():
    with pytest.raises(UserError, match=r"method\.block: random:tiny has no state 4.*states are 0 to 3"):
        make_model("mert", "film", block=4)


@pytest.mark.parametrize("form", ["unet", "film"])
def test_an_interrupted_run_continues_with_the_same_losses_and_tensors(toy_recipe, tmp_path, monkeypatch, form):
    recipe, calls = toy_recipe(f"method={{name: reprogramming, form: {form}, width: 4}}", "train.epochs=2"), []
    engine.train(recipe, tmp_path / "whole", tmp_path / "whole-adapter")
    with monkeypatch.context() as patched:
        patched.setattr(Interruption, "requested", lambda self: calls.append(1) or len(calls) == 2)
        with pytest.raises(KeyboardInterrupt):
            engine.train(recipe, tmp_path / "run", tmp_path / "adapter")
    engine.train(recipe, tmp_path / "run", tmp_path / "adapter")
    one, other = (artifact.load(tmp_path / name).tensors for name in ("adapter", "whole-adapter"))
    assert any("running_mean" in name for name in one)
    assert one.keys() == other.keys()
    for name, tensor in one.items():
        torch.testing.assert_close(tensor, other[name], atol=1e-3, rtol=1e-3)
