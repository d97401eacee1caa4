import json
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from huggingface_hub import errors
from registered import WITH_BLOCKS
from safetensors.torch import save_file
from torch import nn
from transformers import HubertModel, Wav2Vec2FeatureExtractor, WhisperFeatureExtractor
from transformers.models.whisper.modeling_whisper import WhisperEncoder

from etude.adapters import registry
from etude.adapters.backbones import mert, standardize, whisper
from etude.adapters.backbones._parts import weights as checkpoints
from etude.adapters.errors import UserError
from etude.adapters.pretraining.engine import Pretrainer
from etude.adapters.recipe.pretraining import load_pretrain_recipe

SHARED = Path(os.environ.get("ETUDE_SHARED", Path(__file__).parents[2] / "shared"))
REAL_WHISPER = SHARED / "weights" / "whisper-tiny-encoder"


def build(name, weights="random:tiny", **fields):
    family = registry.find("backbones", name)
    return family(family.Config(name=name, weights=str(weights), **fields))


def tone(samples, rate, pitch=220.0):
    time = torch.arange(samples) / rate
    return 0.3 * torch.sin(2 * torch.pi * pitch * time) * torch.exp(-time) + 0.05 + 0.01 * torch.cos(40_000 * time**2)


@pytest.fixture(scope="module", params=WITH_BLOCKS)
def backbone(request):
    return build(request.param)


# Every backbone -----------------------------------------------------------------------------------------------------------


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


# MERT ---------------------------------------------------------------------------------------------------------------------


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


def mock_mert(folder, model, old, prefix=""):
    """A checkpoint as on the Hub: foreign model type, remote code and extra fields; ``old`` names and pickle, or new ones."""
    tensors = {f"{prefix}{name}": value.clone() for name, value in model.state_dict().items()}
    if old:
        renamed = {"parametrizations.weight.original0": "weight_g", "parametrizations.weight.original1": "weight_v"}
        for new_name, old_name in renamed.items():
            tensors = {name.replace(new_name, old_name): value for name, value in tensors.items()}
        assert sum("weight_g" in name or "weight_v" in name for name in tensors) == 2
        torch.save(tensors, folder / "pytorch_model.bin")
    else:
        save_file(tensors, folder / "model.safetensors")
    config = {key: getattr(model.config, key) for key in mert.CONFIG_KEYS}
    extras = {
        "model_type": "mert_model",
        "auto_map": {"AutoConfig": "configuration_MERT.MERTConfig", "AutoModel": "modeling_MERT.MERTModel"},
        "attention_relax": -1.0,
        "deepnorm": False,
        "feature_extractor_cqt": False,
        "feature_extractor_cqt_bins": 336,
        "sample_rate": 24000,
        "hidden_dropout": 0.1,
        "layerdrop": 0.05,
        "mask_time_prob": 0.05,
    }
    (folder / "config.json").write_text(json.dumps(config | extras))
    (folder / "modeling_MERT.py").write_text("raise RuntimeError('remote code was run')")
    return folder


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
        ({"deepnorm": True}, "uses 'deepnorm'"),
        ({"feature_extractor_cqt": True}, "uses 'feature_extractor_cqt'"),
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


# Whisper ------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("normalize", [False, True])
@pytest.mark.parametrize("real", [128_000, 50_001])
def test_whisper_log_mel_is_the_extractors(normalize, real):
    backbone = build("whisper", window=8.0, normalize=normalize)
    audio = torch.zeros(1, 128_000)
    audio[0, :real] = tone(real, 16_000)
    ours = backbone.prepare(audio, torch.tensor([real]))
    compare_log_mel(ours[0], audio[0, :real], normalize)


def compare_log_mel(ours, audio, normalize):
    extractor = WhisperFeatureExtractor(chunk_length=8)
    (theirs,) = extractor(audio.numpy(), sampling_rate=16_000, do_normalize=normalize, return_tensors="pt").input_features
    torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=0)


def test_whisper_log_mel_of_a_batch_is_per_window():
    backbone = build("whisper", window=1.0)
    audio = torch.stack([tone(16_000, 16_000), 1e-3 * tone(16_000, 16_000, 330.0)])
    lengths = torch.tensor([16_000, 16_000])
    alone = torch.cat([backbone.prepare(row[None], lengths[:1]) for row in audio])
    torch.testing.assert_close(backbone.prepare(audio, lengths), alone)


