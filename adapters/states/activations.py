"""From windows of one recording to the activations of every head over the whole recording."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from etude.adapters.backbones import Backbone
from etude.adapters.heads import Activations, Head
from etude.adapters.model.adapted import AdaptedModel
from etude.adapters.sound.audio import AudioInfo
from etude.adapters.sound.windows import Window, stitch

StateSource = Callable[[Sequence[int]], Tensor]
"""Positions in a list of windows -> their frozen states ``[windows, stored layers, frames, hidden]``."""


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


@torch.no_grad()
def track_activations(
    model: AdaptedModel, windows: Sequence[Window], frames: int, states: StateSource, batch_size: int
) -> dict[str, Activations]:
    """Activations by head of one recording cut into ``windows``; half precision, because whole data sets of them are kept."""
    model.eval()
    pieces: dict[str, dict[str, list[NDArray[np.float16]]]] = {name: {} for name in model.heads}
    for first in range(0, len(windows), batch_size):
        logits = model(states(range(first, min(first + batch_size, len(windows)))).to(model.device))
        for name, head in model.heads.items():
            assert isinstance(head, Head)
            for output, values in head.activations(logits[name]).items():
                pieces[name].setdefault(output, []).extend(values.half().cpu().numpy())
    return {
        name: {output: stitch(zip(windows, parts, strict=True), frames) for output, parts in outputs.items()}
        for name, outputs in pieces.items()
    }
