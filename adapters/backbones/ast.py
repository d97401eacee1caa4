"""The Audio Spectrogram Transformer: Gong, Chung and Glass, "AST: Audio Spectrogram Transformer", Interspeech 2021.

16 kHz, Kaldi log-mel at 100 Hz, cut into patches of 16 x 16 every 10 bands and every 10 mel frames: 12 rows of frequency, 10
steps per second. Trained to tag 10-s clips of AudioSet, whose 527 classes :meth:`Ast.classify` gives.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn
from transformers import ASTConfig as TransformersConfig
from transformers import ASTForAudioClassification

from etude.adapters.backbones import Backbone, BackboneConfig
from etude.adapters.backbones._parts.frequency_attention import FrequencyAttention
from etude.adapters.backbones._parts.kaldi_fbank import (
    BANDS,
    DEVIATION,
    FRAME,
    HOP,
    MEAN,
    SAMPLE_RATE,
    KaldiFilterbank,
    as_audioset,
)
from etude.adapters.backbones._parts.weights import (
    find_licence,
    load_config,
    load_into,
    load_preprocessor,
    load_tensors,
    random_size,
    seeded,
)
from etude.adapters.errors import UserError

SIZES: dict[str, dict[str, Any]] = {
    "tiny": {
        "hidden_size": 48,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "intermediate_size": 96,
        "initializer_range": 0.1,  # the usual .02 would make the attention of so narrow a model uniform
        "num_labels": 527,
    },
    "base": {"num_labels": 527},
}
"""What each size changes in the defaults of transformers, which are those of the released models."""

CONFIG_KEYS = (
    *("hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size", "hidden_act", "layer_norm_eps"),
    *("qkv_bias", "patch_size", "frequency_stride", "time_stride", "max_length", "num_mel_bins", "id2label"),
)
"""The fields of a checkpoint's ``config.json`` that shape the computation or name the classes."""

SITES = {
    "attn.q": "attention.q_proj",
    "attn.k": "attention.k_proj",
    "attn.v": "attention.v_proj",
    "attn.out": "attention.o_proj",
    "ffn.in": "mlp.fc1",
    "ffn.out": "mlp.fc2",
}
"""Modules as transformers has called them since 5.9; see :func:`_current` for their older names."""

PATCH, STRIDE = 16, 10  # side of a patch, hop between patches, both in bands and mel frames
ROWS = (BANDS - PATCH) // STRIDE + 1
SPECIAL = 2  # the class and the distillation token, before the patches


class AstConfig(BackboneConfig):
    """``weights``: ``MIT/ast-finetuned-audioset-10-10-0.4593``, a folder of that format, ``random:tiny|base``.

    ``window`` is 10 s when omitted, and at most the 10.1 s that the position table of the AudioSet models covers.
    """

    output: Literal["clip", "frames"] = "clip"
    """What heads read: the mean of the two special tokens, the same at every frame, as the model was trained; or the mean over
    frequency of each frame's own patches, 10 per second."""
    frequency: Literal["mean", "attention"] = "mean"
    """How ``output: frames`` reads the patches of a step: their mean, or their sum under weights that are learned."""
    input: Literal["spectrogram", "waveform"] = "spectrogram"
    """What a method in front of the model changes. With ``waveform`` the padding of a short window is silence, of which the
    model hears the log-mel floor, instead of the zero rows it was trained with."""


