"""Input reprogramming: published sizes, the identity at step 0, a gradient for everything, and what is stored."""

import numpy as np
import pytest
import torch
import yaml
from torch import nn
from torch.nn import functional as F

from etude.adapters import artifact, registry
from etude.adapters.backbones import INPUT
from etude.adapters.errors import UserError
from etude.adapters.methods._parts.image_front import Cnn, PublishedCnn, PublishedUNet, UNet
from etude.adapters.methods.reprogramming import Additive, Film, Generator
from etude.adapters.model.adapted import AdaptedModel
from etude.adapters.training import engine
from etude.adapters.training.interrupt import Interruption
from etude.recipes import packaged

REPLACING = ("generator", "published_cnn", "published_unet")
FORMS = ("additive", "cnn", "unet", "film", *REPLACING)
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
        (nn.ModuleList([UNet(), HEAD]), 18_192),
        (nn.ModuleList([Cnn(), HEAD]), 16_936),
        (nn.ModuleList([Additive((128, 1024)), HEAD]), 148_000),
        (Additive((160_000,)), 160_000),
        (Generator(128, 135), 234_600),
        (Film(8, 768, 54), 235_700),
    ],
)
def test_sizes_are_the_published_ones(module, published):
    assert abs(count(module) / published - 1) < 0.002


@pytest.mark.parametrize(("front", "parameters"), [(PublishedUNet(), 1_285), (PublishedCnn(), 20), (UNet(), 1_276)])
def test_u_net_and_cnn_are_exactly_as_small_as_they_say(front, parameters):
    assert count(front) == parameters
    assert count(nn.ModuleList([PublishedUNet(), HEAD])) == 18_201


@pytest.mark.parametrize(
    ("name", "method", "front"),
    [
        ("openmic-unet", {"form": "published_unet"}, PublishedUNet()),
        ("openmic-cnn", {"form": "published_cnn"}, PublishedCnn()),
        ("gtzan-nmr-film", {"form": "film", "block": 9, "tokens": "patches"}, Film(9, 768, 54, 2)),
        ("gtzan-nmr-generator", {"form": "generator"}, Generator(128, 135)),
        ("gtzan-nmr-additive", {"form": "additive"}, Additive((160_000,))),
    ],
)
def test_recipes_that_follow_a_publication_take_its_form_and_say_its_size(name, method, front):
    text = packaged()[name].read_text(encoding="utf-8")
    given = yaml.safe_load(text)["method"]
    assert {key: value for key, value in given.items() if key not in ("name", "mask_bands", "mask_frames")} == method
    assert f"Trained: {count(front):,} parameters" in text


def test_the_published_cnn_is_two_convolutions_and_nothing_else():
    front, image = PublishedCnn(), torch.randn(2, 20, 30)
    kernels = [(layer.weight.detach(), layer.bias.detach()) for layer in front.input_layers]
    expected = image[:, None]
    for weight, bias in kernels:
        patches = F.unfold(expected, 3, padding=1)  # [batch, 9, places]
        expected = (weight.reshape(1, 9) @ patches + bias).reshape(2, 1, 20, 30)
    torch.testing.assert_close(front.input(image), expected[:, 0])


def test_the_published_u_net_by_hand():
    """Convolutions that hand their first channel on leave what poolings, enlargements, skips and the ReLU at the end do."""
    front = PublishedUNet().eval()
    for layer in front.modules():
        if isinstance(layer, nn.Conv2d):
            nn.init.zeros_(layer.weight)
            layer.weight.data[0, 0, 1, 1] = 1.0
    ramp = torch.arange(16.0).expand(8, 16)
    image = torch.stack([ramp, -ramp])

    def pooled(line):
        return line.reshape(-1, 2).amax(1)

    def enlarged(line):  # the corners stay: size 2 -> 4 by thirds
        return torch.from_numpy(np.interp(np.linspace(0, len(line) - 1, 2 * len(line)), np.arange(len(line)), line)).float()

    half = pooled(ramp[0])
    quarter = pooled(half)
    up = enlarged(pooled(quarter)) + quarter
    up = enlarged(up) + half
    line = enlarged(up) + ramp[0]
    torch.testing.assert_close(front.input(image), torch.stack([line.expand(8, 16), torch.zeros(8, 16)]), rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize(("name", "form"), [*(("whisper", form) for form in FORMS), ("mert", "additive"), ("mert", "film")])
def test_step_0_is_the_plain_backbone_or_near(name, form):
    model, stored, given = make_model(name, form)
    model.eval()
    found = model.context(stored).mixed
    expected = model.mix(dict(enumerate(model.backbone(model.backbone.prepare(*given)))))
    if form in REPLACING:
        assert found.shape == expected.shape  # of what replaces the spectrogram, no start makes it the identity
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
    assert [state.shape[1:] for state in stored] == list(model.stored_shapes().values())


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


@pytest.mark.parametrize(("tokens", "hears_special"), [("all", True), ("patches", False)])
def test_film_reads_the_special_tokens_only_if_it_is_told_to(tokens, hears_special):
    model, stored, _ = make_model("ast", "film", tokens=tokens, block=1)
    assert model.backbone.special_tokens == 2
    film = model.reader.wrapper
    with torch.no_grad():
        film.output_film.weight.normal_()
    film.eval()
    states, mixed = dict(zip(model.stored_layers, stored, strict=True)), torch.randn(2, 20, model.backbone.hidden_size)
    before = film.output(mixed, states)
    states[1][:, :2] += 1
    assert (not torch.allclose(film.output(mixed, states), before)) == hears_special
    states[1][:, 2] += 1
    assert not torch.allclose(film.output(mixed, states), before)


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


@pytest.mark.parametrize("front", [UNet(), PublishedUNet(), PublishedCnn()])
@pytest.mark.parametrize("shape", [(80, 400), (80, 401), (79, 33), (80, 20)])
def test_u_net_and_cnn_take_any_size(front, shape):
    assert front.input(torch.randn(1, *shape)).shape == (1, *shape)


@pytest.mark.parametrize("form", ["cnn", "unet", *REPLACING])
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
