"""Linear filters that stand for another room or microphone: none sounds before what it filters, nor delays it.

Zero-phase filters would, whose ringing before an attack blurs its onset.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from scipy.fft import irfft, next_fast_len, rfft, rfftfreq

LOWEST_HZ = 20.0
"""Below it a tilt is flat: it would raise or remove the mean of the signal without bound."""
TILT_CENTRE_HZ = 1000.0
TAIL_SECONDS = 0.1
"""Silence behind the signal for the filters to ring in, not at its start; they fade within tens of ms."""
EQUALIZER_HZ = 30.0
"""Below it the gain of an equalizer stays."""
EQUALIZER_SECONDS = 0.3
"""Length of its impulse response, ten periods of its lowest frequency."""
EQUALIZER_POINTS = (4, 8)
PREDELAY_SECONDS = 0.003
"""Between the direct sound and the first reflection."""

Response = Callable[[NDArray[np.float64]], NDArray[np.complex128]]
"""Frequencies in Hz ``[bins]`` -> the complex response at them."""


def filtered(
    wave: NDArray[np.float64], sample_rate: int, responses: Sequence[Response], impulses: Sequence[NDArray[np.float64]]
) -> NDArray[np.float64]:
    """``wave`` ``[samples]`` through filters given by their responses and by their impulse responses -> ``[samples]``."""
    if not responses and not impulses:
        return wave
    length = sum(map(len, impulses))
    size = next_fast_len(len(wave) + max(round(TAIL_SECONDS * sample_rate), length), real=True)
    spectrum = rfft(wave, size)
    frequency = rfftfreq(size, 1 / sample_rate)
    for response in responses:
        spectrum *= response(frequency)
    if impulses:  # one by one at full length they would take longer
        short = next_fast_len(length, real=True)
        impulse = irfft(np.prod([rfft(one, short) for one in impulses], axis=0), short)[:length]
        spectrum *= rfft(impulse.astype(np.float32), size)  # half the time, and exact to 140 dB below the signal
    result: NDArray[np.float64] = irfft(spectrum, size)[: len(wave)]
    return result


def tilt(slope: float) -> Response:
    """A straight line of ``slope`` dB per octave around 1 kHz; minimum phase."""

    def response(frequency: NDArray[np.float64]) -> NDArray[np.complex128]:
        # ((LOWEST_HZ + 1j * frequency) / TILT_CENTRE_HZ) ** exponent, in half the time that complex powers take
        exponent = slope / (20 * np.log10(2))
        found = np.empty(len(frequency), np.complex128)
        found.real = exponent / 2 * np.log((LOWEST_HZ**2 + frequency**2) / TILT_CENTRE_HZ**2)
        found.imag = exponent * np.arctan(frequency / LOWEST_HZ)
        return np.exp(found, out=found)

    return response


def lowpass(cutoff: float) -> Response:
    """Butterworth's, of second order, -3 dB at ``cutoff`` Hz; minimum phase."""

    def response(frequency: NDArray[np.float64]) -> NDArray[np.complex128]:
        scaled = 1j * frequency / cutoff
        found: NDArray[np.complex128] = 1 / (1 + np.sqrt(2) * scaled + scaled**2)
        return found

    return response


def random_curve(generator: Generator, deviation: float, sample_rate: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Frequencies in Hz, evenly from 30 Hz to half the sample rate in octaves, and normal gains of ``deviation`` in dB."""
    count = generator.integers(*EQUALIZER_POINTS, endpoint=True)
    return np.geomspace(EQUALIZER_HZ, sample_rate / 2, count), generator.normal(0, deviation, count)


def equalizer(points: NDArray[np.float64], gains: NDArray[np.float64], sample_rate: int) -> NDArray[np.float64]:
    """The minimum-phase impulse response ``[samples]`` whose gain has ``gains`` in dB at ``points`` in Hz, straight in between.

    Straight over the logarithm of frequency, and flat outside. Of the cepstrum of the magnitude, whose part of negative times
    is folded onto the positive ones (Oppenheim and Schafer, *Discrete-Time Signal Processing*, on the cepstrum).
    """
    size = next_fast_len(round(EQUALIZER_SECONDS * sample_rate), real=True)
    octaves = np.log2(np.maximum(rfftfreq(size, 1 / sample_rate), points[0]))
    cepstrum = irfft(np.interp(octaves, np.log2(points), gains) * np.log(10) / 20, size)
    cepstrum[1 : (size + 1) // 2] *= 2
    cepstrum[size // 2 + 1 :] = 0
    response: NDArray[np.float64] = irfft(np.exp(rfft(cepstrum)), size)
    return response


def room(generator: Generator, seconds: float, decibels: float, sample_rate: int) -> NDArray[np.float64]:
    """An impulse response ``[samples]``: 1 at time 0, the direct sound, and from 3 ms on noise that falls 60 dB in ``seconds``.

    All of the noise has the energy of the direct sound and ``decibels`` more. Polack's model of diffuse reverberation.
    """
    start = round(PREDELAY_SECONDS * sample_rate)
    response = np.zeros(max(round(seconds * sample_rate), start + 1))
    response[start:] = generator.standard_normal(len(response) - start)
    response *= 10 ** (-3 * np.arange(len(response)) / (seconds * sample_rate))
    response *= 10 ** (decibels / 20) / np.sqrt(np.sum(response**2))
    response[0] = 1
    return response