@torch.no_grad()
def test_whisper_states_are_the_encoders():
    backbone = build("whisper")
    nn.init.uniform_(backbone.model.layer_norm.weight)
    prepared = backbone.prepare(tone(480_000, 16_000)[None], torch.tensor([480_000]))
    expected = backbone.model(prepared, output_hidden_states=True)
    states = backbone(prepared)
    for ours, theirs in zip(states, expected.hidden_states, strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=0)
    torch.testing.assert_close(states[-1], expected.last_hidden_state, atol=1e-5, rtol=0)


def test_whisper_window_within_the_position_table():
    backbone = build("whisper")
    assert (backbone.frames_per_window, backbone.window_samples) == (1500, 480_000)
    assert build("whisper", window=2.0).frames_per_window == 100
    with pytest.raises(UserError, match="longer than the 30 s"):
        build("whisper", window=31.0)


@torch.no_grad()
def test_whisper_short_window_is_an_encoder_with_a_cropped_position_table():
    backbone = build("whisper", window=2.0)
    peer = WhisperEncoder(whisper._encoder_config({**whisper.SIZES["tiny"], "max_source_positions": 100})).eval()
    weights = backbone.model.state_dict()
    peer.load_state_dict({**weights, "embed_positions.weight": weights["embed_positions.weight"][:100]})
    prepared = backbone.prepare(tone(32_000, 16_000)[None], torch.tensor([32_000]))
    expected = peer(prepared, output_hidden_states=True).hidden_states
    for ours, theirs in zip(backbone(prepared), expected, strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=0)


@pytest.mark.parametrize("prefix", ["", "encoder.", "model.encoder."])
@pytest.mark.parametrize("config", [True, False])
def test_whisper_checkpoint_layouts(tmp_path, prefix, config):
    with checkpoints.seeded():
        model = WhisperEncoder(whisper._encoder_config({**whisper.SIZES["tiny"], "d_model": 128, "max_source_positions": 100}))
    tensors = {f"{prefix}{name}": value.clone() for name, value in model.state_dict().items()}
    if prefix:
        tensors |= {
            prefix.replace("encoder", "decoder") + "layers.0.fc1.weight": torch.ones(2),
            "proj_out.weight": torch.ones(2),
        }
    save_file(tensors, tmp_path / "model.safetensors")
    if config:
        (tmp_path / "config.json").write_text(json.dumps({"encoder_attention_heads": 4, "d_model": 128, "dropout": 0.1}))
    backbone = build("whisper", tmp_path)
    assert (backbone.window_samples, backbone.hidden_size, backbone.num_blocks) == (32_000, 128, 2)
    assert backbone.model.config.encoder_attention_heads == (4 if config else 2)
    stored = backbone.model.state_dict()
    assert all(torch.equal(stored[name], value) for name, value in model.state_dict().items())


def test_whisper_weights_that_are_not_whisper(tmp_path):
    save_file({"layers.0.fc1.weight": torch.zeros(4, 4)}, tmp_path / "model.safetensors")
    with pytest.raises(UserError, match="holds no Whisper encoder"):
        build("whisper", tmp_path)


@pytest.mark.skipif(not REAL_WHISPER.is_dir(), reason="needs the shared weights")
@torch.no_grad()
def test_real_whisper_weights_and_audio():
    backbone = build("whisper", REAL_WHISPER, normalize=True)
    assert (backbone.frames_per_window, backbone.hidden_size, backbone.num_blocks) == (400, 384, 4)
    assert backbone.model.config.encoder_attention_heads == 6
    assert backbone.model.conv1.weight.dtype == torch.float32
    recordings = sorted((SHARED / "data").rglob("*.wav")) + sorted((SHARED / "data").rglob("*.flac"))
    audio, real = tone(128_000, 16_000), 128_000
    if recordings:
        import librosa

        loaded, _ = librosa.load(recordings[0], sr=16_000, duration=8.0)
        real = len(loaded)
        audio = torch.from_numpy(np.pad(loaded, (0, 128_000 - real)))
    prepared = backbone.prepare(audio[None], torch.tensor([real]))
    compare_log_mel(prepared[0], audio[:real], normalize=True)
    compare_log_mel(build("whisper", REAL_WHISPER).prepare(audio[None], torch.tensor([real]))[0], audio[:real], normalize=False)
    expected = backbone.model(prepared, output_hidden_states=True).hidden_states
    for ours, theirs in zip(backbone(prepared), expected, strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-5)


