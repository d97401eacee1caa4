"""No model at all: a log-mel spectrogram, for heads that are to be compared with the same heads on a pretrained model.

It is AST's (Kaldi's filterbank at 100 Hz, 128 bands, normalised as AudioSet), so that what learns in front of AST learns here.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from etude.adapters.backbones import Backbone, BackboneConfig
from etude.adapters.backbones._parts.kaldi_fbank import BANDS, FRAME, HOP, SAMPLE_RATE, KaldiFilterbank, as_audioset


class LogMelConfig(BackboneConfig):
    """``weights`` are ``none``."""

    example: ClassVar[Mapping[str, Any]] = {}

    weights: Literal["none"] = "none"


class LogMel(Backbone):
    """State 0 is the spectrogram, ``[batch, frames, bands]``; there are no blocks."""

    Config: ClassVar[type[BackboneConfig]] = LogMelConfig

    def __init__(self, config: LogMelConfig) -> None:
        super().__init__(config)
        self.id, self.revision, self.licence = "none", None, "Apache-2.0"
        self.sample_rate, self.frame_rate = SAMPLE_RATE, SAMPLE_RATE / HOP
        self.window_samples = config.frames(self.frame_rate, default=5.0) * HOP
        self.hidden_size, self.num_blocks, self.sites = BANDS, 0, {}
        self.model = KaldiFilterbank()
        self.freeze()

    def prepare(self, audio: Tensor, lengths: Tensor) -> Tensor:
        """Waveforms ``[batch, window_samples]`` -> log-mel ``[batch, bands, frames]``; padding is silence."""
        real = torch.arange(audio.shape[-1], device=audio.device) < lengths.to(audio.device)[:, None]
        log_mel: Tensor = self.model(nn.functional.pad(audio.where(real, 0.0), (0, FRAME - HOP)))
        return as_audioset(log_mel)

    def embed(self, prepared: Tensor) -> Tensor:
        """``[batch, bands, frames]`` -> ``[batch, frames, bands]``."""
        return prepared.mT

    def block(self, index: int, state: Tensor) -> Tensor:
        """There is none."""
        raise IndexError(index)
