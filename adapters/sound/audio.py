"""Reading windows of audio: any format libsndfile reads, or samples in memory, at any channel count and sample rate.

Of a file, never more than the window is read.

A window is decoded with a small margin, mixed down to mono and resampled with soxr. The margin starts where a source sample and
an output sample coincide, so a window equals the same stretch of the resampled whole to float32 rounding.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile
import soxr
from numpy.typing import NDArray

from etude.adapters.errors import UserError

SUFFIXES = frozenset({".wav", ".flac", ".ogg", ".mp3", ".aif", ".aiff", ".opus", ".w64", ".caf", ".au"})
MARGIN_SECONDS = 0.05
MOST_CHANNELS = 64
"""An array with more is taken for one whose axes are the other way round."""
MP3_TAIL_SECONDS = 0.5
"""By how much the length an MP3 header states may exceed what decodes: it is an estimate; the difference is read as silence."""


@dataclass(frozen=True, slots=True)
class AudioInfo:
    """Length in source frames, source sample rate in Hz, number of channels."""

    frames: int
    sample_rate: int
    channels: int

    @property
    def duration(self) -> float:
        """Seconds."""
        return self.frames / self.sample_rate

    def samples_at(self, sample_rate: int) -> int:
        """Length in samples after resampling to ``sample_rate`` Hz, rounded half up as soxr does."""
        return max(1, (2 * self.frames * sample_rate + self.sample_rate) // (2 * self.sample_rate))


@dataclass(frozen=True, eq=False)
class Samples:
    """A recording in memory: ``values`` ``[samples]`` or ``[samples, channels]`` at ``rate`` Hz.

    ``first`` is the place of the first of them in the recording; what was before it is gone.

    Raises :class:`UserError` for another shape, what is not numbers, and a rate that is not a positive whole number.
    """

    values: NDArray[np.floating]
    rate: int
    first: int = 0

    @property
    def end(self) -> int:
        """Length of the recording so far, in samples."""
        return self.first + len(self.values)

    def __post_init__(self) -> None:
        values = np.asarray(self.values)
        fix = "give [samples] or [samples, channels], as soundfile.read does"
        if values.ndim not in (1, 2) or (values.ndim == 2 and values.shape[1] > MOST_CHANNELS):
            raise UserError(f"an array of shape {list(values.shape)} is no recording", where="audio", fix=fix)
        if not np.issubdtype(values.dtype, np.floating):
            fix = "scale it to floating-point numbers between -1 and 1"
            raise UserError(f"an array of {values.dtype} is no recording", where="audio", fix=fix)
        if self.rate != int(self.rate) or self.rate <= 0:
            raise UserError(f"{self.rate!r} is no sample rate", where="rate", fix="give it in Hz, 44100 say")
        object.__setattr__(self, "values", values if values.ndim == 2 else values[:, None])
        object.__setattr__(self, "rate", int(self.rate))

    def __str__(self) -> str:
        return "audio"


Source = Path | Samples
"""A recording in a file, or in memory."""


def probe(source: Source) -> AudioInfo:
    """Read the header. Raises :class:`UserError` for a missing, unreadable or empty recording."""
    if isinstance(source, Samples):
        if not source.end:
            raise UserError("holds no audio", where=str(source), fix="give at least one sample")
        return AudioInfo(source.end, source.rate, source.values.shape[1])
    path = source
    try:
        with path.open("rb"):
            pass
        info = soundfile.info(str(path))
    except (FileNotFoundError, ValueError):  # ValueError: a NUL in the path
        raise UserError("no such audio file", where=str(path), fix="check the path") from None
    except OSError as error:
        raise UserError(f"cannot be opened: {error.strerror}", where=str(path), fix="check the path") from None
    except (soundfile.LibsndfileError, TypeError) as error:  # TypeError: headerless audio named .raw
        reason = getattr(error, "error_string", "no header").rstrip(".")
        raise UserError(f"cannot be read as audio: {reason}", where=str(path), fix="convert it to WAV or FLAC") from None
    if info.frames <= 0:
        raise UserError("holds no audio", where=str(path), fix="remove it or record it again")
    return AudioInfo(int(info.frames), int(info.samplerate), int(info.channels))


def read_window(source: Source, start: int, count: int, sample_rate: int, info: AudioInfo | None = None) -> NDArray[np.float32]:
    """Samples ``[start, start + count)`` at ``sample_rate`` Hz, mono float32; shorter where the recording ends.

    Raises :class:`UserError` for unreadable audio and for samples that are not finite.
    """
    info = info or probe(source)
    divisor = math.gcd(info.sample_rate, sample_rate)
    step_in, step_out = info.sample_rate // divisor, sample_rate // divisor
    count = max(0, min(count, info.samples_at(sample_rate) - start))
    if count == 0:
        return np.zeros(0, np.float32)
    margin_out = 0 if step_in == step_out else int(MARGIN_SECONDS * sample_rate)
    first_step = max(0, start - margin_out) // step_out
    first_in, first_out = first_step * step_in, first_step * step_out
    last_in = min(info.frames, math.ceil((start + count + margin_out) * step_in / step_out))
    raw = _finite(_frames(source, first_in, last_in, info), source, first_in, info)
    mono = np.pad(raw.mean(axis=1), (0, last_in - first_in - len(raw)))
    if step_in != step_out:
        mono = soxr.resample(mono, info.sample_rate, sample_rate, quality="HQ").astype(np.float32, copy=False)
    window = mono[start - first_out : start - first_out + count]
    if len(window) < count:
        window = np.pad(window, (0, count - len(window)))
    return np.ascontiguousarray(window, dtype=np.float32)


def read_blocks(path: Path, count: int, info: AudioInfo) -> Iterator[NDArray[np.float32]]:
    """The whole recording in blocks ``[frames, channels]`` of ``count`` source frames, the last one perhaps shorter, decoded in
    one go. Raises :class:`UserError` as :func:`read_window` does."""
    with _decoder(path) as file:
        for first in range(0, info.frames, count):
            yield _finite(_decoded(file, path, first, min(first + count, info.frames), info), path, first, info)


def _frames(source: Source, first: int, last: int, info: AudioInfo) -> NDArray[np.float32]:
    """Source frames ``[first, last)`` as ``[frames, channels]``; of an MP3 a few may be missing at its end."""
    if isinstance(source, Samples):
        return source.values[first - source.first : last - source.first].astype(np.float32)
    with _decoder(source) as file:
        file.seek(first)
        return _decoded(file, source, first, last, info)


@contextmanager
def _decoder(path: Path) -> Iterator[soundfile.SoundFile]:
    try:
        with soundfile.SoundFile(str(path)) as file:
            yield file
    except soundfile.LibsndfileError as error:
        raise UserError(
            f"cannot be decoded: {error.error_string.rstrip('.')}", where=str(path), fix="convert it to WAV or FLAC"
        ) from None


def _decoded(file: soundfile.SoundFile, path: Path, first: int, last: int, info: AudioInfo) -> NDArray[np.float32]:
    """Frames ``[first, last)`` of ``file``, which stands at the first of them."""
    raw: NDArray[np.float32] = file.read(last - first, dtype="float32", always_2d=True)
    tail = round(MP3_TAIL_SECONDS * info.sample_rate) if file.format == "MP3" else 0
    if last - first - len(raw) > tail:
        at = (first + len(raw)) / info.sample_rate
        what = f"is truncated: audio ends at {at:.2f} s of {info.duration:.2f} s"
        raise UserError(what, where=str(path), fix="copy or convert it again")
    return raw


def _finite(raw: NDArray[np.float32], source: Source, first: int, info: AudioInfo) -> NDArray[np.float32]:
    if not np.isfinite(raw).all():
        at = (first + int(np.argmin(np.isfinite(raw).all(axis=1)))) / info.sample_rate
        raise UserError(f"holds NaN or infinite samples at {at:.2f} s", where=str(source), fix="export the recording again")
    return raw
