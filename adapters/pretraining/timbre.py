"""What a single note sounds like in a few numbers, after Peeters et al., "The Timbre Toolbox" (JASA 2011).

They tell apart how a note was played where its instrument's name does not, whatever its pitch, and need no labels.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

DESCRIPTORS = (
    *("attack time", "decay", "sustain level"),
    *("attack centroid", "attack flatness", "attack roll-off", "sustain centroid", "sustain flatness"),
)
HOP_SECONDS = 0.005
ATTACK_SECONDS = 0.05
SUSTAIN_SECONDS = (0.1, 0.3)
DECAY_SECONDS = 0.3
FLOOR_DB = -60.0
ROLL_OFF = 0.85
"""Share of the energy below the roll-off frequency."""
LOWEST_HZ = 40.0
CENTRES = np.array([-1.25, 1.8, -2.2, 9.1, -34.0, 9.5, 8.95, -38.0], np.float32)
SCALES = np.array([0.63, 0.6, 10.0, 1.5, 10.7, 1.65, 1.5, 9.7], np.float32)
"""Subtracted and divided by, so that every number is about standard normal over the notes of SoundFonts."""


def describe(samples: NDArray[np.float32], sample_rate: int) -> NDArray[np.float32]:
    """A note ``[samples]``, silence-trimmed, not all 0 -> :data:`DESCRIPTORS`, centred and scaled, within -3 to 3.

    Attack time in log10 seconds to the loudest 5 ms; decay after that in log10 dB per second; level of the sustain (.1-.3 s)
    against the attack (.05 s) in dB; centroids and roll-off in log2 Hz; flatness in dB.
    """
    hop = round(HOP_SECONDS * sample_rate)
    samples = np.pad(samples, (0, max(0, hop - len(samples))))
    frames = np.pad(samples, (0, -len(samples) % hop)).reshape(-1, hop)
    power = np.einsum("ij,ij->i", frames, frames) / np.float32(hop)
    level = 10 * np.log10(power / power.max() + 10 ** (FLOOR_DB / 10))
    peak = int(level.argmax())
    after = level[peak : peak + round(DECAY_SECONDS / HOP_SECONDS) + 1]
    decay = np.log10(max(1.0, (after[0] - after[-1]) / max((len(after) - 1) * HOP_SECONDS, HOP_SECONDS)))
    attack = samples[: round(ATTACK_SECONDS * sample_rate)]
    sustain = samples[slice(*(round(seconds * sample_rate) for seconds in SUSTAIN_SECONDS))]
    if len(sustain) < len(attack):  # a note too short to have one: its end
        sustain = samples[-len(attack) :]
    energies = [float(np.mean(np.square(part))) + 1e-12 for part in (attack, sustain)]
    values = [
        np.log10((peak + 1) * HOP_SECONDS),
        decay,
        10 * np.log10(energies[1] / energies[0]),
        *_spectral(attack, sample_rate),
    ]
    centroid, flatness, _ = _spectral(sustain, sample_rate)
    scaled = (np.array([*values, centroid, flatness], np.float32) - CENTRES) / SCALES
    clipped: NDArray[np.float32] = np.clip(scaled, -3, 3)
    return clipped


def _spectral(samples: NDArray[np.float32], sample_rate: int) -> tuple[float, float, float]:
    """Centroid (log2 Hz), flatness (dB) and roll-off (log2 Hz) of the power spectrum."""
    power = np.square(np.abs(np.fft.rfft(samples * np.hanning(len(samples)), 1 << (len(samples) - 1).bit_length())))
    frequencies = np.fft.rfftfreq(2 * (len(power) - 1), 1 / sample_rate)
    power, frequencies = power[frequencies >= LOWEST_HZ], frequencies[frequencies >= LOWEST_HZ]
    power = power + power.max() * 1e-8 + 1e-20
    total = power.sum()
    flatness = 10 * (np.log10(power).mean() - np.log10(power.mean()))
    roll_off = frequencies[np.searchsorted(np.cumsum(power), ROLL_OFF * total)]
    return float(np.log2((power * frequencies).sum() / total)), float(flatness), float(np.log2(roll_off))
