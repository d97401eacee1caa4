"""The Audio Spectrogram Transformer against transformers' model and feature extractor."""

import json
import math
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from huggingface_hub.errors import LocalEntryNotFoundError
from safetensors.torch import load_file, save_file
from transformers import ASTConfig, ASTFeatureExtractor, ASTForAudioClassification, ASTModel

from etude.adapters import registry
from etude.adapters.backbones import ast
from etude.adapters.backbones._parts import kaldi_fbank
from etude.adapters.backbones.ast import Ast, AstConfig
from etude.adapters.errors import UserError
from etude.adapters.model.adapted import AdaptedModel
from etude.adapters.states.frozen_states import sources

SHARED = Path(os.environ.get("ETUDE_SHARED", Path(__file__).parents[2] / "shared"))
LABELS = ("Speech", "Violin, fiddle", "Flute", "Drum")
SHAPE = {"hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 40}
PADDING = 4.2677393 / (2 * 4.5689974)  # a zero row of log-mel, normalised

pytestmark = pytest.mark.filterwarnings("ignore:At least one mel filter has all zero values")


def build(weights="random:tiny", **fields):
    return Ast(AstConfig(name="ast", weights=str(weights), **fields))


def peer(kind=ASTForAudioClassification, **fields):
    """A tiny model of transformers of which no parameter is left at zero or one."""
    model = kind(ASTConfig(**{**SHAPE, "id2label": dict(enumerate(LABELS)), **fields})).eval()
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.2 * torch.randn(parameter.shape, generator=generator)
    return model


@pytest.fixture(scope="module")
def classifier():
    return peer()


@pytest.fixture(scope="module")
def folder(classifier, tmp_path_factory):
    path = tmp_path_factory.mktemp("ast")
    classifier.save_pretrained(path)
    return path


def music(samples, seed=0):
    generator = torch.Generator().manual_seed(seed)
    time = torch.arange(samples) / 16_000
    tone = sum(torch.sin(2 * torch.pi * 220 * (seed + 1) * k * time) / k for k in range(1, 6))
    return 0.1 * tone * (1 + torch.sin(3 * time)) + 0.001 * torch.randn(samples, generator=generator)


def theirs(prepared):
    """Ours -> what transformers' model takes; the 8 frames that no patch reads hold anything."""
    return torch.nn.functional.pad(prepared, (0, 8), value=1e3).transpose(1, 2)


# Geometry -----------------------------------------------------------------------------------------------------------------


def test_released_geometry():
    with torch.device("meta"):
        model = ASTForAudioClassification(ast._transformers_config(ast.SIZES["base"]))
    assert sum(parameter.numel() for parameter in model.classifier.parameters()) == 406_799
    assert sum(parameter.numel() for parameter in model.parameters()) == 86_594_063
    backbone = build()
    assert (backbone.sample_rate, backbone.frame_rate, backbone.frames_per_window) == (16_000, 10.0, 100)
    assert (backbone.window_samples, backbone.tokens_per_window) == (160_000, 1_214)
    assert len(backbone.source_labels) == 527


@pytest.mark.parametrize(("window", "steps"), [(0.3, 4), (1.0, 11), (9.9, 100), (10.0, 101), (10.1, 101)])
def test_tokens_of_a_window(window, steps):
    backbone = build(window=window)
    assert backbone.frames_per_window == round(window * 10)
    assert backbone.tokens_per_window == 2 + 12 * steps
    assert backbone.prepared_shape == (128, 10 * steps + 6)
    assert backbone.embed(torch.zeros(1, *backbone.prepared_shape)).shape == (1, backbone.tokens_per_window, 48)


def test_windows_that_cannot_be(tmp_path):
    with pytest.raises(
        UserError, match=r"backbone\.window: a window of 10\.2 s is longer than the 10\.1 s .* \(use 10\.1 or less\)"
    ):
        build(window=10.2)
    with pytest.raises(UserError, match=r"a window of 1\.23 s is 12\.30 frames at 10 Hz, not a whole number \(use 1\.2\)"):
        build(window=1.23)
    peer(max_length=128).save_pretrained(tmp_path)
    assert build(tmp_path).window_samples == 12 * 1600  # the table's 12 steps are less than 10 s
    with pytest.raises(UserError, match=r"longer than the 1\.2 s"):
        build(tmp_path, window=1.3)


# Input --------------------------------------------------------------------------------------------------------------------


def compare_log_mel(backbone, audio, real):
    ours = backbone.prepare(audio[None], torch.tensor([real]))[0]
    (expected,) = ASTFeatureExtractor()(audio[:real].numpy(), sampling_rate=16_000, return_tensors="pt").input_values
    torch.testing.assert_close(ours, expected.T[:, : ours.shape[1]].float(), atol=1e-3, rtol=0)


@pytest.mark.parametrize("real", [160_000, 50_001, 400])
def test_log_mel_is_the_extractors(real):
    audio = music(160_000)  # what is behind the real length must not matter
    compare_log_mel(build(), audio, real)


@pytest.mark.skipif(not (SHARED / "data" / "philharmonia").is_dir(), reason="needs the shared recordings")
@pytest.mark.parametrize("index", [0, 50, 200])
def test_log_mel_of_recordings_is_the_extractors(index):
    import librosa

    recording = sorted((SHARED / "data" / "philharmonia").rglob("*.mp3"))[index]
    audio, _ = librosa.load(recording, sr=16_000)
    repeated = torch.from_numpy(np.resize(audio, 160_000))
    backbone = build()
    compare_log_mel(backbone, repeated, 160_000)
    compare_log_mel(backbone, repeated, min(len(audio), 100_000))


def test_padding_is_rows_of_zero_before_normalisation():
    backbone = build(window=1.0)
    prepared = backbone.prepare(music(16_000)[None].repeat(3, 1), torch.tensor([719, 399, 0]))
    real = (prepared - PADDING).abs().amax(1) > 1e-6
    assert real.sum(1).tolist() == [2, 0, 0]
    assert real[0, :2].all()


def test_rows_of_a_batch_do_not_mix():
    backbone = build(window=1.0)
    audio, lengths = torch.stack([music(16_000), 1e-3 * music(16_000, 1)]), torch.tensor([16_000, 9_000])
    alone = torch.cat([backbone.prepare(audio[i, None], lengths[i, None]) for i in range(2)])
    torch.testing.assert_close(backbone.prepare(audio, lengths), alone)


@torch.no_grad()
def test_waveform_input_is_the_same_model(folder):
    spectrogram, waveform = build(folder, window=2.0), build(folder, window=2.0, input="waveform")
    audio, whole, short = music(32_000)[None], torch.tensor([32_000]), torch.tensor([12_345])
    assert torch.equal(waveform.prepare(audio, whole), audio)
    assert waveform.prepared_shape == (32_000,)
    expected = spectrogram.embed(spectrogram.prepare(audio, whole))
    torch.testing.assert_close(waveform.embed(waveform.prepare(audio, whole)), expected)
    cut = waveform.prepare(audio, short)
    assert torch.equal(cut[:, :12_345], audio[:, :12_345])
    assert (cut[:, 12_345:] == 0).all()
    silent = spectrogram.embed(spectrogram.prepare(cut, whole))
    torch.testing.assert_close(waveform.embed(cut), silent)
    assert (silent - spectrogram.embed(spectrogram.prepare(audio, short))).abs().max() > 0.1


def test_gradient_reaches_an_added_waveform(folder):
    backbone = build(folder, window=0.5, input="waveform")
    added = torch.zeros(8_000, requires_grad=True)
    prepared = backbone.prepare(music(8_000)[None], torch.tensor([6_000]))
    backbone.classify(backbone.readout(backbone(prepared + added)[-1]))[..., 1].sum().backward()
    assert torch.isfinite(added.grad).all()
    assert (added.grad[1:6_000] != 0).float().mean() > 0.95


# States -------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("window", [10.0, 10.1])
@torch.no_grad()
def test_states_are_those_of_transformers(tmp_path, window):
    model = peer(ASTModel)
    model.save_pretrained(tmp_path)
    backbone = build(tmp_path, window=window)
    audio = torch.stack([music(backbone.window_samples), music(backbone.window_samples, 1)])
    prepared = backbone.prepare(audio, torch.tensor([backbone.window_samples, 70_000]))
    expected = model(theirs(prepared), output_hidden_states=True)
    states = backbone(prepared)
    for ours, other in zip(states[:-1], expected.hidden_states[:-1], strict=True):
        torch.testing.assert_close(ours, other, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(states[-1], expected.last_hidden_state, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(("window", "first"), [(3.0, 35), (2.9, 35), (0.5, 47), (9.9, 0)])
@torch.no_grad()
def test_short_window_is_a_model_with_the_middle_of_the_position_table(classifier, folder, window, first):
    backbone = build(folder, window=window)
    steps = round(window * 10) + 1
    short = peer(max_length=10 * steps + 6)
    tensors = classifier.state_dict()
    name = "audio_spectrogram_transformer.embeddings.position_embeddings"
    rows = [0, 1] + [2 + 101 * band + first + step for band in range(12) for step in range(steps)]
    short.load_state_dict({**tensors, name: tensors[name][:, rows]})
    prepared = backbone.prepare(music(backbone.window_samples)[None], torch.tensor([backbone.window_samples]))
    expected = short.audio_spectrogram_transformer(prepared.transpose(1, 2)).last_hidden_state
    torch.testing.assert_close(backbone(prepared)[-1], expected, atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_logits_are_those_of_transformers(classifier, folder):
    backbone = build(folder)
    assert backbone.source_labels == LABELS
    audio = music(160_000)
    prepared = backbone.prepare(audio[None], torch.tensor([120_000]))
    logits = backbone.classify(backbone.readout(backbone(prepared)[-1]))
    assert logits.shape == (1, 100, 4)
    inputs = ASTFeatureExtractor()(audio[:120_000].numpy(), sampling_rate=16_000, return_tensors="pt").input_values
    expected = classifier(inputs.float()).logits
    torch.testing.assert_close(logits, expected[:, None].expand(-1, 100, -1), atol=1e-3, rtol=1e-3)
    same_input = classifier(theirs(prepared)).logits
    torch.testing.assert_close(logits[:, 0], same_input, atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_readout_of_clip(folder):
    backbone = build(folder, window=2.0)
    state = torch.randn(3, backbone.tokens_per_window, 24)
    frames = backbone.readout(state)
    assert frames.shape == (3, 20, 24)
    assert frames.stride(1) == 0  # no copies
    for frame in range(20):
        torch.testing.assert_close(frames[:, frame], (state[:, 0] + state[:, 1]) / 2)


@pytest.mark.parametrize(("window", "steps"), [(2.0, 21), (10.0, 101), (10.1, 101)])
def test_readout_of_frames(window, steps):
    backbone = build(window=window, output="frames")
    state = torch.randn(2, backbone.tokens_per_window, 48)
    frames = backbone.readout(state)
    assert frames.shape == (2, round(10 * window), 48)
    for step in (0, 1, round(10 * window) - 1):
        expected = sum(state[:, 2 + band * steps + step] for band in range(12)) / 12
        torch.testing.assert_close(frames[:, step], expected)


@torch.no_grad()
def test_frame_hears_its_own_mel_frames():
    backbone = build(window=3.0, output="frames")
    quiet, loud = torch.zeros(2, 1, *backbone.prepared_shape)
    loud[:, 40, 196] = 1.0
    before, after = (backbone.readout(backbone.embed(prepared)) for prepared in (quiet, loud))
    changed = (before - after).abs().amax((0, 2)) > 0
    assert changed.nonzero().flatten().tolist() == [i for i in range(30) if 10 * i <= 196 <= 10 * i + 15]


# Checkpoints --------------------------------------------------------------------------------------------------------------


RENAMED = {  # as of transformers 5.9; the order matters in both directions
    "encoder.layer.": "layers.",
    "attention.attention.query.": "attention.q_proj.",
    "attention.attention.key.": "attention.k_proj.",
    "attention.attention.value.": "attention.v_proj.",
    "attention.output.dense.": "attention.o_proj.",
    "intermediate.dense.": "mlp.fc1.",
    "output.dense.": "mlp.fc2.",
}


def renamed(name, spelling):
    for old, new in RENAMED.items():
        name = name.replace(old, new) if spelling == "new" else name.replace(new, old)
    return name


def rewrite(source, target, spelling="new", keep=lambda name: True, prefix=True):
    """A copy of a checkpoint of which the tensors have the names of another release."""
    tensors = {renamed(name, spelling): value for name, value in load_file(source / "model.safetensors").items() if keep(name)}
    if not prefix:
        tensors = {name.removeprefix("audio_spectrogram_transformer."): value for name, value in tensors.items()}
    save_file(tensors, target / "model.safetensors")
    (target / "config.json").write_text((source / "config.json").read_text())
    return tensors


@pytest.mark.parametrize("spelling", ["old", "new"])
@torch.no_grad()
def test_old_and_new_names(folder, tmp_path, spelling):
    tensors = rewrite(folder, tmp_path, spelling)
    old = "audio_spectrogram_transformer.encoder.layer.1.attention.attention.query.weight"
    new = "audio_spectrogram_transformer.layers.1.attention.q_proj.weight"
    assert (old in tensors, new in tensors) == (spelling == "old", spelling == "new")
    expected, backbone = build(folder, window=0.5), build(tmp_path, window=0.5)
    assert backbone.fingerprint() == expected.fingerprint()
    prepared = expected.prepare(music(8_000)[None], torch.tensor([8_000]))
    states = expected(prepared)
    assert all(torch.equal(a, b) for a, b in zip(backbone(prepared), states, strict=True))
    assert torch.equal(backbone.classify(backbone.readout(states[-1])), expected.classify(expected.readout(states[-1])))


@pytest.mark.parametrize("spelling", ["old", "new"])
def test_a_checkpoint_without_classifier(folder, tmp_path, spelling):
    rewrite(folder, tmp_path, spelling, keep=lambda name: not name.startswith("classifier."), prefix=False)
    backbone, whole = build(tmp_path, window=0.5), build(folder, window=0.5)
    prepared = whole.prepare(music(8_000)[None], torch.tensor([8_000]))
    assert torch.equal(backbone(prepared)[-1], whole(prepared)[-1])
    assert backbone.fingerprint() != whole.fingerprint()
    assert backbone.source_labels == ()
    with pytest.raises(UserError, match="has no classes of its own"):
        backbone.classify(backbone.readout(whole(prepared)[-1]))


def test_classifier_is_frozen_and_in_the_fingerprint(folder):
    backbone = build(folder, window=0.5)
    before = backbone.fingerprint()
    assert not any(parameter.requires_grad for parameter in backbone.model.classifier.parameters())
    backbone.model.classifier.dense.bias.data[0] += 1
    assert backbone.fingerprint() != before


def test_hub_checkpoint(folder, tmp_path, monkeypatch):
    commit = "0123456789abcdef0123456789abcdef01234567"
    snapshot = tmp_path / "models--MIT--ast" / "snapshots" / commit
    snapshot.mkdir(parents=True)
    rewrite(folder, snapshot, "old")
    asked = []

    def download(repository, name, *, revision=None):
        asked.append(name)
        if name == "preprocessor_config.json":
            raise LocalEntryNotFoundError("offline, and cached by something that did not need it")
        return str(snapshot / name)

    monkeypatch.setattr("huggingface_hub.hf_hub_download", download)
    backbone = build("MIT/ast-finetuned-audioset-10-10-0.4593", window=0.5)
    assert (backbone.revision, backbone.licence) == (commit, "BSD-3-Clause")
    assert backbone.fingerprint() == build(folder, window=0.5).fingerprint()
    assert set(asked) == {"config.json", "preprocessor_config.json", "model.safetensors"}


def test_normalisation_of_other_data_is_refused(folder, tmp_path):
    rewrite(folder, tmp_path)
    ASTFeatureExtractor().save_pretrained(tmp_path)
    assert build(tmp_path, window=0.5).fingerprint() == build(folder, window=0.5).fingerprint()
    ASTFeatureExtractor(mean=-6.845978, std=5.5654526).save_pretrained(tmp_path)
    with pytest.raises(UserError, match=r"normalised with mean -6\.845978 and deviation 5\.5654526, not those of AudioSet"):
        build(tmp_path, window=0.5)
    (tmp_path / "preprocessor_config.json").write_text("{")
    with pytest.raises(UserError, match="is not valid JSON"):
        build(tmp_path, window=0.5)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (None, "has no config.json"),
        ({"model_type": "hubert"}, "describes a model of type 'hubert', not 'audio-spectrogram-transformer'"),
        ({"model_type": None}, "describes a model of type None"),
        ({"hidden_size": "large"}, "does not describe an AST"),
        ({"num_attention_heads": 0}, "does not describe an AST"),
        ({"hidden_act": "loud"}, "does not describe an AST"),
        ({"id2label": {"0": "a", "7": "b"}}, "does not describe an AST"),
        ({"max_length": 4}, "does not describe an AST"),
        ({"time_stride": 16}, "does not describe 16 x 16 patches every 10 of 128 bands"),
        ({"num_mel_bins": 64}, "does not describe 16 x 16 patches every 10 of 128 bands"),
        ({"num_hidden_layers": 1}, "unexpected"),
        ({"num_hidden_layers": 3}, "missing"),
        ({"hidden_size": 32}, "of the wrong shape"),
        ({"id2label": {"0": "a"}}, r"classifier\.dense\.bias \[4\] instead of \[1\]"),
        ({"max_length": 128}, r"position_embeddings \[1, 1214, 24\] instead of \[1, 146, 24\]"),
    ],
)
def test_config_that_does_not_fit(folder, tmp_path, change, message):
    rewrite(folder, tmp_path)
    path = tmp_path / "config.json"
    if change is None:
        path.unlink()
    else:
        path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(UserError, match=message) as caught:
        build(tmp_path)
    assert len(caught.value.problems) == 1
    assert caught.value.problems[0].fix
    assert "\n" not in str(caught.value)


def test_unknown_options():
    for wrong in ({"output": "events"}, {"input": "image"}, {"normalize": True}):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            AstConfig(name="ast", weights="random:tiny", **wrong)


def test_silence_is_heard_as_the_floor_of_the_filterbank():
    backbone = build(window=0.5)
    prepared = backbone.prepare(torch.zeros(1, 8_000), torch.tensor([8_000]))
    floor = (math.log(2**-23) + 4.2677393) / (2 * 4.5689974)
    torch.testing.assert_close(prepared[..., :48], torch.full((1, 128, 48), floor))
    torch.testing.assert_close(prepared[..., 48:], torch.full((1, 128, 18), PADDING))


def test_attention_over_frequency_is_the_mean_until_it_is_trained():
    backbone, plain = build(output="frames", frequency="attention"), build(output="frames")
    state = torch.randn(2, backbone.tokens_per_window, backbone.hidden_size)
    attention = backbone.trained_readout()
    torch.testing.assert_close(attention(state), plain.readout(state))
    assert plain.trained_readout() is build(frequency="attention").trained_readout() is None
    with torch.no_grad():
        attention.score.weight.normal_()
    patches = state[:, 2:].reshape(2, 12, -1, backbone.hidden_size)[:, :, 3]
    weights = torch.softmax((patches * attention.score.weight).sum(-1), dim=1)
    torch.testing.assert_close(attention(state)[:, 3], (weights[..., None] * patches).sum(1))


def test_attention_over_frequency_is_trained():
    backbone, head = build(output="frames", frequency="attention", window=1.0), registry.find("heads", "tags")
    heads = {"tags": head(head.Config(hidden=0), ("a", "b"), backbone.hidden_size, {})}
    model = AdaptedModel(backbone, registry.find("methods", "heads_only")(None), heads, (1, 2))
    stored = model.frozen_states(torch.randn(2, 16_000), torch.tensor([16_000, 16_000]))
    assert [state.shape for state in stored] == [(2, backbone.tokens_per_window, backbone.hidden_size)] * 2
    (model(stored).logits["tags"]["tags"] ** 2).sum().backward()
    assert model.reader.readout.score.weight.grad.abs().max() > 0
    assert "readout.score.weight" in model.trainable_state()


def test_stored_states_depend_on_the_code_of_the_filterbank():
    assert {Path(kaldi_fbank.__file__), Path(ast.__file__)} < set(sources(build()))
