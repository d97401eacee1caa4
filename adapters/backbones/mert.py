"""MERT: Li et al., "MERT: Acoustic Music Understanding Model with Large-Scale Self-supervised Training", ICLR 2024.

MERT v1 is a HuBERT at 24 kHz and 75 frames per second, so it is loaded into transformers' ``HubertModel`` from an explicit
configuration; the Python files that its checkpoints carry are never run.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from transformers import HubertConfig, HubertModel

from etude.adapters.backbones import Backbone, BackboneConfig, standardize
from etude.adapters.backbones._parts.constant_q import FRAMES_PER_SECOND, ConstantQ
from etude.adapters.backbones._parts.weights import (
    find_licence,
    load_config,
    load_into,
    load_preprocessor,
    load_tensors,
    random_size,
    seeded,
)
from etude.adapters.errors import Problem, UserError

SIZES: dict[str, dict[str, Any]] = {
    "tiny": {
        "conv_dim": [32] * 7,
        "hidden_size": 48,
        "num_hidden_layers": 3,
        "num_attention_heads": 4,
        "intermediate_size": 96,
        "num_conv_pos_embeddings": 16,
        "num_conv_pos_embedding_groups": 4,
    },
    "nano": {
        "conv_dim": [32, 48, 64, 96, 128, 192, 256],
        "conv_kernel": [10, 3, 3, 3, 3, 4, 4],
        "hidden_size": 256,
        "num_hidden_layers": 4,
        "num_attention_heads": 4,
        "intermediate_size": 1024,
        "num_conv_pos_embeddings": 32,
        "do_stable_layer_norm": True,
    },
    "95M": {},
    "330M": {
        "hidden_size": 1024,
        "num_hidden_layers": 24,
        "num_attention_heads": 16,
        "intermediate_size": 4096,
        "do_stable_layer_norm": True,
    },
}
"""What each size changes in HuBERT's defaults, which are those of MERT-v1-95M; ``nano`` is etude-nano's shape."""

CONFIG_KEYS = (
    *("hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size", "hidden_act"),
    *("layer_norm_eps", "do_stable_layer_norm", "num_conv_pos_embeddings", "num_conv_pos_embedding_groups"),
    *("feat_extract_norm", "feat_extract_activation", "feat_proj_layer_norm"),
    *("conv_dim", "conv_stride", "conv_kernel", "conv_bias"),
)
"""HuBERT's fields of a checkpoint's ``config.json`` that shape the computation."""

OPTIONS: dict[str, Any] = {"deepnorm": False, "feature_extractor_cqt": False, "feature_extractor_cqt_bins": 336}
"""Those that MERT adds, and what they are when missing; everything else in the file is ignored (``attention_relax`` too: its
softmax only rounds differently)."""

SITES = {
    "attn.q": "attention.q_proj",
    "attn.k": "attention.k_proj",
    "attn.v": "attention.v_proj",
    "attn.out": "attention.out_proj",
    "ffn.in": "feed_forward.intermediate_dense",
    "ffn.out": "feed_forward.output_dense",
}


class MertConfig(BackboneConfig):
    """``weights``: ``etude-nano`` (comes with etude), ``m-a-p/MERT-v1-95M``, ``m-a-p/MERT-v1-330M``, a folder of the same
    format, ``random:tiny|nano|95M|330M``."""

    normalize: bool = True
    """Zero-mean, unit-variance waveform per window, over its real samples only; to be chosen where the ``do_normalize`` of the
    weights' ``preprocessor_config.json`` is not this default."""


