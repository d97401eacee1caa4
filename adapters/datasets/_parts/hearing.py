"""What a recording sounds like, found by decoding it once, a block at a time."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from etude.adapters.sound.audio import AudioInfo, read_blocks
from etude.adapters.sound.onset_strength import OnsetStrength

BLOCK_HOPS = 2000
"""About 10 s."""
SILENCE = 10 ** (-90 / 20)
"""-90 dBFS; the lowest step of 16 bits is just below."""
FULL_SCALE = 1 - 2**-15
"""The highest sample that 16 bits hold."""
CLIPPED_SECONDS = 0.00015
"""In a row at full scale; the lowest tone of a piano, normalised, is there for 0.11 ms where it peaks."""


@dataclass(frozen=True, slots=True)
class Heard:
    """What is told by hop has one value every ``hop`` seconds."""

    level: float
    """RMS over all channels in dB, 0 being all samples at full scale; -inf for nothing but zeros."""
    mixdown: float
    """Level of the mean of the channels above :attr:`level`, dB: 0 for equal ones, -inf for opposite ones."""
    clipped: tuple[float, ...]
    """When runs of :data:`CLIPPED_SECONDS` or more at full scale begin, seconds."""
    hop: float
    silent: NDArray[np.bool_]
    """Whether what follows is digital silence, ``[hops]``."""
    strength: NDArray[np.float32]
    """Onset strength, ``[hops]``."""


def hear(audio: Path, info: AudioInfo) -> Heard:
    """Decode a recording. Raises :class:`UserError` for a truncated file and for samples that are not finite."""
    onsets = OnsetStrength(info.sample_rate)
    mean = np.full(info.channels, 1 / info.channels, np.float32)
    energy = mixed = 0.0
    frames, clipped, peaks, strength = 0, list[float](), [], []
    for block in read_blocks(audio, BLOCK_HOPS * onsets.hop, info):
        mono = block @ mean
        energy += float(np.vdot(block, block)) / info.channels
        mixed += float(np.vdot(mono, mono))
        strength.append(onsets.read(mono))
        size = np.abs(block)
        whole = np.pad(size, ((0, -len(size) % onsets.hop), (0, 0)))
        peaks.append(whole.reshape(-1, onsets.hop * info.channels).max(axis=1))
        if size.max(initial=0.0) >= FULL_SCALE:
            runs = _runs(size >= FULL_SCALE, max(3, math.ceil(CLIPPED_SECONDS * info.sample_rate)))
            clipped += ((frames + runs) / info.sample_rate).tolist()
        frames += len(block)
    return Heard(
        level=_db(energy / max(1, frames)),
        mixdown=_db(mixed / energy) if energy else 0.0,
        clipped=tuple(clipped),
        hop=onsets.hop / info.sample_rate,
        silent=np.concatenate(peaks) <= SILENCE,
        strength=np.concatenate([*strength, onsets.end()]),
    )


def _runs(full: NDArray[np.bool_], shortest: int) -> NDArray[np.intp]:
    """Where runs of at least ``shortest`` frames begin in any channel of ``[frames, channels]``, sorted."""
    edges = np.diff(full.astype(np.int8), axis=0, prepend=0, append=0)
    begins, ends = (np.argwhere(sign == edges.T) for sign in (1, -1))  # both sorted by channel, then by frame
    return np.sort(begins[ends[:, 1] - begins[:, 1] >= shortest, 1])


def _db(power: float) -> float:
    return 10 * math.log10(power) if power > 0 else -math.inf
