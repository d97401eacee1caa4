"""MERT: its states are HuBERT's, and its checkpoints are read whatever they name their tensors."""

import json
import math

import pytest
import torch
from safetensors.torch import save_file
from small_backbones import build, mock_mert, tone
from torch import nn
from transformers import HubertModel, Wav2Vec2FeatureExtractor

from etude.adapters.backbones import mert
from etude.adapters.backbones._parts.constant_q import ConstantQ
from etude.adapters.errors import UserError
from etude.adapters.pretraining.engine import Pretrainer
from etude.adapters.recipe.pretraining import load_pretrain_recipe


def test_mert_geometry():
    with torch.device("meta"):
        model = HubertModel(mert.hubert_config(mert.SIZES["95M"]))
        large = HubertModel(mert.hubert_config(mert.SIZES["330M"]))
    assert sum(parameter.numel() for parameter in model.parameters()) == 94_371_712
    assert len(model.state_dict()) == 211
    assert (len(large.encoder.layers), large.config.hidden_size, large.config.do_stable_layer_norm) == (24, 1024, True)
    backbone = build("mert")
    assert (backbone.sample_rate, backbone.frame_rate, backbone.frames_per_window) == (24_000, 75.0, 375)
    assert backbone.prepare(torch.ones(1, 120_000), torch.tensor([120_000])).shape == (1, 120_080)


def test_mert_prepare_keeps_padding_at_zero():
    backbone = build("mert", window=1.0)
    prepared = backbone.prepare(tone(24_000, 24_000)[None], torch.tensor([9_000]))
    assert (prepared[:, 9_000:] == 0).all()
    assert abs(prepared[0, :9_000].mean()) < 1e-4
    assert abs(prepared[0, :9_000].std() - 1) < 1e-3
    plain = build("mert", window=1.0, normalize=False)
    audio = tone(24_000, 24_000)[None]
    assert torch.equal(plain.prepare(audio, torch.tensor([24_000]))[:, :24_000], audio)


def test_random_nano_has_the_shape_of_the_packaged_recipe(tmp_path, monkeypatch):
    monkeypatch.setenv("ETUDE_SHARED", str(tmp_path))
    with torch.device("meta"):
        trained = Pretrainer(load_pretrain_recipe("nano"), instruments=2)
    backbone = build("mert", "random:nano", window=1.0)
    shapes = {name: value.shape for name, value in backbone.model.state_dict().items() if name != "masked_spec_embed"}
    assert shapes == {name: value.shape for name, value in trained.backbone.state_dict().items()}
    for key in mert.CONFIG_KEYS:
        values = (getattr(model.config, key) for model in (backbone.model, trained.backbone))
        assert len({json.dumps(value) for value in values}) == 1, key
    assert (backbone.sample_rate, backbone.frame_rate, backbone.padding) == (24_000, 75.0, trained.padding)


@pytest.mark.parametrize("stable", [False, True])
@torch.no_grad()
def test_mert_states_are_huberts(tmp_path, stable):
    peer = HubertModel(mert.hubert_config({**mert.SIZES["tiny"], "do_stable_layer_norm": stable})).eval()
    for norm in (peer.encoder.layer_norm, peer.encoder.layers[-1].layer_norm):
        nn.init.uniform_(norm.weight)  # not the identity, so that leaving a norm out is seen
    mock_mert(tmp_path, peer, old=False)
    backbone = build("mert", tmp_path, window=1.0)
    prepared = backbone.prepare(tone(24_000, 24_000)[None], torch.tensor([24_000]))
    expected = peer(prepared, output_hidden_states=True)
    states = backbone(prepared)
    for ours, theirs in zip(states[:-1], expected.hidden_states[:-1], strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=0)
    torch.testing.assert_close(states[-1], expected.last_hidden_state, atol=1e-5, rtol=0)


@torch.no_grad()
def test_deepnorm_weighs_the_residuals_more(tmp_path):
    peer = HubertModel(mert.hubert_config(mert.SIZES["tiny"])).eval()
    path = mock_mert(tmp_path, peer, old=False) / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"deepnorm": True}))
    backbone = build("mert", tmp_path, window=1.0)
    states = backbone(backbone.prepare(tone(24_000, 24_000)[None], torch.tensor([24_000])))
    for layer, given, found in zip(peer.encoder.layers, states[:-1], states[1:], strict=True):
        between = layer.layer_norm(given * 6**0.25 + layer.attention(given)[0])  # of 3 blocks
        torch.testing.assert_close(found, layer.final_layer_norm(between * 6**0.25 + layer.feed_forward(between)))
    assert backbone.model.config.to_dict()["deepnorm"], "a merged checkpoint says so, too"


def test_a_constant_q_transform_finds_a_sine_where_it_is():
    transform, time = ConstantQ(96, 16_000), torch.arange(48_000) / 16_000
    found = transform(0.5 * torch.sin(2 * torch.pi * 65.4 * time)[None])  # an octave above the lowest bin
    assert found.shape == (1, 96, 151)
    middle = found[0, :, 75]
    assert middle.argmax() == 48
    assert middle[48] == pytest.approx(0.25 * math.ceil(16_000 / 65.4 / (2 ** (1 / 48) - 1)) ** 0.5, rel=1e-3)
    silence = torch.zeros(1, 16_000, requires_grad=True)
    transform(silence).sum().backward()
    assert silence.grad.isfinite().all()