class Mert(Backbone):
    """State ``i`` is ``hidden_states[i]`` of transformers, the last one ``last_hidden_state``: in the 330M layout that is after
    the final norm, as in the original, which newer releases of transformers leave out of ``hidden_states[-1]``.

    Two options of the original, which no released checkpoint uses, are not HuBERT's: ``deepnorm`` (Wang et al., "DeepNet",
    2022) makes the residuals ``(2 * blocks) ** .25`` times as large, ``feature_extractor_cqt`` puts a constant-Q transform
    beside the output of the convolutions.
    """

    Config: ClassVar[type[BackboneConfig]] = MertConfig
    model: HubertModel

    def __init__(self, config: MertConfig) -> None:
        super().__init__(config)
        self.id, self.revision, self.normalize = config.weights, None, config.normalize
        size = random_size(config.weights, SIZES)
        if size:
            self.sample_rate = 24000
            with seeded():
                self.model = HubertModel(hubert_config(SIZES[size]))
        else:
            self.model, self.sample_rate, self.revision = _load(config.weights, config.revision)
            _check_normalisation(config)
        shape = self.model.config
        hop = math.prod(shape.conv_stride)
        deepnorm, cqt, bins = (getattr(shape, key, default) for key, default in OPTIONS.items())
        self.residual = (2 * shape.num_hidden_layers) ** 0.25 if deepnorm else None
        self.constant_q = ConstantQ(bins, self.sample_rate) if cqt else None
        self.padding = end_padding(shape.conv_kernel, shape.conv_stride)
        self.frame_rate = self.sample_rate / hop
        self.window_samples = config.frames(self.frame_rate, default=5.0) * hop
        self.hidden_size, self.num_blocks = shape.hidden_size, shape.num_hidden_layers
        self.sites = {
            f"blocks.{index:02d}.{site}": f"encoder.layers.{index}.{path}"
            for index in range(self.num_blocks)
            for site, path in SITES.items()
        }
        self.licence = find_licence(config.weights, self.revision, {"m-a-p": "CC-BY-NC-4.0"})
        self.freeze()

    def prepare(self, audio: Tensor, lengths: Tensor) -> Tensor:
        """Waveforms ``[batch, window_samples]`` -> normalised waveforms with :func:`end_padding`."""
        audio = standardize(audio, lengths) if self.normalize else audio
        return nn.functional.pad(audio, (0, self.padding))

    def embed(self, prepared: Tensor) -> Tensor:
        """Convolutions, projection and positional convolution (and norm, in the 95M layout)."""
        features = self.model.feature_extractor(prepared).transpose(1, 2)
        if self.constant_q is not None:
            features = torch.cat((features, self.constant_q(prepared).mT[:, : features.shape[1]]), dim=-1)
        state: Tensor = self.model.feature_projection(features)
        state = state + self.model.encoder.pos_conv_embed(state)
        return state if self.model.config.do_stable_layer_norm else self.model.encoder.layer_norm(state)

    def block(self, index: int, state: Tensor) -> Tensor:
        """One transformer layer (and, after the last one of the 330M layout, the final norm)."""
        layer = self.model.encoder.layers[index]
        if self.residual is not None:
            state = layer.layer_norm(self.residual * state + layer.attention(state)[0])
            normed: Tensor = layer.final_layer_norm(self.residual * state + layer.feed_forward(state))
            return normed
        output = layer(state)
        state = output[0] if isinstance(output, tuple) else output  # a tuple in transformers 5.5
        final = self.model.config.do_stable_layer_norm and index == self.num_blocks - 1
        return self.model.encoder.layer_norm(state) if final else state


def end_padding(kernels: Sequence[int], strides: Sequence[int]) -> int:
    """Samples to add behind the audio so that n hops of it give exactly n frames: receptive field less hop, 80 for MERT."""
    field = 1 + sum((kernel - 1) * math.prod(strides[:i]) for i, kernel in enumerate(kernels))
    return field - math.prod(strides)


