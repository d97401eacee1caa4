"""What a backbone predicts while it is pretrained: linear layers on its states, and their losses.

None of this is part of the backbone that is kept.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers.audio_utils import mel_filter_bank

from etude.adapters.pretraining.timbre import DESCRIPTORS
from etude.adapters.recipe.pretraining import PretrainRecipe, TargetConfig

BANDS = 64
FFT = 1024
WINDOW = 720
"""Samples of the Hann window in the middle of it: at 24 kHz 30 ms, what one state of the convolutions hears."""
FLOOR = 1e-6
"""Mel power under which a band counts as silent, of a signal of variance 1."""
OFFSETS = (-9, -5, -2, 0, 2, 5, 9, 15)
"""Frames whose bands are the target ``context``."""
RARE = -4.0
"""Bias of rare binary targets at the start, so that the first steps are not spent on learning that they are rare."""

Targets = dict[str, Tensor]
"""The fields of :class:`~etude.adapters.pretraining.clips.Clips` but the audio, each ``[batch, frames, classes]``."""


class Objectives(nn.Module):
    """The losses that a recipe weighs, each a mean over the frames that it is known for."""

    def __init__(self, recipe: PretrainRecipe, instruments: int, techniques: int, pitches: int) -> None:
        super().__init__()
        self.smoothing = recipe.train.label_smoothing
        self.hop = math.prod(recipe.shape.conv_stride)
        sizes = {"instrument": instruments, "technique": techniques, "pitch": pitches, "onset": 1, "spectrum": BANDS}
        sizes |= {"context": BANDS * len(OFFSETS), "timbre": len(DESCRIPTORS), "motion": 2}
        self.targets: dict[str, TargetConfig] = {
            name: target for name in sizes if (target := getattr(recipe.targets, name)) is not None
        }
        width = recipe.shape.hidden_size
        self.norm = nn.LayerNorm(width, elementwise_affine=False)
        self.layers = nn.ModuleDict({name: nn.Linear(width, sizes[name]) for name in self.targets})
        for name in ("pitch", "onset"):
            if name in self.layers:
                nn.init.constant_(cast(nn.Linear, self.layers[name]).bias, RARE)
        bank = mel_filter_bank(FFT // 2 + 1, BANDS, 20.0, recipe.shape.sample_rate / 2, recipe.shape.sample_rate, "slaney")
        self.filters: Tensor
        self.register_buffer("filters", torch.from_numpy(bank).float(), persistent=False)

    def forward(self, states: Sequence[Tensor], audio: Tensor, truth: Targets) -> dict[str, Tensor]:
        """Weighted losses by name, each a scalar.

        Of all states ``[batch, frames, hidden]``, the clips ``[batch, samples]`` that gave them and what is true of those.
        """
        losses: dict[str, Tensor] = {}
        bands = self.spectrum(audio)
        for name, target in self.targets.items():
            output = self.layers[name](self.norm(states[-1 if target.layer is None else target.layer]))
            if name == "spectrum":
                value = F.mse_loss(output, bands)
            elif name == "context":
                value = F.mse_loss(output, around(bands))
            elif name in ("timbre", "motion"):
                each = (output - truth[name]).square().mean(-1, keepdim=True)
                value = _mean(each, truth[f"{name}_mask"])
            elif name in ("instrument", "technique"):
                value = soft_cross_entropy(output, truth[name], self.smoothing if name == "instrument" else 0.0)
            else:
                mask = truth["pitch_mask"] if name == "pitch" else torch.ones_like(truth["onset"])
                each = F.binary_cross_entropy_with_logits(output, truth[name], reduction="none").sum(-1, keepdim=True)
                value = _mean(each, mask)
            losses[name] = target.weight * value
        return losses

    def spectrum(self, audio: Tensor) -> Tensor:
        """Log-mel bands ``[batch, frames, 64]`` of ``[batch, samples]``, frame ``k`` from sample ``k * hop`` on.

        Power on the HTK mel scale with Slaney's normalisation; of about unit variance.
        """
        padded = F.pad(audio, (0, FFT - self.hop))
        window = torch.hann_window(WINDOW, device=audio.device)
        frames = torch.stft(padded, FFT, self.hop, WINDOW, window, center=False, return_complex=True)
        bands = (frames.abs().square().transpose(1, 2) / FFT) @ self.filters
        return ((bands + FLOOR).log() + 8) / 4


def around(bands: Tensor) -> Tensor:
    """Bands ``[batch, frames, 64]`` -> those of the frames at :data:`OFFSETS`, ``[batch, frames, 512]``, the edges repeated."""
    count = bands.shape[1]
    index = torch.arange(count, device=bands.device)[:, None] + torch.tensor(OFFSETS, device=bands.device)
    return bands[:, index.clamp(0, count - 1)].flatten(2)


def _mean(each: Tensor, mask: Tensor) -> Tensor:
    """Mean of the frames ``[batch, frames, 1]`` whose mask is 1; 0 when there is none."""
    return (each * mask).sum() / mask.sum().clamp(min=1)


def soft_cross_entropy(logits: Tensor, targets: Tensor, smoothing: float = 0.0) -> Tensor:
    """Cross-entropy with soft labels, mean over frames weighted by the sum of their targets; 0 where none is known.

    Both ``[batch, frames, classes]``.
    """
    known = targets.sum(-1, keepdim=True)
    smooth = targets * (1 - smoothing) + known * (smoothing / targets.shape[-1])
    return -(smooth * logits.log_softmax(-1)).sum() / known.sum().clamp(min=1.0)
