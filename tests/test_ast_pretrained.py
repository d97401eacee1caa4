"""The Audio Spectrogram Transformer with the weights of a checkpoint says what transformers' model says."""

import json

import pytest
import torch
from huggingface_hub.errors import LocalEntryNotFoundError
from made_ast import LABELS, build, music, peer, theirs
from safetensors.torch import load_file, save_file
from transformers import ASTFeatureExtractor

from etude.adapters.errors import UserError

pytestmark = pytest.mark.filterwarnings("ignore:At least one mel filter has all zero values")


@pytest.fixture(scope="module")
def classifier():
    return peer()


@pytest.fixture(scope="module")
def folder(classifier, tmp_path_factory):
    path = tmp_path_factory.mktemp("ast")
    classifier.save_pretrained(path)
    return path


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
