"""How salient every pitch is in every moment of a recording of one voice, and the pitch of a note; nothing here is trained.

SWIPE' (Camacho and Harris, "A sawtooth waveform inspired pitch estimator for speech and music", JASA 2008): the spectrum is
compared with that of a sawtooth of each pitch, of which only the first and the prime harmonics are kept, so that a pitch an
octave or a twelfth too low fits less well. Two changes: magnitudes are compressed to their cube root, Stevens's law of
loudness, rather than the square root, so that resonances outweigh a weak string less; and the frequency scale is linear.
"""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

LOWEST, HIGHEST = 21, 109
"""MIDI pitches of the first bin and of the last."""
PER_SEMITONE = 5
BINS = (HIGHEST - LOWEST) * PER_SEMITONE + 1
PERIODS = 8
"""Of a pitch in the window that it is read with."""
SHORTEST_SECONDS = 0.01
"""Of a window."""
HIGHEST_HZ = 8000.0
"""What is above is mostly noise."""
COMPRESSION = 1 / 3
SHARPENING = 3
"""Power of the similarity: clear frames count more than many noisy ones."""
FLOOR = 1e-4**COMPRESSION
"""Compressed amplitude, 1 being that of a full-scale sine, below which a spectrum counts for less and less."""
RISE_SECONDS = 0.06
"""After its onset a note counts most: the attack is noise, and a string may be bent afterwards."""
LATE = 0.03
"""What later frames count at least, relative to that."""
UNPITCHED = 0.09
"""Confidence that white noise of a third of a second or more does not reach."""


def pitch_salience(audio: Tensor, rate: int, frames: int, frame_rate: float) -> Tensor:
    """Waveforms ``[batch, samples]`` at ``rate`` Hz -> salience ``[batch, frames, BINS]`` in 0..1, float32.

    Bin ``b`` is the MIDI pitch ``LOWEST + b / PER_SEMITONE``. Frame ``k`` is centred on ``k / frame_rate`` seconds; around the
    recording is silence, whose salience is 0. Windows are 10 to 350 ms long, the longer the lower the pitch. The salience is
    the cube of the similarity to a sawtooth: a sum over frames is dominated by the clear ones, whatever the level.
    """
    audio = audio.float()
    centres = torch.arange(frames, dtype=torch.float64).mul(rate / frame_rate).round().long().to(audio.device)
    similarity = audio.new_zeros(len(audio), frames, BINS)
    for size, first, kernel in _kernels(rate):
        kernel = kernel.to(audio.device)
        padding = max(size, int(frames * rate / frame_rate) + size - audio.shape[-1])
        pieces = torch.nn.functional.pad(audio, (size // 2, padding)).unfold(-1, size, 1)[:, centres]
        window = torch.hann_window(size, device=audio.device)
        found = torch.view_as_real(torch.fft.rfft(pieces * (window * 2 / window.sum()))[..., : len(kernel)])
        spectrum = found.square().sum(-1) ** (COMPRESSION / 2)
        fit = spectrum @ kernel / (torch.linalg.vector_norm(spectrum, dim=-1, keepdim=True) + FLOOR)
        similarity[..., first : first + kernel.shape[1]] += fit
    return similarity.clamp(0, 1) ** SHARPENING


def note_pitch(salience: NDArray[np.floating], frame_rate: float) -> tuple[float, float] | None:
    """The frames of one note, from its onset on, ``[frames, BINS]`` -> fractional MIDI pitch, and confidence in 0..1.

    ``None`` without a pitch: noise, a muffled thud, silence. Of a note whose pitch moves it is the one that it begins with. The
    confidence is the similarity to a sawtooth, about .3 for a clear note.
    """
    time = (np.arange(len(salience)) + 0.5) / frame_rate / RISE_SECONDS
    weights = np.maximum(time * np.exp(1 - time), np.where(time > 1, LATE, 0.0))
    evidence = weights / weights.sum() @ salience.astype(np.float64)
    best = int(evidence.argmax())
    confidence = float(evidence[best] ** (1 / SHARPENING))
    if confidence <= UNPITCHED:
        return None
    shift = 0.0
    if 0 < best < BINS - 1:
        before, peak, after = evidence[best - 1 : best + 2]
        shift = float((before - after) / (2 * (before - 2 * peak + after))) if before + after < 2 * peak else 0.0
    return LOWEST + (best + shift) / PER_SEMITONE, confidence


@lru_cache(maxsize=4)
def _kernels(rate: int) -> tuple[tuple[int, int, Tensor], ...]:
    """Windows in samples, the first bin that each serves, and its kernels ``[frequencies, bins]``.

    The best window of a pitch is seldom a power of two, so it is read with the next two, weighted by how near they are.
    """
    pitches = 440 * 2 ** ((LOWEST + torch.arange(BINS, dtype=torch.float64) / PER_SEMITONE - 69) / 12)
    shortest = math.ceil(math.log2(SHORTEST_SECONDS * rate))
    exponents = (PERIODS * rate / pitches).log2().clamp(min=shortest)
    kernels = []
    for exponent in range(shortest, math.ceil(float(exponents.max())) + 1):
        share = (1 - (exponents - exponent).abs()).clamp(min=0)
        used = share.nonzero()[:, 0]
        first, last = int(used[0]), int(used[-1]) + 1
        size = 2**exponent
        frequencies = torch.arange(min(size // 2, int(HIGHEST_HZ * size / rate)) + 1, dtype=torch.float64) * rate / size
        kernel = _sawtooth(frequencies[:, None] / pitches[first:last]) / frequencies[:, None].clamp(min=1).sqrt()
        norm = kernel.clamp(min=0).norm(dim=0)
        # Wholly normalised, high pitches would gain by the harmonics that are out of range, and a sine be read too high.
        kernel = kernel / (norm * norm.max()).sqrt()
        kernels.append((size, first, (kernel * share[first:last]).float()))
    return tuple(kernels)


def _sawtooth(ratio: Tensor) -> Tensor:
    """Frequency over pitch -> lobes at the first and the prime harmonics, and negative ones of half the height around them."""
    highest = int(ratio.max()) + 1
    harmonics = [1] + [n for n in range(2, highest + 1) if all(n % divisor for divisor in range(2, math.isqrt(n) + 1))]
    wave = torch.cos(2 * math.pi * ratio)
    kernel = torch.zeros_like(ratio)
    for harmonic in harmonics:
        away = (ratio - harmonic).abs()
        kernel += torch.where(away < 0.25, wave, torch.where(away < 0.75, wave / 2, 0.0))
    return kernel
