"""Descriptors of timbre against closed forms, librosa and sounds whose order is known."""

from itertools import pairwise

import librosa
import numpy as np
import pytest
from numpy.random import default_rng
from scipy.signal import butter, periodogram, sosfilt

from etude.adapters.pretraining.timbre import CENTRES, DESCRIPTORS, SCALES, describe

RATE = 24_000


def raw(samples, rate=RATE):
    """Descriptors by name, in their units; those that are clipped are nan, which equals nothing."""
    scaled = describe(samples.astype(np.float32), rate)
    assert (scaled.shape, scaled.dtype) == ((len(DESCRIPTORS),), np.float32)
    scaled[np.abs(scaled) >= 3] = np.nan
    return dict(zip(DESCRIPTORS, (scaled * SCALES + CENTRES).tolist(), strict=True))


def tone(seconds, *hertz, rate=RATE):
    times = np.arange(round(seconds * rate)) / rate
    return sum(np.sin(2 * np.pi * each * times) for each in hertz)


def decaying(seconds, decibels, attack=0.0, hertz=1000.0):
    """A tone that rises linearly for ``attack`` seconds and then loses ``decibels`` per second."""
    times = np.arange(round(seconds * RATE)) / RATE
    envelope = np.where(times < attack, times / max(attack, 1e-9), 10 ** (-decibels * (times - attack) / 20))
    return envelope * tone(seconds, hertz)


def noisy(noise, seconds=0.5, seed=0):
    """Two partials under white noise."""
    return tone(seconds, 440, 880) + noise * default_rng(seed).standard_normal(round(seconds * RATE))


@pytest.mark.parametrize("attack", [0.01, 0.04, 0.1, 0.35])
def test_attack_time_is_that_of_a_linear_attack(attack):
    assert 10 ** raw(decaying(0.8, 60, attack))["attack time"] == pytest.approx(attack, abs=0.006)


@pytest.mark.parametrize("decibels", [5, 20, 60, 150])
@pytest.mark.parametrize("attack", [0.0, 0.05])
@pytest.mark.parametrize("seconds", [0.15, 1.0])
def test_decay_is_that_of_an_exponential(decibels, attack, seconds):
    found = 10 ** raw(decaying(seconds, decibels, attack))["decay"]
    assert found == pytest.approx(decibels, rel=0.03, abs=1.0)


@pytest.mark.parametrize(("early", "late"), [(20, 150), (100, 0)])
def test_decay_is_over_three_tenths_of_a_second(early, late):
    times = np.arange(RATE) / RATE
    lost = np.interp(times, [0, 0.15, 0.3, 0.31, 0.33], [0, *(0.15 * np.array([early, early + late, early + late])), 50])
    found = 10 ** raw(10 ** (-lost / 20) * tone(1.0, 1000))["decay"]
    assert found == pytest.approx((early + late) / 2, rel=0.05)


@pytest.mark.parametrize("decibels", [5, 20, 60])
def test_sustain_level_is_the_integral_of_an_exponential(decibels):
    rate = decibels * np.log(10) / 10

    def mean(start, stop):
        return (np.exp(-rate * start) - np.exp(-rate * stop)) / (rate * (stop - start))

    expected = 10 * np.log10(mean(0.1, 0.3) / mean(0, 0.05))
    assert raw(decaying(0.6, decibels))["sustain level"] == pytest.approx(expected, abs=0.1)


def test_a_note_without_end_has_neither_decay_nor_a_lower_sustain():
    found = raw(tone(0.6, 1000))
    assert found["decay"] == pytest.approx(0, abs=0.01)
    assert found["sustain level"] == pytest.approx(0, abs=0.01)
    assert raw(np.append(tone(0.2, 1000), 0.1 * tone(0.2, 1000)))["sustain level"] == pytest.approx(
        10 * np.log10((0.1 + 0.1 * 0.01) / 0.2), abs=0.05
    )


