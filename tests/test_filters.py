"""Equalizers and rooms measured on what comes out: gains, phases, times and levels."""

import numpy as np
import pytest
import scipy.signal
import scipy.stats
from test_augment import ROOM, click, config, decibels, noise, response

from etude.adapters.sound import filters
from etude.adapters.sound.augment import augment

RATE = 16000
KEYS = [f"window {index}" for index in range(200)]


def tail(key, seconds, level):
    """The reverberation of a room behind a click of 1, and when it begins in samples."""
    view = augment(click(0, 2 * RATE), RATE, 1, key, config(room_seconds=seconds, room_db=level)).astype(np.float64)
    assert view[0] == pytest.approx(1, abs=1e-6)
    return np.where(np.abs(view) > 1e-6, view, 0)[1:]


@pytest.mark.parametrize("effects", [{"equalizer_db": 5}, ROOM, {"equalizer_db": 5, **ROOM}])
def test_a_click_stays_where_it_is_and_nothing_sounds_before_it(effects):
    for key in KEYS[:50]:
        view = augment(click(5000, 8000), RATE, 1, key, config(**effects)).astype(np.float64)
        assert np.argmax(np.abs(view)) == 5000
        assert decibels(np.sum(view[:5000] ** 2) / np.sum(view**2)) < -120


def test_the_end_of_a_window_does_not_reverberate_at_its_start():
    view = augment(click(RATE - 1), RATE, 1, "a", config(equalizer_db=12, room_seconds=(5, 5), room_db=(20, 20)))
    assert np.abs(view[:-1]).max() < 1e-6 * np.abs(view).max()


@pytest.mark.parametrize("rate", [16000, 24000, 44100])
def test_an_equalizer_has_the_gains_asked_for(rate):
    audio, generator = np.random.default_rng(0).normal(0, 0.1, 8 * rate), np.random.default_rng(1)
    points, gains = filters.random_curve(generator, 6, rate)
    found = filters.filtered(audio, rate, [], [filters.equalizer(points, gains, rate)])
    frequency, before = scipy.signal.welch(audio, rate, nperseg=rate // 4)
    _, after = scipy.signal.welch(found, rate, nperseg=rate // 4)
    change, heard = decibels(after / before), (frequency >= 60) & (frequency < 0.97 * rate / 2)
    expected = np.interp(np.log(np.maximum(frequency, 1)), np.log(points), gains)
    assert np.abs(change - expected)[heard].max() < 1
    assert np.sqrt(np.mean((change - expected)[heard] ** 2)) < 0.2
    assert np.ptp(expected) > 6
    for point, gain in zip(points[1:-1], gains[1:-1], strict=True):
        assert np.interp(point, frequency, change) == pytest.approx(gain, abs=0.7)


def test_an_equalizer_is_of_minimum_phase():
    """No zero outside the unit circle: by the argument principle, the phase at half the sample rate has not turned."""
    generator = np.random.default_rng(0)
    for _ in range(20):
        impulse = filters.equalizer(*filters.random_curve(generator, 6, RATE), RATE)
        phase = np.unwrap(np.angle(np.fft.rfft(impulse, 1 << 16)))
        assert abs(phase[-1] - phase[0]) < 1e-3
        delayed = np.unwrap(np.angle(np.fft.rfft(np.append(0, impulse), 1 << 16)))
        assert abs(delayed[-1] - delayed[0]) > 3


def test_points_are_four_to_eight_evenly_in_octaves_and_gains_are_normal():
    generator = np.random.default_rng(0)
    curves = [filters.random_curve(generator, 5, RATE) for _ in range(300)]
    assert {len(points) for points, _ in curves} == {4, 5, 6, 7, 8}
    for points, gains in curves:
        assert len(points) == len(gains)
        assert points[[0, -1]] == pytest.approx([30, RATE / 2])
        assert np.ptp(np.diff(np.log2(points))) < 1e-9
    assert scipy.stats.kstest(np.concatenate([gains for _, gains in curves]), scipy.stats.norm(0, 5).cdf).pvalue > 0.05
    last = [decibels(np.abs(response(click(0, 4000), config(equalizer_db=5), key)[1][-1]) ** 2) for key in KEYS]
    assert scipy.stats.kstest(last, scipy.stats.norm(0, 5).cdf).pvalue > 0.05


@pytest.mark.parametrize(("seconds", "level"), [(0.1, -6), (0.3, -12), (0.6, -25), (1.2, 0)])
def test_a_room_has_the_time_and_the_level_asked_for(seconds, level):
    times = []
    for key in KEYS[:30]:
        reverberation = tail(key, (seconds, seconds), (level, level))
        assert decibels(np.sum(reverberation**2)) == pytest.approx(level, abs=0.05)
        assert np.flatnonzero(reverberation)[0] + 1 == pytest.approx(0.003 * RATE, abs=3)
        # Schroeder's integral, from -5 to -25 dB as ISO 3382 measures T20
        decay = decibels(np.cumsum(reverberation[::-1] ** 2)[::-1] / np.sum(reverberation**2) + 1e-12)
        measured = (decay < -5) & (decay > -25)
        times.append(-60 / scipy.stats.linregress(np.flatnonzero(measured) / RATE, decay[measured]).slope)
    assert np.mean(times) == pytest.approx(seconds, rel=0.03)


def test_times_and_levels_of_rooms_are_uniform_and_rooms_differ():
    rooms = [tail(key, (0.1, 0.6), (-25, -6)) for key in KEYS]
    levels = [decibels(np.sum(room**2)) for room in rooms]
    assert scipy.stats.kstest(levels, scipy.stats.uniform(-25, 19).cdf).pvalue > 0.05
    halves = [np.searchsorted(np.cumsum(room**2), np.sum(room**2) / 2) / RATE for room in rooms]
    # Half the energy of an exponential decay of T seconds has come T / 20 seconds after it began, within its noise.
    assert scipy.stats.kstest([20 * (half - 0.003) for half in halves], scipy.stats.uniform(0.1, 0.5).cdf).pvalue > 0.01
    assert np.abs(np.triu(np.corrcoef(rooms[:20]), 1)).max() < 0.2


def test_a_room_colours_nothing_on_average():
    power = np.mean([np.abs(np.fft.rfft(tail(key, (0.3, 0.3), (0, 0)))) ** 2 for key in KEYS], axis=0)
    bands = power[: len(power) // 16 * 16].reshape(16, -1).mean(1)
    assert decibels(bands / bands.mean()) == pytest.approx(0, abs=0.5)


def test_nothing_to_filter_by_leaves_every_sample():
    audio = noise()
    np.testing.assert_array_equal(filters.filtered(audio, RATE, [], []), audio)
