"""The encoder of Whisper: Radford et al., "Robust Speech Recognition via Large-Scale Weak Supervision", ICML 2023.

16 kHz, log-mel spectrogram at 100 Hz, 50 frames per second. Trained on speech: its early layers carry over to music best.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from transformers import WhisperConfig as TransformersConfig
from transformers.audio_utils import mel_filter_bank
from transformers.models.whisper.modeling_whisper import WhisperEncoder

from etude.adapters.backbones import Backbone, BackboneConfig, standardize
from etude.adapters.backbones._parts.weights import find_licence, load_config, load_into, load_tensors, random_size, seeded
from etude.adapters.errors import UserError

SIZES: dict[str, dict[str, Any]] = {
    "tiny": {
        "num_mel_bins": 80,
        "d_model": 64,
        "encoder_layers": 2,
        "encoder_attention_heads": 2,
        "encoder_ffn_dim": 128,
        "max_source_positions": 1500,
        "init_std": 0.1,  # the usual .02 would drown the audio in the positions
    },
    "small": {
        "num_mel_bins": 80,
        "d_model": 256,
        "encoder_layers": 2,
        "encoder_attention_heads": 4,
        "encoder_ffn_dim": 512,
        "max_source_positions": 1500,
        "init_std": 0.05,
    },
}

SITES = {
    "attn.q": "self_attn.q_proj",
    "attn.k": "self_attn.k_proj",
    "attn.v": "self_attn.v_proj",
    "attn.out": "self_attn.out_proj",
    "ffn.in": "fc1",
    "ffn.out": "fc2",
}

FFT, HOP = 400, 160  # samples: 25 ms and 10 ms


class WhisperConfig(BackboneConfig):
    """``weights``: an ``openai/whisper-*`` model, a folder with at least the encoder's tensors, or ``random:tiny``."""

    normalize: bool = False
    """Zero-mean, unit-variance waveform (over real samples) before the log-mel; OpenAI's models were trained without."""


class Whisper(Backbone):
    """States are ``hidden_states`` of transformers' encoder, the last one after the final norm.

    The window is as long as the position table (30 s in OpenAI's models); a shorter one uses the table's beginning.
    """

    Config: ClassVar[type[BackboneConfig]] = WhisperConfig
    model: WhisperEncoder
    mel_filters: Tensor
    fft_window: Tensor

    def __init__(self, config: WhisperConfig) -> None:
        super().__init__(config)
        self.id, self.revision, self.normalize = config.weights, None, config.normalize
        size = random_size(config.weights, SIZES)
        if size:
            with seeded():
                self.model = WhisperEncoder(_encoder_config(SIZES[size]))
        else:
            self.model, self.revision = _load(config.weights, config.revision)
        shape = self.model.config
        self.sample_rate, self.frame_rate = 16000, 50.0
        frames = config.frames(self.frame_rate, default=shape.max_source_positions / self.frame_rate)
        if frames > shape.max_source_positions:
            longest = shape.max_source_positions / self.frame_rate
            raise UserError(
                f"a window of {config.window:g} s is longer than the {longest:g} s these weights take",
                where="backbone.window",
                fix=f"use {longest:g} or less",
            )
        self.window_samples = frames * 2 * HOP
        self.hidden_size, self.num_blocks = shape.d_model, shape.encoder_layers
        self.sites = {
            f"blocks.{index:02d}.{site}": f"layers.{index}.{path}"
            for index in range(self.num_blocks)
            for site, path in SITES.items()
        }
        filters = mel_filter_bank(
            FFT // 2 + 1, shape.num_mel_bins, 0.0, 8000.0, self.sample_rate, norm="slaney", mel_scale="slaney"
        )
        self.register_buffer("mel_filters", torch.from_numpy(filters.T).float(), persistent=False)
        self.register_buffer("fft_window", torch.hann_window(FFT), persistent=False)
        self.licence = find_licence(config.weights, self.revision, {"openai": "MIT"})
        self.freeze()

    def prepare(self, audio: Tensor, lengths: Tensor) -> Tensor:
        """Waveforms ``[batch, window_samples]`` -> log-mel ``[batch, bins, 2 * frames]``, as ``WhisperFeatureExtractor``."""
        # Half precision would overflow in the power spectrum.
        with torch.autocast(audio.device.type, enabled=False):
            audio = standardize(audio.float(), lengths) if self.normalize else audio.float()
            spectrum = torch.stft(audio, FFT, HOP, window=self.fft_window, return_complex=True)[..., :-1]
            # Not abs() ** 2: its gradient at silence is 0 only by convention.
            power = spectrum.real.square() + spectrum.imag.square()
            log_mel = (self.mel_filters @ power).clamp(min=1e-10).log10()
            log_mel = log_mel.maximum(log_mel.amax(dim=(1, 2), keepdim=True) - 8.0)
            return (log_mel + 4.0) / 4.0

    def embed(self, prepared: Tensor) -> Tensor:
        """Two convolutions and positions."""
        state = nn.functional.gelu(self.model.conv1(prepared))
        state = nn.functional.gelu(self.model.conv2(state)).transpose(1, 2)
        positions: Tensor = self.model.embed_positions.weight
        return state + positions[: state.shape[1]]

    def block(self, index: int, state: Tensor) -> Tensor:
        """One transformer layer, and the final norm after the last one."""
        output = self.model.layers[index](state, None)
        state = output[0] if isinstance(output, tuple) else output  # a tuple in some releases of transformers
        return self.model.layer_norm(state) if index == self.num_blocks - 1 else state


def _encoder_config(fields: dict[str, Any]) -> TransformersConfig:
    return TransformersConfig(
        **fields,
        attn_implementation="sdpa",
        dropout=0.0,
        attention_dropout=0.0,
        activation_dropout=0.0,
        encoder_layerdrop=0.0,
        apply_spec_augment=False,
    )


def _load(weights: str, revision: str | None) -> tuple[WhisperEncoder, str | None]:
    """Encoder and Hub commit. Raises :class:`UserError`."""
    tensors, commit = load_tensors(weights, revision, prefixes=("model.encoder.", "encoder.", ""))
    fields = _geometry(tensors, load_config(weights, revision) or {}, weights)
    with seeded("meta"):
        model = WhisperEncoder(_encoder_config(fields))
    load_into(model, tensors, weights)
    return model, commit


def _geometry(tensors: Mapping[str, Tensor], stored: Mapping[str, Any], weights: str) -> dict[str, Any]:
    """Sizes from the shapes of the tensors; only the number of heads is not in them: 64 channels each in every Whisper."""
    try:
        width, mel_bins, _ = tensors["conv1.weight"].shape
        fields = {
            "num_mel_bins": mel_bins,
            "d_model": width,
            "encoder_layers": 1 + max(int(name.split(".")[1]) for name in tensors if name.startswith("layers.")),
            "encoder_ffn_dim": len(tensors["layers.0.fc1.weight"]),
            "max_source_positions": len(tensors["embed_positions.weight"]),
        }
    except (KeyError, ValueError):
        raise UserError(
            "holds no Whisper encoder", where=weights, fix="give an openai/whisper-* model or a copy of one"
        ) from None
    heads = stored.get("encoder_attention_heads", width // 64)
    if not isinstance(heads, int) or heads < 1 or width % heads:
        fix = "state encoder_attention_heads in config.json"
        raise UserError(f"{width} channels cannot be split into {heads} attention heads", where=weights, fix=fix)
    return {**fields, "encoder_attention_heads": heads, "activation_function": stored.get("activation_function", "gelu")}
