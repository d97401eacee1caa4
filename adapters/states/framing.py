"""Recordings in a backbone's frames and windows."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from etude.adapters.backbones import Backbone
from etude.adapters.sound.audio import AudioInfo


def frames_of(backbone: Backbone, info: AudioInfo) -> int:
    """Number of whole frames in a recording, at least one."""
    return max(1, int(info.samples_at(backbone.sample_rate) * backbone.frame_rate / backbone.sample_rate))


def overlap_frames(backbone: Backbone, seconds: float) -> int:
    """Frames that neighbouring windows share: ``seconds``, but at most half a window, or a recording would take for ever."""
    return min(round(seconds * backbone.frame_rate), backbone.frames_per_window // 2)


def hop_samples(backbone: Backbone) -> int:
    """Samples from one frame to the next."""
    return round(backbone.sample_rate / backbone.frame_rate)


def audio_batch(backbone: Backbone, waveforms: Sequence[NDArray[np.float32]]) -> tuple[Tensor, Tensor]:
    """Waveforms of at most one window each -> ``[batch, window_samples]`` padded with zeros, and their lengths ``[batch]``."""
    audio = torch.zeros(len(waveforms), backbone.window_samples)
    for row, waveform in zip(audio, waveforms, strict=True):
        row[: len(waveform)] = torch.from_numpy(waveform)
    return audio, torch.tensor([len(waveform) for waveform in waveforms])
