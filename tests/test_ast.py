"""The Audio Spectrogram Transformer: its windows, input, states and readouts, against transformers."""

import math
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from made_ast import PADDING, build, music, peer, theirs
from transformers import ASTFeatureExtractor, ASTForAudioClassification, ASTModel

from etude.adapters import registry
from etude.adapters.backbones import ast
from etude.adapters.backbones._parts import kaldi_fbank
from etude.adapters.backbones.ast import AstConfig
from etude.adapters.errors import UserError
from etude.adapters.model.adapted import AdaptedModel
from etude.adapters.sound import augment, filters
from etude.adapters.states.frozen_states import sources

SHARED = Path(os.environ.get("ETUDE_SHARED", Path(__file__).parents[2] / "shared"))
pytestmark = pytest.mark.filterwarnings("ignore:At least one mel filter has all zero values")


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


def test_stored_states_depend_on_the_code_of_the_filterbank_and_of_views():
    assert {Path(module.__file__) for module in (kaldi_fbank, ast, augment, filters)} < set(sources(build()))