def hubert_config(fields: dict[str, Any], masked: bool = True) -> HubertConfig:
    """A configuration of :class:`HubertModel` without any source of randomness; ``masked``: it holds the mask embedding."""
    return HubertConfig(
        **fields,
        attn_implementation="sdpa",
        conv_pos_batch_norm=False,
        apply_spec_augment=False,
        mask_time_prob=0.05 if masked else 0.0,
        layerdrop=0.0,
        hidden_dropout=0.0,
        activation_dropout=0.0,
        attention_dropout=0.0,
        feat_proj_dropout=0.0,
    )


def _check_normalisation(config: MertConfig) -> None:
    """Raise :class:`UserError` where the weights were trained on audio prepared otherwise, and the recipe leaves it at that."""
    own = load_preprocessor(config.weights, config.revision).get("do_normalize", config.normalize)
    if own != config.normalize and "normalize" not in config.model_fields_set:
        raise UserError(
            f"says do_normalize {json.dumps(own)}, the default here is {json.dumps(config.normalize)}",
            where=f"{config.weights}, preprocessor_config.json",
            fix=f"choose: backbone.normalize={json.dumps(own)}, as the weights were trained, or the default",
        )


def _load(weights: str, revision: str | None) -> tuple[HubertModel, int, str | None]:
    """Model, sample rate in Hz and Hub commit. Raises :class:`UserError`."""
    stored = load_config(weights, revision)
    if stored is None:
        raise UserError("has no config.json", where=weights, fix="copy the one that belongs to these weights into the folder")
    own_rate = load_preprocessor(weights, revision).get("sampling_rate")
    tensors, commit = load_tensors(weights, revision, prefixes=("hubert.", "model.", ""))
    tensors = {_current(name): tensor for name, tensor in tensors.items() if not name.startswith("feature_extractor_cqt.")}
    try:
        with seeded("meta"):
            fields = {key: value for key, value in stored.items() if key in (*CONFIG_KEYS, *OPTIONS)}
            config = hubert_config(fields, masked="masked_spec_embed" in tensors)
            model = HubertModel(config)
            if stored.get("feature_extractor_cqt"):
                channels = config.conv_dim[-1] + stored.get("feature_extractor_cqt_bins", OPTIONS["feature_extractor_cqt_bins"])
                wider = hubert_config({**fields, "conv_dim": [*config.conv_dim[:-1], channels]})
                model.feature_projection = type(model.feature_projection)(wider)
        sample_rate = int(stored.get("sample_rate", own_rate or 24000))
    except Exception as error:  # whichever check of transformers or torch a nonsensical value meets first
        reason = str(error).strip().splitlines()[-1].strip() if str(error) else type(error).__name__
        raise UserError(f"config.json does not describe a HuBERT: {reason}", where=weights, fix="download it again") from None
    if own_rate not in (None, sample_rate):
        what = f"says {own_rate} Hz, config.json {sample_rate} Hz"
        raise UserError(what, where=f"{weights}, preprocessor_config.json", fix="download both again")
    _check_options(config, sample_rate, weights)
    load_into(model, tensors, weights)
    return model, sample_rate, commit


def _check_options(config: HubertConfig, sample_rate: int, weights: str) -> None:
    faults, rate = [], sample_rate / math.prod(config.conv_stride)
    if getattr(config, "deepnorm", False) and config.do_stable_layer_norm:
        faults.append("'deepnorm' and 'do_stable_layer_norm' exclude each other")
    if getattr(config, "feature_extractor_cqt", False) and rate != FRAMES_PER_SECOND:
        faults.append(f"'feature_extractor_cqt' has {FRAMES_PER_SECOND} frames per second, the convolutions have {rate:g}")
    if faults:
        raise UserError([Problem(fault, f"{weights}, config.json", "use a released MERT v1 model") for fault in faults])


def _current(name: str) -> str:
    """Names of weight-normalised tensors as torch >= 2 writes them."""
    if not name.startswith("encoder.pos_conv_embed."):
        return name
    return name.replace(".weight_g", ".parametrizations.weight.original0").replace(
        ".weight_v", ".parametrizations.weight.original1"
    )