@pytest.mark.parametrize("old", [True, False])
@pytest.mark.parametrize("prefix", ["", "hubert."])
@torch.no_grad()
def test_mert_checkpoint_with_old_and_new_names(tmp_path, old, prefix):
    source = build("mert", window=1.0)
    backbone = build("mert", mock_mert(tmp_path, source.model, old, prefix), window=1.0)
    prepared = source.prepare(tone(24_000, 24_000)[None], torch.tensor([24_000]))
    for ours, theirs in zip(backbone(prepared), source(prepared), strict=True):
        assert torch.equal(ours, theirs)
    assert backbone.fingerprint() == source.fingerprint()
    assert backbone.licence == "unknown: see the source of the weights"
    assert backbone.revision is None


@torch.no_grad()
def test_mert_checkpoint_in_half_precision_without_mask_embedding(tmp_path):
    source = build("mert", window=1.0)
    mock_mert(tmp_path, source.model, old=True)
    tensors = torch.load(tmp_path / "pytorch_model.bin")
    del tensors["masked_spec_embed"]
    torch.save({name: value.half() for name, value in tensors.items()}, tmp_path / "pytorch_model.bin")
    backbone = build("mert", tmp_path, window=1.0)
    assert {parameter.dtype for parameter in backbone.parameters()} == {torch.float32}
    prepared = source.prepare(tone(24_000, 24_000)[None], torch.tensor([24_000]))
    torch.testing.assert_close(backbone(prepared)[-1], source(prepared)[-1], atol=0.05, rtol=0)


def test_mert_tensors_that_do_not_fit(tmp_path):
    mock_mert(tmp_path, build("mert").model, old=False)
    tensors = {name: value.clone() for name, value in build("mert").model.state_dict().items()}
    del tensors["encoder.layers.0.attention.q_proj.weight"]
    tensors["encoder.layer_norm.bias"] = torch.zeros(5)
    tensors["encoder.unheard_of"] = torch.zeros(1)
    save_file(tensors, tmp_path / "model.safetensors")
    with pytest.raises(UserError) as caught:
        build("mert", tmp_path)
    assert len(caught.value.problems) == 1
    message = str(caught.value)
    assert "\n" not in message
    assert "1 tensors missing (encoder.layers.0.attention.q_proj.weight)" in message
    assert "1 tensors unexpected (encoder.unheard_of)" in message
    assert "encoder.layer_norm.bias [5] instead of [48]" in message


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"deepnorm": True, "do_stable_layer_norm": True}, "'deepnorm' and 'do_stable_layer_norm' exclude each other"),
        ({"feature_extractor_cqt": True}, "'feature_extractor_cqt' has 50 frames per second, the convolutions have 75"),
        ({"feature_extractor_cqt": True, "feature_extractor_cqt_bins": "many"}, "does not describe a HuBERT"),
        ({"feature_extractor_cqt": True, "sample_rate": 16_000}, r"feature_projection.projection.weight \[48, 32\] instead of"),
        ({"hidden_size": "large"}, "does not describe a HuBERT"),
        ({"num_attention_heads": 5}, "does not describe a HuBERT"),
        ({"num_hidden_layers": 2}, "unexpected"),
        (None, "has no config.json"),
    ],
)
def test_mert_config_that_does_not_fit(tmp_path, change, message):
    mock_mert(tmp_path, build("mert").model, old=False)
    path = tmp_path / "config.json"
    if change is None:
        path.unlink()
    else:
        path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(UserError, match=message) as caught:
        build("mert", tmp_path)
    assert "\n" not in str(caught.value)


def with_preprocessor(folder, **fields):
    """Weights in ``folder`` with the file that transformers' own extractor writes."""
    if not (folder / "config.json").exists():
        mock_mert(folder, build("mert", window=1.0).model, old=False)
    Wav2Vec2FeatureExtractor(**{"sampling_rate": 24_000, "do_normalize": True, **fields}).save_pretrained(folder)
    return folder


def test_normalisation_of_the_weights_is_read_and_a_choice_of_the_recipe_wins(tmp_path):
    bare = build("mert", mock_mert(tmp_path, build("mert", window=1.0).model, old=False), window=1.0)
    same = build("mert", with_preprocessor(tmp_path), window=1.0)
    assert (same.normalize, same.fingerprint(), same.preparation()) == (True, bare.fingerprint(), bare.preparation())
    with_preprocessor(tmp_path, do_normalize=False)
    with pytest.raises(UserError) as caught:
        build("mert", tmp_path, window=1.0)
    assert str(caught.value) == (
        f"{tmp_path}, preprocessor_config.json: says do_normalize false, the default here is true "
        "(choose: backbone.normalize=false, as the weights were trained, or the default)"
    )
    for chosen in (False, True):  # such as the recipe of an adapter says, always
        found = build("mert", tmp_path, window=1.0, normalize=chosen)
        assert (found.normalize, found.fingerprint()) == (chosen, bare.fingerprint())


def test_rate_of_the_weights(tmp_path):
    fields = json.loads((with_preprocessor(tmp_path, sampling_rate=16_000) / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**fields, "sample_rate": 24_000}))
    with pytest.raises(
        UserError, match=r"preprocessor_config\.json: says 16000 Hz, config\.json 24000 Hz \(download both again\)"
    ):
        build("mert", tmp_path, window=1.0)
    (tmp_path / "config.json").write_text(json.dumps({key: value for key, value in fields.items() if key != "sample_rate"}))
    assert build("mert", tmp_path, window=1.0).sample_rate == 16_000
    (tmp_path / "preprocessor_config.json").unlink()
    assert build("mert", tmp_path, window=1.0).sample_rate == 24_000
    (tmp_path / "preprocessor_config.json").write_text("{")
    with pytest.raises(UserError, match="is not valid JSON"):
        build("mert", tmp_path, window=1.0)