class Ast(Backbone):
    """States are ``hidden_states`` of transformers' ``ASTModel``, the last one ``last_hidden_state`` (after the final norm).

    Token 0 and 1 are special, token ``2 + row * steps + i`` is the patch of mel bands ``10 row .. 10 row + 15`` and mel frames
    ``10 i .. 10 i + 15``; frame ``i`` is read from all rows of step ``i``. A window of n frames has n + 1 steps, because the
    released models see one that reaches behind 10 s, but no more than the position table (101, as from 10.0 s on). A shorter
    window uses the middle of that table, as the original repository does: steps ``101 // 2 - steps // 2`` and on.
    """

    Config: ClassVar[type[BackboneConfig]] = AstConfig
    config: AstConfig
    model: ASTForAudioClassification
    special_tokens = SPECIAL

    def __init__(self, config: AstConfig) -> None:
        super().__init__(config)
        self.id, self.revision = config.weights, None
        size = random_size(config.weights, SIZES)
        if size:
            with seeded():
                self.model = ASTForAudioClassification(_transformers_config(SIZES[size]))
            self.source_labels = _labels(self.model)
        else:
            self.model, self.source_labels, self.revision = _load(config.weights, config.revision)
        shape = self.model.config
        self.sample_rate, self.frame_rate = SAMPLE_RATE, SAMPLE_RATE / (STRIDE * HOP)
        self.window_steps, self.window_samples = _window(config, (shape.max_length - PATCH) // STRIDE + 1, self.frame_rate)
        self.mel_frames = STRIDE * (self.window_steps - 1) + PATCH
        """Mel frames that the patches read; the last of the 1,024 that transformers makes are in none."""
        self.hidden_size, self.num_blocks = shape.hidden_size, shape.num_hidden_layers
        installed = _installed_names(self.model)
        self.sites = {
            f"blocks.{index:02d}.{site}": installed[f"layers.{index}.{path}.weight"].removesuffix(".weight")
            for index in range(self.num_blocks)
            for site, path in SITES.items()
        }
        self.filterbank = KaldiFilterbank()
        self.licence = find_licence(config.weights, self.revision, {"MIT": "BSD-3-Clause"})
        self.freeze()

    @property
    def tokens_per_window(self) -> int:
        """The special tokens, and every row of frequency at every step."""
        return SPECIAL + ROWS * self.window_steps

    def prepare(self, audio: Tensor, lengths: Tensor) -> Tensor:
        """Waveforms ``[batch, window_samples]`` -> log-mel ``[batch, bands, mel_frames]``, as ``ASTFeatureExtractor``; with
        ``input: waveform`` the waveforms themselves, 0 behind their real length.
        """
        lengths = lengths.to(audio.device)
        if self.config.input == "waveform":
            return audio.where(torch.arange(audio.shape[-1], device=audio.device) < lengths[:, None], 0.0)
        return self._spectrogram(audio, lengths)

    def _spectrogram(self, audio: Tensor, lengths: Tensor) -> Tensor:
        # One by one: what a whole batch needs in between leaves the processor's caches, and takes three times as long.
        rows = zip(audio.unbind(), lengths.unbind(), strict=True)
        return torch.stack([self._spectrogram_of_one(waveform, length) for waveform, length in rows])

    def _spectrogram_of_one(self, audio: Tensor, length: Tensor) -> Tensor:
        log_mel: Tensor = self.filterbank(audio)
        frame_ends = torch.arange(log_mel.shape[-1], device=audio.device) * HOP + FRAME
        log_mel = log_mel.where(frame_ends <= length, 0.0)
        log_mel = nn.functional.pad(log_mel, (0, self.mel_frames - log_mel.shape[-1]))
        return as_audioset(log_mel)

    def embed(self, prepared: Tensor) -> Tensor:
        """Patches and special tokens, and their positions."""
        if self.config.input == "waveform":
            whole = torch.full((len(prepared),), self.window_samples, device=prepared.device)
            prepared = self._spectrogram(prepared, whole)
        embeddings = self.model.audio_spectrogram_transformer.embeddings
        # [batch, 1, bands, mel frames]: the order that transformers, given mel frames before bands, transposes to.
        patches = embeddings.patch_embeddings.projection(prepared[:, None]).flatten(2).transpose(1, 2)
        special = torch.cat((embeddings.cls_token, embeddings.distillation_token), dim=1)
        table: Tensor = embeddings.position_embeddings
        of_patches = table[:, SPECIAL:].reshape(1, ROWS, -1, self.hidden_size)
        first = of_patches.shape[2] // 2 - self.window_steps // 2
        of_patches = of_patches[:, :, first : first + self.window_steps].flatten(1, 2)
        tokens = torch.cat((special.expand(len(prepared), -1, -1), patches), dim=1)
        return tokens + torch.cat((table[:, :SPECIAL], of_patches), dim=1)

    def block(self, index: int, state: Tensor) -> Tensor:
        """One transformer layer, and the final norm after the last one."""
        body = self.model.audio_spectrogram_transformer
        layers = body.layers if hasattr(body, "layers") else body.encoder.layer  # transformers >= 5.9, and before
        state = layers[index](state)
        return body.layernorm(state) if index == self.num_blocks - 1 else state

    def readout(self, state: Tensor) -> Tensor:
        """``[batch, tokens, hidden]`` -> ``[batch, frames, hidden]`` as :attr:`AstConfig.output` says."""
        if self.config.output == "clip":
            return state[:, :SPECIAL].mean(1, keepdim=True).expand(-1, self.frames_per_window, -1)
        patches = state[:, SPECIAL:].reshape(-1, ROWS, self.window_steps, self.hidden_size)
        return patches.mean(1)[:, : self.frames_per_window]

    def trained_readout(self) -> nn.Module | None:
        """With ``frequency: attention``, :class:`FrequencyAttention`."""
        if (self.config.output, self.config.frequency) != ("frames", "attention"):
            return None
        return FrequencyAttention(self.hidden_size, SPECIAL, ROWS, self.frames_per_window)

    def classify(self, pooled: Tensor) -> Tensor:
        """The checkpoint's own norm and linear layer; with ``output: clip`` and the last state, transformers' logits."""
        if not self.source_labels:
            return super().classify(pooled)
        logits: Tensor = self.model.classifier(pooled)
        return logits


def _window(config: AstConfig, table: int, frame_rate: float) -> tuple[int, int]:
    """Time steps and samples of a window, where the position table has ``table`` steps. Raises :class:`UserError`."""
    longest = table / frame_rate
    frames = config.frames(frame_rate, default=min(10.0, longest))
    if frames > table:
        raise UserError(
            f"a window of {config.window:g} s is longer than the {longest:g} s these weights take",
            where="backbone.window",
            fix=f"use {longest:g} or less",
        )
    return min(frames + 1, table), frames * STRIDE * HOP


def _transformers_config(fields: Mapping[str, Any]) -> TransformersConfig:
    return TransformersConfig(**fields, attn_implementation="sdpa", hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0)


def _labels(model: ASTForAudioClassification) -> tuple[str, ...]:
    return tuple(model.config.id2label[index] for index in range(model.config.num_labels))


def _load(weights: str, revision: str | None) -> tuple[ASTForAudioClassification, tuple[str, ...], str | None]:
    """Model, names of its classes (none in a checkpoint without classifier) and Hub commit. Raises :class:`UserError`."""
    stored = load_config(weights, revision)
    if stored is None:
        raise UserError("has no config.json", where=weights, fix="copy the one that belongs to these weights into the folder")
    if (kind := stored.get("model_type")) != TransformersConfig.model_type:
        raise UserError(
            f"config.json describes a model of type {kind!r}, not {TransformersConfig.model_type!r}",
            where=weights,
            fix="give an Audio Spectrogram Transformer such as MIT/ast-finetuned-audioset-10-10-0.4593",
        )
    try:
        with seeded("meta"):
            model = ASTForAudioClassification(
                _transformers_config({key: value for key, value in stored.items() if key in CONFIG_KEYS})
            )
        labels = _labels(model)
    except Exception as error:  # whichever check of transformers or torch a nonsensical value meets first
        reason = str(error).strip().splitlines()[-1].strip() if str(error) else type(error).__name__
        raise UserError(f"config.json does not describe an AST: {reason}", where=weights, fix="download it again") from None
    shape = model.config
    if (shape.patch_size, shape.frequency_stride, shape.time_stride, shape.num_mel_bins) != (PATCH, STRIDE, STRIDE, BANDS):
        raise UserError(
            f"config.json does not describe {PATCH} x {PATCH} patches every {STRIDE} of {BANDS} bands and of the mel frames",
            where=weights,
            fix="use one of the 10-10 models, MIT/ast-finetuned-audioset-10-10-0.4593 say",
        )
    _check_normalisation(weights, revision)
    tensors, commit = load_tensors(weights, revision)
    tensors = {_current(name): tensor for name, tensor in tensors.items()}
    if not any(name.startswith("classifier.") for name in tensors):
        model.classifier, labels = nn.Identity(), ()
    installed = _installed_names(model)
    load_into(model, {installed.get(name, name): tensor for name, tensor in tensors.items()}, weights)
    return model, labels, commit


def _check_normalisation(weights: str, revision: str | None) -> None:
    stored = load_preprocessor(weights, revision)
    used = stored.get("mean", MEAN), stored.get("std", DEVIATION)
    if used != (MEAN, DEVIATION):
        raise UserError(
            f"was trained on log-mel normalised with mean {used[0]} and deviation {used[1]}, not those of AudioSet",
            where=f"{weights}, preprocessor_config.json",
            fix="use a model trained on AudioSet, MIT/ast-finetuned-audioset-10-10-0.4593 say",
        )


def _installed_names(model: nn.Module) -> dict[str, str]:
    """Name of each tensor as :func:`_current` writes it -> its name in the installed transformers."""
    return {_current(name): name for name in model.state_dict()}


def _current(name: str) -> str:
    """A tensor's name as transformers >= 5.9 writes it, without the prefix of the classifier's body."""
    name = name.removeprefix("audio_spectrogram_transformer.").replace("encoder.layer.", "layers.", 1)
    for old, new in {
        ".attention.attention.query.": ".attention.q_proj.",
        ".attention.attention.key.": ".attention.k_proj.",
        ".attention.attention.value.": ".attention.v_proj.",
        ".attention.output.dense.": ".attention.o_proj.",
        ".intermediate.dense.": ".mlp.fc1.",
        ".output.dense.": ".mlp.fc2.",
    }.items():
        name = name.replace(old, new)
    return name
