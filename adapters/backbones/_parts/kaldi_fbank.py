"""Kaldi's log-mel filterbank on batches: what ``torchaudio.compliance.kaldi.fbank`` computes (Hanning window, no dither, no
energy), as the Audio Spectrogram Transformer was trained on. 16 kHz only; differentiable.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

SAMPLE_RATE = 16000
FRAME, HOP, FFT = 400, 160, 512  # samples: 25 ms, 10 ms and the next power of two
PRE_EMPHASIS = 0.97
LOWEST, HIGHEST = 20.0, 8000.0  # Hz
BANDS, GROUPS = 128, 8  # GROUPS of bands are multiplied together
MEAN, DEVIATION = -4.2677393, 4.5689974  # of the log-mel of AudioSet, as AST was trained on it
FLOOR = 1.192092955078125e-07
"""Least power under the logarithm, float32's epsilon: silence is ``log(FLOOR)``, -15.94."""


class KaldiFilterbank(nn.Module):
    """Waveforms ``[..., samples]`` at 16 kHz, of at least 400 samples -> log-mel ``[..., bands, frames]``.

    Frame ``i`` is samples ``160 i .. 160 i + 399``: a frame that the waveform does not fill is left out ("snip edges").
    """

    mel_filters: Tensor
    window: Tensor

    def __init__(self, bands: int = BANDS) -> None:
        super().__init__()
        filters = mel_filters(bands).float()
        self.register_buffer("mel_filters", filters, persistent=False)
        # A band hears few of the bins: multiplied in groups, most of the zeros are left out.
        groups = [group.any(dim=0).nonzero().flatten() for group in filters.chunk(GROUPS)]
        self.bins = [(int(found[0]), int(found[-1]) + 1) for found in groups]
        """First and last bin of the FFT, exclusive, of each group of bands."""
        # As long as the FFT: what is behind a frame is multiplied by 0, which saves the FFT copying frames to pad them.
        window = nn.functional.pad(torch.hann_window(FRAME, periodic=False)[1:], (0, FFT - FRAME + 1))
        self.register_buffer("window", window, persistent=False)

    def forward(self, audio: Tensor) -> Tensor:
        """``[..., samples]`` -> natural logarithm of the power in each band, ``[..., bands, frames]``."""
        # Half precision would overflow in the power spectrum.
        with torch.autocast(audio.device.type, enabled=False):
            audio = audio.to(self.window.dtype)
            # Kaldi takes each frame's mean off before pre-emphasis. Both are linear, so the whole waveform is emphasised once
            # and what this leaves of the mean is taken off afterwards. Only the first sample of a frame, which has none before
            # it, would differ; the window is 0 there, so it is left out.
            emphasised = audio[..., 1:] - PRE_EMPHASIS * audio[..., :-1]
            emphasised = nn.functional.pad(emphasised, (0, FFT - FRAME + 1))
            mean = audio.unfold(-1, FRAME, HOP).mean(-1, keepdim=True)
            # In place where autograd allows it: most of the time goes into memory, not into arithmetic.
            frames = (emphasised.unfold(-1, FFT, HOP) - (1 - PRE_EMPHASIS) * mean).mul_(self.window)
            spectrum = torch.fft.rfft(frames)
            # Not abs() ** 2: its gradient at silence is 0 only by convention.
            power = spectrum.real.square().addcmul_(spectrum.imag, spectrum.imag)
            power = power.transpose(-1, -2)
            filters = zip(self.mel_filters.chunk(GROUPS), self.bins, strict=True)
            energy = [group[:, first:end] @ power[..., first:end, :] for group, (first, end) in filters]
            return torch.cat(energy, dim=-2).clamp_(min=FLOOR).log_()


def as_audioset(log_mel: Tensor) -> Tensor:
    """Log-mel, any shape -> what AST is given: mean 0 and, deliberately, deviation .5 over AudioSet."""
    return (log_mel - MEAN) / (2 * DEVIATION)


def mel_filters(bands: int) -> Tensor:
    """Triangles on Kaldi's mel scale, 1127 ln(1 + f / 700), from 20 to 8000 Hz: ``[bands, 257]`` in double precision.

    They are straight in mel, not in Hz. With 128 bands the lowest are narrower than a bin of the FFT and a few hold none.
    """
    low, high = (1127 * math.log1p(frequency / 700) for frequency in (LOWEST, HIGHEST))
    edges = torch.linspace(low, high, bands + 2, dtype=torch.float64)[:, None]
    bins = 1127 * torch.log1p(torch.arange(FFT // 2 + 1, dtype=torch.float64) * (SAMPLE_RATE / FFT / 700))
    left, centre, right = edges[:-2], edges[1:-1], edges[2:]
    return torch.minimum((bins - left) / (centre - left), (right - bins) / (right - centre)).clamp(min=0)
