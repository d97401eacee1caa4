"""What heads may hear beside a backbone's states: descriptors of the waveform itself, one for each of the backbone's frames."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import cache
from typing import NamedTuple

import torch
from torch import Tensor
from transformers.audio_utils import mel_filter_bank

from etude.adapters.sound.pitch_salience import BINS, pitch_salience

BANDS = 80
LOWEST_HZ = 30.0
HIGHEST_HZ = 11_000.0
"""Or nearly half the sample rate, where that is lower."""
SPAN_SECONDS = 0.043
"""Of a frame's window: partials of a bass are told apart, an attack is not blurred."""
FLOOR = 1e-9
"""Power, 1 being that of a full-scale sine."""


class Descriptor(NamedTuple):
    """How many numbers a frame has, and ``compute(audio [batch, samples], rate in Hz, frames, frames per second)`` ->
    ``[batch, frames, width]``; frame ``k`` is centred at ``k`` / (frames per second), and what lies outside is silence."""

    width: int
    compute: Callable[[Tensor, int, int, float], Tensor]


def log_mel(audio: Tensor, rate: int, frames: int, frame_rate: float) -> Tensor:
    """Natural logarithm of the power in :data:`BANDS` Slaney mel bands; see :class:`Descriptor` for shapes."""
    bank, window = _bank(rate)
    size = len(window)
    padded = torch.nn.functional.pad(audio.float(), (size // 2, size))
    starts = (torch.arange(frames, dtype=torch.float64) * (rate / frame_rate)).round().long().clamp(max=padded.shape[-1] - size)
    cut = padded.unfold(-1, size, 1)[:, starts.to(audio.device)] * window.to(audio.device)
    power = torch.fft.rfft(cut).abs().square()
    mel: Tensor = torch.log(power @ bank.to(audio.device) + FLOOR)
    return mel


@cache
def _bank(rate: int) -> tuple[Tensor, Tensor]:
    """Filters ``[bins, bands]`` and the window ``[size]`` under which a full-scale sine has the power 1."""
    size = 1 << round(SPAN_SECONDS * rate).bit_length() - 1
    size = 2 * size if SPAN_SECONDS * rate > 1.5 * size else size
    highest = min(HIGHEST_HZ, 0.49 * rate)
    filters = mel_filter_bank(size // 2 + 1, BANDS, LOWEST_HZ, highest, rate, norm=None, mel_scale="slaney")
    window = torch.hann_window(size, periodic=True)
    return torch.from_numpy(filters).float(), 2 * window / window.sum()


SALIENCES = 35.0
"""Per second at least: pitch needs no more, and is the dearest of all to compute."""


def _salience(audio: Tensor, rate: int, frames: int, frame_rate: float) -> Tensor:
    """:func:`pitch_salience` of every so many frames, which stand for those that follow as well."""
    step = max(1, int(frame_rate / SALIENCES))
    found = pitch_salience(audio, rate, -(-frames // step), frame_rate / step)
    return found.repeat_interleave(step, dim=1)[:, :frames]


DESCRIPTORS: dict[str, Descriptor] = {"log_mel": Descriptor(BANDS, log_mel), "salience": Descriptor(BINS, _salience)}
"""By name."""


def describe(names: Iterable[str], audio: Tensor, rate: int, frames: int, frame_rate: float) -> dict[str, Tensor]:
    """Descriptors of waveforms by name; see :class:`Descriptor` for shapes."""
    return {name: DESCRIPTORS[name].compute(audio, rate, frames, frame_rate) for name in names}
