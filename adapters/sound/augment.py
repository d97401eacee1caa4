"""Waveform augmentations that keep every label valid: nothing moves in time or in pitch.

A window has a fixed number of *views*, view 0 the clean one, because the frozen states of a view are computed once and stored.
The effects stand for another room, microphone and recorder, and come in their order: room, equalizer, tilt and low-pass, then
noise, then gain.
"""

from __future__ import annotations

import hashlib
from typing import Annotated, Any, Self

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from pydantic import AfterValidator, Field, model_validator

from etude.adapters.config import StrictModel
from etude.adapters.sound import filters

PRESETS: dict[str, dict[str, Any]] = {
    "rooms": {
        **{"views": 3, "equalizer_db": 5, "tilt_db": [-3, 3], "lowpass_hz": [2500, 11000]},
        **{"room_seconds": [0.1, 0.6], "room_db": [-25, -6], "probability": 0.5, "noise_db": [20, 60]},
    }
}
"""Fields by the word that may be written in their place."""
EFFECTS = ("noise_db", "gain_db", "tilt_db", "lowpass_hz", "equalizer_db", "room_seconds")


def _ordered(limits: tuple[float, float]) -> tuple[float, float]:
    low, high = limits
    if low > high:
        raise ValueError(f"should be [lowest, highest], got [{low:g}, {high:g}]; swap them")
    return limits


Decibels = Annotated[float, Field(ge=-100, le=100)]
Slope = Annotated[float, Field(ge=-12, le=12)]
Hertz = Annotated[float, Field(ge=filters.LOWEST_HZ)]
Reverberation = Annotated[float, Field(ge=0.05, le=10)]


class AugmentConfig(StrictModel):
    """Which effects the views other than the clean one have; a range is what the amount of an effect is drawn from uniformly.

    The word ``rooms`` in place of the section stands for ``views: 3`` that sound as if recorded elsewhere: ``equalizer_db: 5``,
    ``tilt_db: [-3, 3]``, ``lowpass_hz: [2500, 11000]``, ``room_seconds: [0.1, 0.6]``, ``room_db: [-25, -6]``,
    ``probability: 0.5`` and ``noise_db: [20, 60]``.
    """

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

    equalizer_db: Annotated[float, Field(gt=0, le=12)] | None = None
    """Standard deviation in dB of the gains of an equalizer at 4 to 8 frequencies, evenly from 30 Hz to half the sample rate in
    octaves; ``5`` is another instrument of the kind, or another place of the microphone."""
    room_seconds: Annotated[tuple[Reverberation, Reverberation], AfterValidator(_ordered)] | None = None
    """Reverberation time (RT60) of a room in seconds, 3 ms after the direct sound, which stays as it is."""
    room_db: Annotated[tuple[Decibels, Decibels], AfterValidator(_ordered)] | None = None
    """Level of the reverberation in dB, relative to the direct sound."""
    probability: float = Field(1.0, gt=0, le=1)
    """Of a view to have the low-pass, and of a view to have the room; the other effects, if named, are in every view."""

    @model_validator(mode="before")
    @classmethod
    def _by_its_word(cls, value: Any) -> Any:
        if not isinstance(value, str):
            return value
        if value not in PRESETS:
            raise ValueError(f"should be a section of 'key: value' lines or the word {' or '.join(PRESETS)}, got {value!r}")
        return PRESETS[value]

    @model_validator(mode="after")
    def _views_have_effects(self) -> Self:
        named = any(getattr(self, name) is not None for name in EFFECTS)
        if (self.room_seconds is None) != (self.room_db is None):
            raise ValueError("a room needs room_seconds and room_db: name both, or neither")
        if self.probability < 1 and not (self.lowpass_hz or self.room_seconds):
            raise ValueError("probability is that of lowpass_hz and of room_seconds: name one of them, or leave it out")
        if self.views > 1 and not named:
            raise ValueError(f"views needs an effect: name {', '.join(EFFECTS[:-1])} or {EFFECTS[-1]}, or set views to 1")
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
    generator = _generator(key, view)
    noise_at, gain_at, tilt_at, lowpass_at = generator.uniform(size=4)
    responses: list[filters.Response] = []
    impulses: list[NDArray[np.float64]] = []
    if config.room_seconds and config.room_db:
        own = _generator(key, view, "room")
        there, seconds_at, level_at = own.uniform(size=3)
        if there < config.probability:
            seconds, level = _between(config.room_seconds, seconds_at), _between(config.room_db, level_at)
            impulses.append(filters.room(own, seconds, level, sample_rate))
    if config.equalizer_db:
        curve = filters.random_curve(_generator(key, view, "equalizer"), config.equalizer_db, sample_rate)
        impulses.append(filters.equalizer(*curve, sample_rate))
    if config.tilt_db:
        responses.append(filters.tilt(_between(config.tilt_db, tilt_at)))
    if config.lowpass_hz and _generator(key, view, "lowpass").uniform() < config.probability:
        responses.append(filters.lowpass(np.exp(_between(np.log(config.lowpass_hz), lowpass_at))))
    wave = filters.filtered(audio.astype(np.float64), sample_rate, responses, impulses)
    if config.noise_db:
        noise = generator.standard_normal(len(wave))
        power = np.mean(wave**2) / 10 ** (_between(config.noise_db, noise_at) / 10)
        wave = wave + noise * np.sqrt(power / np.mean(noise**2))
    if config.gain_db:
        wave = wave * 10 ** (_between(config.gain_db, gain_at) / 20)
    return wave.astype(np.float32)


def _generator(key: str, view: int, *effect: str) -> Generator:
    """What an effect, or all the earlier ones, draw from: a new effect leaves the amounts of the others as they are."""
    seed = hashlib.sha256(repr((key, view, *effect)).encode()).digest()
    return np.random.default_rng(int.from_bytes(seed))


def _between(limits: tuple[float, float] | NDArray[np.float64], share: float) -> float:
    low, high = limits
    return float(low + share * (high - low))
