"""Every backbone whose inside methods can change."""

import pytest
import torch
from registered import WITH_BLOCKS
from small_backbones import build, tone
from torch import nn
from transformers import Wav2Vec2FeatureExtractor

from etude.adapters.backbones import standardize
from etude.adapters.backbones._parts import weights as checkpoints
from etude.adapters.errors import UserError


@pytest.fixture(scope="module", params=WITH_BLOCKS)
def backbone(request):
    return build(request.param)


def test_shapes_and_frames_per_window(backbone):
    audio = tone(backbone.window_samples, backbone.sample_rate)[None].repeat(2, 1)
    states = backbone(backbone.prepare(audio, torch.tensor([audio.shape[1], 1000])))
    assert len(states) == backbone.num_blocks + 1
    assert {tuple(state.shape) for state in states} == {(2, backbone.tokens_per_window, backbone.hidden_size)}
    assert {tuple(backbone.readout(s).shape) for s in states} == {(2, backbone.frames_per_window, backbone.hidden_size)}
    assert not any(state.requires_grad for state in states)
    assert backbone.frames_per_window / backbone.frame_rate == backbone.window_samples / backbone.sample_rate


def test_is_frozen_and_stays_in_eval(backbone):
    outer = nn.Sequential(backbone, nn.Dropout())
    outer.train()
    assert outer[1].training
    assert not any(module.training for module in backbone.modules())
    assert not any(parameter.requires_grad for parameter in backbone.parameters())


def test_input_gradient_flows_through_everything(backbone):
    audio = tone(backbone.window_samples, backbone.sample_rate)[None].requires_grad_()
    backbone(backbone.prepare(audio, torch.tensor([audio.shape[1]])))[-1].square().sum().backward()
    assert torch.isfinite(audio.grad).all()
    assert audio.grad.abs().sum() > 0


def test_sites_are_linear_layers_of_every_block(backbone):
    kinds = ("attn.q", "attn.k", "attn.v", "attn.out", "ffn.in", "ffn.out")
    assert set(backbone.sites) == {f"blocks.{i:02d}.{kind}" for i in range(backbone.num_blocks) for kind in kinds}
    assert len(set(backbone.sites.values())) == len(backbone.sites)
    prepared = backbone.prepare(tone(backbone.window_samples, backbone.sample_rate)[None], torch.tensor([10_000]))
    before = backbone(prepared)
    for site, path in backbone.sites.items():
        layer = backbone.model.get_submodule(path)
        assert isinstance(layer, nn.Linear)
        index = int(site.split(".")[1])
        if site.endswith("attn.k"):  # Softmax does not see a constant added to all keys: change the weight.
            handle = layer.register_forward_hook(lambda _module, _inputs, output: output * 3)
        else:
            handle = layer.register_forward_hook(lambda _module, _inputs, output: output + torch.arange(output.shape[-1]))
        after = backbone.block(index, before[index])
        handle.remove()
        assert not torch.allclose(after, before[index + 1]), site


def test_construction_is_repeatable_and_leaves_the_generator_alone(backbone):
    torch.manual_seed(7)
    expected = torch.rand(3)
    torch.manual_seed(7)
    again = type(backbone)(type(backbone).Config(name="x", weights="random:tiny"))
    assert torch.equal(torch.rand(3), expected)
    assert again.fingerprint() == backbone.fingerprint()


def test_fingerprint_covers_parameters_and_buffers_but_not_additions(backbone):
    original = backbone.fingerprint()
    backbone.train()
    assert backbone.fingerprint() == original
    weight = next(backbone.model.parameters())
    value = weight.data.flatten()[0].item()
    weight.data.view(-1)[0] = value + 1
    assert backbone.fingerprint() != original
    weight.data.view(-1)[0] = value
    assert backbone.fingerprint() == original
    backbone.model.register_buffer("statistics", torch.zeros(2))
    changed = backbone.fingerprint()
    assert changed != original
    backbone.model.statistics += 1
    assert backbone.fingerprint() not in (changed, original)
    del backbone.model.statistics
    backbone.model.lora_a = nn.Parameter(torch.zeros(3))
    assert backbone.fingerprint() != original
    backbone.exclude_from_fingerprint([backbone.model.lora_a])
    assert backbone.fingerprint() == original
    del backbone.model.lora_a


@pytest.mark.parametrize("length", [0, 1, None])
@pytest.mark.parametrize(
    ("name", "fields"),
    [
        *((name, {}) for name in WITH_BLOCKS),
        ("mert", {"normalize": False}),
        ("whisper", {"normalize": True}),
        ("ast", {"input": "waveform"}),
    ],
)
def test_silence_and_empty_windows_are_finite(name, fields, length):
    backbone = build(name, window=1.0, **fields)
    audio = torch.zeros(1, backbone.window_samples)
    states = backbone(backbone.prepare(audio, torch.tensor([backbone.window_samples if length is None else length])))
    assert all(torch.isfinite(state).all() for state in states)


@pytest.mark.parametrize("name", WITH_BLOCKS)
def test_window_must_be_whole_frames(name):
    rate = build(name, window=1.0).frame_rate
    with pytest.raises(UserError, match=r"backbone\.window.*not a whole number.*use 1\.") as caught:
        build(name, window=1.0 + 1.3 / rate)
    nearest = float(str(caught.value).split("use ")[1].rstrip(")"))
    assert build(name, window=nearest).frames_per_window == rate + 1


@pytest.mark.parametrize("name", WITH_BLOCKS)
def test_unknown_random_size(name):
    with pytest.raises(UserError, match=r"unknown size 'tinny' of random weights .did you mean 'tiny'"):
        build(name, "random:tinny")


def test_standardize_is_the_extractors_convention_on_real_samples_only():
    lengths = torch.tensor([24_000, 7_321, 0])
    audio = torch.stack([tone(24_000, 24_000, pitch) for pitch in (110.0, 220.0, 440.0)])
    audio = audio * (torch.arange(24_000) < lengths[:, None])
    ours = standardize(audio, lengths)
    extractor = Wav2Vec2FeatureExtractor(sampling_rate=24_000, do_normalize=True, return_attention_mask=True)
    for row in range(2):
        length = int(lengths[row])
        (theirs,) = extractor(audio[row, :length].numpy(), sampling_rate=24_000, return_tensors="pt").input_values
        torch.testing.assert_close(ours[row, :length], theirs, atol=2e-5, rtol=1e-5)
        assert (ours[row, length:] == 0).all()
    assert (ours[2] == 0).all()


def test_licence_by_name(backbone):
    assert backbone.licence == "none (random weights)"
    assert checkpoints.find_licence("m-a-p/MERT-v1-95M", None, {"m-a-p": "CC-BY-NC-4.0"}) == "CC-BY-NC-4.0"