# Where weights come from --------------------------------------------------------------------------------------------------


def test_folders_without_usable_weights(tmp_path):
    with pytest.raises(UserError, match=r"has no model\.safetensors or pytorch_model\.bin"):
        checkpoints.load_tensors(str(tmp_path))
    for missing in (str(tmp_path / "nowhere"), "./a/b", "nowhere", "a/b/c", "~/weights"):
        with pytest.raises(UserError, match="no such folder of weights"):
            checkpoints.load_tensors(missing)
    file = tmp_path / "weights.pt"
    file.write_bytes(b"")
    with pytest.raises(UserError, match="is a file"):
        checkpoints.load_tensors(str(file))


@pytest.mark.parametrize("name", checkpoints.FILES)
@pytest.mark.parametrize("content", [b"", b"garbage" * 50, b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n"])
def test_corrupted_weights(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match="cannot be read as weights") as caught:
        checkpoints.load_tensors(str(tmp_path))
    assert "\n" not in str(caught.value)
    assert "weights_only" not in str(caught.value)


class Payload:
    def __reduce__(self):
        return (os.mkdir, ("owned",))


def test_pickles_cannot_run_code(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.save({"weight": Payload()}, tmp_path / "pytorch_model.bin")
    with pytest.raises(UserError, match="cannot be read as weights"):
        checkpoints.load_tensors(str(tmp_path))
    assert not (tmp_path / "owned").exists()


def test_bin_before_torch_1_6_and_preference_for_safetensors(tmp_path):
    torch.save({"a": torch.ones(2)}, tmp_path / "pytorch_model.bin", _use_new_zipfile_serialization=False)
    assert torch.equal(checkpoints.load_tensors(str(tmp_path))[0]["a"], torch.ones(2))
    save_file({"a": torch.zeros(2)}, tmp_path / "model.safetensors")
    assert torch.equal(checkpoints.load_tensors(str(tmp_path))[0]["a"], torch.zeros(2))


def test_config_json(tmp_path):
    assert checkpoints.load_config(str(tmp_path)) is None
    (tmp_path / "config.json").write_text('{"a": ')
    with pytest.raises(UserError, match="not valid JSON"):
        checkpoints.load_config(str(tmp_path))


@pytest.mark.parametrize(
    ("text", "licence"),
    [
        ("---\nlicense: cc-by-4.0\ntags: [a]\n---\n# Card\n", "cc-by-4.0"),
        ("---\ntags: [a]\n---\n", "unknown: see the source of the weights"),
        ("---\nlicense: [\n---\n", "unknown: see the source of the weights"),
        ("# license: mit\n", "unknown: see the source of the weights"),
    ],
)
def test_licence_of_a_folder(tmp_path, text, licence):
    (tmp_path / "README.md").write_text(text)
    assert checkpoints.find_licence(str(tmp_path), None, {"m-a-p": "CC-BY-NC-4.0"}) == licence


def test_licence_by_name(backbone):
    assert backbone.licence == "none (random weights)"
    assert checkpoints.find_licence("m-a-p/MERT-v1-95M", None, {"m-a-p": "CC-BY-NC-4.0"}) == "CC-BY-NC-4.0"


CARD = "---\nlicense: {}\nlibrary_name: etude\n---\n# A card\n"


@pytest.fixture
def packaged_folder(tmp_path, monkeypatch):
    """Where the weights that come with the package are looked for: ``toy-nano``, and folders that hold none."""
    folder = tmp_path / "packaged"
    for name in ("toy-nano", "__pycache__"):
        (folder / name).mkdir(parents=True)
    (folder / "mert.py").write_text("")
    mock_mert(folder / "toy-nano", build("mert").model, old=False)
    (folder / "toy-nano" / "README.md").write_text(CARD.format("apache-2.0"))
    monkeypatch.setattr(checkpoints, "PACKAGED", folder)
    monkeypatch.chdir(tmp_path)
    return folder


def test_packaged_weights_are_loaded_by_name_with_their_licence(packaged_folder):
    assert checkpoints.packaged_weights() == ("toy-nano",)
    backbone = build("mert", "toy-nano", window=1.0)
    assert backbone.fingerprint() == build("mert").fingerprint()
    assert (backbone.id, backbone.revision, backbone.licence) == ("toy-nano", None, "apache-2.0")
    by_path = build("mert", packaged_folder / "toy-nano", window=1.0)
    assert (by_path.fingerprint(), by_path.licence) == (backbone.fingerprint(), "apache-2.0")


def test_packaged_weights_come_before_a_local_folder_of_their_name(packaged_folder, tmp_path):
    local = tmp_path / "toy-nano"
    local.mkdir()
    with torch.device("meta"):
        other = HubertModel(mert.hubert_config(mert.SIZES["tiny"])).to_empty(device="cpu")
    for parameter in other.parameters():
        nn.init.constant_(parameter, 0.5)
    mock_mert(local, other, old=False)
    (local / "README.md").write_text(CARD.format("mit"))
    named, by_path = build("mert", "toy-nano"), build("mert", "./toy-nano")
    assert (named.fingerprint(), named.licence) == (build("mert").fingerprint(), "apache-2.0")
    assert by_path.fingerprint() != named.fingerprint()
    assert by_path.licence == "mit"


def test_an_unknown_name_lists_the_packaged_weights(packaged_folder):
    (packaged_folder / "also").mkdir()
    (packaged_folder / "also" / "config.json").write_text("{}")
    with pytest.raises(UserError) as caught:
        build("mert", "toy-nanno")
    assert str(caught.value) == (
        "toy-nanno: no such folder of weights (check the path, or give a Hub name such as owner/name, "
        "or what comes with etude (also, toy-nano))"
    )


def hub(monkeypatch, files, missing=errors.EntryNotFoundError):
    """A Hub with ``files`` by name; asking for another one raises ``missing``."""
    asked = []

    def download(repository, name, *, revision=None):
        asked.append((repository, name, revision))
        if name in files:
            return str(files[name])
        raise missing("no") if not issubclass(missing, errors.HfHubHTTPError) else missing.__new__(missing)

    monkeypatch.setattr("huggingface_hub.hf_hub_download", download)
    return asked


def test_hub_checkpoint(tmp_path, monkeypatch):
    commit = "0123456789abcdef0123456789abcdef01234567"
    folder = tmp_path / "models--m-a-p--MERT-v1-95M" / "snapshots" / commit
    folder.mkdir(parents=True)
    mock_mert(folder, build("mert").model, old=True)
    asked = hub(monkeypatch, {path.name: path for path in folder.iterdir()})
    backbone = build("mert", "m-a-p/MERT-v1-95M", revision="main")
    assert backbone.revision == commit
    assert backbone.licence == "CC-BY-NC-4.0"
    assert backbone.fingerprint() == build("mert").fingerprint()
    assert {revision for _, _, revision in asked} == {"main"}
    assert not any(name.endswith(".py") for _, name, _ in asked)


def test_offline_with_only_the_pickle_cached(tmp_path, monkeypatch):
    torch.save({"a": torch.ones(1)}, tmp_path / "pytorch_model.bin")
    files = {"pytorch_model.bin": tmp_path / "pytorch_model.bin"}
    hub(monkeypatch, files, errors.LocalEntryNotFoundError)
    tensors, commit = checkpoints.load_tensors("owner/name")
    assert list(tensors) == ["a"]
    assert commit is None
    assert checkpoints.find_licence("owner/name", None, {}) == "unknown: see the source of the weights"


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (errors.LocalEntryNotFoundError, "the Hub cannot be reached"),
        (errors.EntryNotFoundError, "has no model.safetensors or pytorch_model.bin"),
        (errors.RepositoryNotFoundError, "neither a local folder nor a Hub repository"),
        (errors.HFValidationError, "neither a local folder nor a Hub repository"),
        (errors.GatedRepoError, "access to these weights must be requested"),
        (errors.RevisionNotFoundError, "has no revision 'v9'"),
        (ConnectionError, "download of model.safetensors failed: no"),
    ],
)
def test_hub_failures(monkeypatch, error, message):
    hub(monkeypatch, {}, error)
    with pytest.raises(UserError, match=message) as caught:
        checkpoints.load_tensors("owner/name", "v9")
    assert len(caught.value.problems) == 1
    assert caught.value.problems[0].fix
    assert "\n" not in str(caught.value)
