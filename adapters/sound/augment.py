"""Waveform augmentations that keep every label valid: nothing moves in time or in pitch.

A window has a fixed number of *views*, view 0 the clean one, because the frozen states of a view are computed once and stored.
The effects stand for another room, microphone and recorder, and come in their order: tilt and low-pass, then noise, then gain.
"""

from __future__ import annotations

import hashlib
from typing import Annotated, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import AfterValidator, Field, model_validator
from scipy.fft import irfft, next_fast_len, rfft, rfftfreq

from etude.adapters.config import StrictModel

LOWEST_HZ = 20.0
"""Below it a tilt is flat: it would raise or remove the mean of the signal without bound."""
TILT_CENTRE_HZ = 1000.0
TAIL_SECONDS = 0.1
"""Silence behind the window for the filters to ring in, not at its start; they fade within tens of ms."""


def _ordered(limits: tuple[float, float]) -> tuple[float, float]:
    low, high = limits
    if low > high:
        raise ValueError(f"should be [lowest, highest], got [{low:g}, {high:g}]; swap them")
    return limits


Decibels = Annotated[float, Field(ge=-100, le=100)]
Slope = Annotated[float, Field(ge=-12, le=12)]
Hertz = Annotated[float, Field(ge=LOWEST_HZ)]


class AugmentConfig(StrictModel):
    """Which effects the views other than the clean one have; each effect is a range that its amount is drawn from uniformly."""

    views: int = Field(1, ge=1)
    """Versions of a window, the clean one included."""
    noise_db: Annotated[tuple[Decibels, Decibels], AfterValidator(_ordered)] | None = None
    """Signal-to-noise ratio of added white noise in dB, over the whole window; ``[10, 40]`` is audible to barely audible."""
    gain_db: Annotated[tuple[Decibels, Decibels], AfterValidator(_ordered)] | None = None
    """Gain in dB. A backbone that standardises its input does not see it."""
    tilt_db: Annotated[tuple[Slope, Slope], AfterValidator(_ordered)] | None = None
    """Spectral tilt around 1 kHz in dB per octave, positive brighter; ``[-3, 3]`` is a change of microphone."""
    lowpass_hz: Annotated[tuple[Hertz, Hertz], AfterValidator(_ordered)] | None = None
    """Cut-off (-3 dB) of a second-order Butterworth low-pass in Hz, drawn log-uniformly; 12 dB per octave above it."""

    @model_validator(mode="after")
    def _views_have_effects(self) -> Self:
        effects = (self.noise_db, self.gain_db, self.tilt_db, self.lowpass_hz)
        named = any(effect is not None for effect in effects)
        if self.views > 1 and not named:
            raise ValueError("views needs an effect: name noise_db, gain_db, tilt_db or lowpass_hz, or set views to 1")
        if self.views == 1 and named:
            raise ValueError("augment has no effect with one view: set views to 2 or more")
        return self


def augment(audio: NDArray[np.float32], sample_rate: int, view: int, key: str, config: AugmentConfig) -> NDArray[np.float32]:
    """A view of a window: ``audio`` ``[samples]`` at ``sample_rate`` Hz, unpadded -> ``[samples]``; view 0 is ``audio`` itself.

    Drawn from ``key``, which identifies the window, and ``view`` alone: the same on every machine, in every run and order.
    An effect's amount does not depend on which other effects there are. Silence stays silence.
    """
    if view == 0 or not audio.size:
        return audio
    seed = hashlib.sha256(repr((key, view)).encode()).digest()
    generator = np.random.default_rng(int.from_bytes(seed))
    noise_at, gain_at, tilt_at, lowpass_at = generator.uniform(size=4)
    wave = audio.astype(np.float64)
    tilt = _between(config.tilt_db, tilt_at) if config.tilt_db else None
    cutoff = np.exp(_between(np.log(config.lowpass_hz), lowpass_at)) if config.lowpass_hz else None
    if tilt is not None or cutoff is not None:
        wave = _filtered(wave, sample_rate, tilt, cutoff)
    if config.noise_db:
        noise = generator.standard_normal(len(wave))
        power = np.mean(wave**2) / 10 ** (_between(config.noise_db, noise_at) / 10)
        wave = wave + noise * np.sqrt(power / np.mean(noise**2))
    if config.gain_db:
        wave = wave * 10 ** (_between(config.gain_db, gain_at) / 20)
    return wave.astype(np.float32)


def _between(limits: tuple[float, float] | NDArray[np.float64], share: float) -> float:
    low, high = limits
    return float(low + share * (high - low))


def _filtered(wave: NDArray[np.float64], sample_rate: int, tilt: float | None, cutoff: float | None) -> NDArray[np.float64]:
    """Apply minimum-phase responses: no zero-phase filter, whose ringing before an attack would blur its onset."""
    size = next_fast_len(len(wave) + round(TAIL_SECONDS * sample_rate), real=True)
    frequency = 1j * rfftfreq(size, 1 / sample_rate)
    response = np.ones(len(frequency), np.complex128)
    if tilt is not None:
        response *= ((LOWEST_HZ + frequency) / TILT_CENTRE_HZ) ** (tilt / (20 * np.log10(2)))
    if cutoff is not None:
        scaled = frequency / cutoff
        response /= 1 + np.sqrt(2) * scaled + scaled**2
    filtered: NDArray[np.float64] = irfft(rfft(wave, size) * response, size)
    return filtered[: len(wave)]