@pytest.mark.parametrize("noise", [0.1, 0.2, 0.4])
@pytest.mark.parametrize("rate", [8000, RATE])
def test_spectra_are_librosas(noise, rate):
    generator = default_rng(1)
    samples = tone(0.5, 220, 440, 1320, rate=rate) + noise * generator.standard_normal(rate // 2)
    samples[: rate // 20] = tone(0.05, 880, rate=rate) + noise * generator.standard_normal(rate // 20)
    found = raw(samples, rate)
    for name, segment in (("attack", samples[: rate // 20]), ("sustain", samples[rate // 10 : 3 * rate // 10])):
        bins = 2 ** int(np.ceil(np.log2(len(segment))))
        frequencies, power = periodogram(segment, rate, np.hanning(len(segment)), bins, detrend=False)
        power = power[frequencies >= 40][:, None]
        frequencies = frequencies[frequencies >= 40]
        centroid = librosa.feature.spectral_centroid(S=power, freq=frequencies).item()
        flatness = librosa.feature.spectral_flatness(S=power, power=1.0, amin=1e-30).item()
        assert found[f"{name} centroid"] == pytest.approx(np.log2(centroid), abs=2e-3)
        assert found[f"{name} flatness"] == pytest.approx(10 * np.log10(flatness), abs=0.05)
        if name == "attack":
            roll_off = librosa.feature.spectral_rolloff(S=power, freq=frequencies, roll_percent=0.85).item()
            assert found["attack roll-off"] == pytest.approx(np.log2(roll_off), abs=2e-3)


@pytest.mark.parametrize("gain", [0.02, 0.3, -1, 4])
def test_loudness_does_not_count(gain):
    for samples in (noisy(0.3), decaying(0.5, 40, 0.02), noisy(0.01, seconds=0.03)):
        ours, louder = (describe(values.astype(np.float32), RATE) for values in (samples, gain * samples))
        assert louder == pytest.approx(ours, abs=2e-3)


def increase(name, sounds):
    values = [raw(sound)[name] for sound in sounds]
    return all(one < other - 0.1 for one, other in pairwise(values))


def test_sounds_are_in_the_right_order():
    bright = [decaying(0.5, 20, hertz=hertz) for hertz in (200, 500, 1500, 5000)]
    filtered = [sosfilt(butter(2, cutoff, fs=RATE, output="sos"), noisy(1.0)) for cutoff in (300, 1000, 5000)]
    for sounds in (bright, filtered):
        assert all(increase(name, sounds) for name in ("attack centroid", "attack roll-off", "sustain centroid"))
    rough = [noisy(noise) for noise in (0.003, 0.03, 0.1, 0.3)]
    assert increase("attack flatness", rough)
    assert increase("sustain flatness", rough)
    dying = [decaying(0.5, decibels) for decibels in (5, 30, 100, 180)]
    assert increase("decay", dying)
    assert increase("sustain level", dying[::-1])
    assert increase("attack time", [decaying(0.8, 60, attack) for attack in (0.005, 0.03, 0.1, 0.3)])


@pytest.mark.parametrize("rate", [8000, RATE, 44_100])
@pytest.mark.parametrize("seconds", [0.0002, 0.001, 0.0049, 0.005, 0.0051, 0.0499, 0.05, 0.1, 0.1001, 0.149, 0.15, 0.2999, 2.0])
def test_every_note_gives_numbers_between_minus_three_and_three(rate, seconds):
    count = max(2, round(seconds * rate))
    click, ended = np.zeros(count), default_rng(0).standard_normal(count)
    click[0], ended[count // 20 + 1 :] = 1, 0  # nothing follows
    alternating = np.where(np.arange(count) % 2, -1.0, 1.0)
    late = click[::-1]
    whispered = 1e-3 * default_rng(1).standard_normal(count)
    for samples in (click, late, ended, whispered, alternating, np.ones(count)):
        with np.errstate(divide="raise", invalid="raise", over="raise"):
            found = describe(samples.astype(np.float32), rate)
        assert np.isfinite(found).all()
        assert np.abs(found).max() <= 3
