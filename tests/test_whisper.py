"""Whisper: its log-mel spectrograms are the extractor's, its states those of the encoder."""

import json
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from small_backbones import build, tone
from torch import nn
from transformers import WhisperFeatureExtractor
from transformers.models.whisper.modeling_whisper import WhisperEncoder

from etude.adapters.backbones import whisper
from etude.adapters.backbones._parts import weights as checkpoints
from etude.adapters.errors import UserError

SHARED = Path(os.environ.get("ETUDE_SHARED", Path(__file__).parents[2] / "shared"))
REAL_WHISPER = SHARED / "weights" / "whisper-tiny-encoder"


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
