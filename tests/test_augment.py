"""Augmentations measured on what comes out: levels, spectra and times, against scipy and by hand."""

import hashlib
import itertools

import numpy as np
import pytest
import scipy.signal
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from pydantic import ValidationError

from etude.adapters.sound.augment import AugmentConfig, augment

RATE = 16000
EARLIER = {"noise_db": (10, 30), "gain_db": (-6, 6), "tilt_db": (-3, 3), "lowpass_hz": (2000, 8000)}
ROOM = {"room_seconds": (0.1, 0.6), "room_db": (-25, -6)}
EFFECTS = [{name: limits} for name, limits in EARLIER.items()] + [{"equalizer_db": 5}, ROOM]
EVERYTHING = {**EARLIER, "equalizer_db": 5, **ROOM}


def config(**effects):
    return AugmentConfig(views=3, **effects)


def noise(seconds=2.0, seed=0):
    return np.random.default_rng(seed).normal(0, 0.1, int(seconds * RATE)).astype(np.float32)


def click(at, size=RATE):
    audio = np.zeros(size, np.float32)
    audio[at] = 1
    return audio


def decibels(power):
    return 10 * np.log10(power)


def gain_of(key, effects):
    """The gain in dB that a window gets, all its amounts being those of ``key``."""
    audio = noise(0.1)
    return decibels(np.mean(augment(audio, RATE, 1, key, effects) ** 2) / np.mean(audio**2))


def response(audio, effects, key="a"):
    """Frequencies in Hz and the complex response that the effects have, by Fourier transform of what a click becomes."""
    found = np.fft.rfft(augment(audio, RATE, 1, key, effects)) / np.fft.rfft(audio)
    return np.fft.rfftfreq(len(audio), 1 / RATE), found


def test_view_0_is_clean_and_others_are_not():
    audio = noise()
    assert augment(audio, RATE, 0, "a", config(**EVERYTHING)) is audio
    for effect in EFFECTS:
        kept = audio.copy()
        view = augment(audio, RATE, 1, "a", config(**effect))
        assert view.dtype == np.float32
        assert view.shape == audio.shape
        assert not np.allclose(view, audio)
        np.testing.assert_array_equal(audio, kept)


@pytest.mark.parametrize("ratio", [-5.0, 0.0, 20.0, 40.0])
def test_noise_has_the_ratio_asked_for_and_is_white(ratio):
    time = np.arange(2 * RATE) / RATE
    audio = (0.3 * np.sin(2 * np.pi * 440 * time) * np.exp(-time)).astype(np.float32)
    added = augment(audio, RATE, 1, "a", config(noise_db=(ratio, ratio))).astype(np.float64) - audio
    assert decibels(np.mean(audio.astype(np.float64) ** 2) / np.mean(added**2)) == pytest.approx(ratio, abs=0.01)
    _, density = scipy.signal.welch(added, RATE, nperseg=256)
    assert decibels(density[1:-1]) == pytest.approx(decibels(density[1:-1].mean()), abs=2.5)
    assert abs(np.corrcoef(added, audio)[0, 1]) < 0.03


def test_gain_scales_every_sample():
    audio = noise()
    np.testing.assert_allclose(augment(audio, RATE, 1, "a", config(gain_db=(-20, -20))), audio / 10, rtol=1e-6)
    np.testing.assert_allclose(augment(audio, RATE, 1, "a", config(gain_db=(6, 6))), audio * 1.9952623, rtol=1e-6)


@pytest.mark.parametrize("slope", [-6.0, -3.0, 2.0, 6.0])
def test_tilt_has_the_slope_asked_for_around_1_khz(slope):
    audio = noise(4.0)
    tilted = augment(audio, RATE, 1, "a", config(tilt_db=(slope, slope)))
    frequency, before = scipy.signal.welch(audio, RATE, nperseg=2048)
    _, after = scipy.signal.welch(tilted, RATE, nperseg=2048)
    audible = (frequency > 100) & (frequency < 7000)
    octaves, change = np.log2(frequency[audible] / 1000), decibels(after[audible] / before[audible])
    fit = scipy.stats.linregress(octaves, change)
    assert fit.slope == pytest.approx(slope, abs=0.05)
    assert fit.intercept == pytest.approx(0, abs=0.1)
    assert np.abs(change - slope * octaves).max() < 1


def test_tilt_leaves_what_is_below_hearing_bounded():
    """A constant is 5.6 octaves below 1 kHz, as 20 Hz is, not infinitely many."""
    audio = np.full(4 * RATE, 0.01, np.float32)
    tilted = augment(audio, RATE, 1, "a", config(tilt_db=(-3, -3)))
    assert decibels((tilted[2 * RATE] / 0.01) ** 2) == pytest.approx(3 * np.log2(50), abs=0.1)


@pytest.mark.parametrize("cutoff", [300.0, 1000.0, 4000.0])
def test_lowpass_is_scipys_butterworth(cutoff):
    frequency, found = response(click(100), config(lowpass_hz=(cutoff, cutoff)))
    _, expected = scipy.signal.freqs(*scipy.signal.butter(2, 2 * np.pi * cutoff, analog=True), 2 * np.pi * frequency)
    below = frequency < 0.9 * RATE / 2
    np.testing.assert_allclose(np.abs(found)[below], np.abs(expected)[below], atol=5e-3)
    assert decibels(np.abs(found[round(cutoff)]) ** 2) == pytest.approx(-3, abs=0.1)


@pytest.mark.parametrize("effects", [{"tilt_db": (s, s)} for s in (-3, 3)] + [{"lowpass_hz": (1000, 1000)}])
def test_nothing_sounds_before_its_attack_or_moves(effects):
    at = RATE // 2
    attack = np.zeros(RATE)
    attack[at:] = np.random.default_rng(0).normal(0, 0.1, RATE - at) * np.exp(-np.arange(RATE - at) / 400)
    # Nearly all sound is below half the highest frequency, as in music.
    attack = scipy.signal.sosfilt(scipy.signal.butter(4, 0.5, output="sos"), attack).astype(np.float32)
    view = augment(attack, RATE, 1, "a", config(**effects)).astype(np.float64)
    assert decibels(np.sum(view[: at - 8] ** 2) / np.sum(view**2)) < -45
    lag = np.argmax(scipy.signal.correlate(view, attack, "full")) - (RATE - 1)
    assert abs(lag) <= 0.0005 * RATE


@pytest.mark.parametrize("effects", [{"tilt_db": (-6, -6)}, {"lowpass_hz": (200, 200)}])
def test_the_end_of_a_window_does_not_ring_at_its_start(effects):
    view = augment(click(RATE - 1), RATE, 1, "a", config(**effects)).astype(np.float64)
    assert np.abs(view[: RATE // 2]).max() < 1e-3 * np.abs(view).max()


def test_pitch_stays():
    audio = (0.1 * np.sin(2 * np.pi * 440 * np.arange(RATE) / RATE)).astype(np.float32)
    for key in "abcdef":
        view = augment(audio, RATE, 1, key, config(**EVERYTHING))
        assert np.argmax(np.abs(np.fft.rfft(view))) == 440


def test_amounts_are_uniform_and_cut_offs_uniform_in_octaves():
    keys = [f"window {index}" for index in range(300)]
    gains = [gain_of(key, config(gain_db=(-12, 6))) for key in keys]
    assert -12 <= min(gains) < -11.8
    assert 5.8 < max(gains) <= 6.001
    assert scipy.stats.kstest(gains, scipy.stats.uniform(-12, 18).cdf).pvalue > 0.05
    octaves = []
    for key in keys:
        frequency, found = response(click(100, 4000), config(lowpass_hz=(250, 4000)), key)
        octaves.append(np.log2(np.interp(-np.sqrt(0.5), -np.abs(found), frequency) / 250))
    assert scipy.stats.kstest(octaves, scipy.stats.uniform(0, 4).cdf).pvalue > 0.05
    assert abs(np.corrcoef(gains, octaves)[0, 1]) < 0.15


def test_a_view_is_always_the_same():
    """The number was printed once: another machine, process or order of calls must give it again."""
    audio, effects = noise(), config(**EVERYTHING)
    first = augment(audio, RATE, 1, "a", effects)
    augment(audio, RATE, 2, "b", effects)
    np.testing.assert_array_equal(augment(audio, RATE, 1, "a", effects), first)
    assert gain_of("gűzheng/1:0", config(gain_db=(0, 10))) == pytest.approx(5.4770, abs=1e-4)


@pytest.mark.parametrize(
    ("names", "digest"),
    [
        (("noise_db",), "ee1188682420a28d"),
        (("gain_db",), "e1976df16a42c449"),
        (("tilt_db",), "47a17881abc32884"),
        (("lowpass_hz",), "827d7481452793b1"),
        (tuple(EARLIER), "2af4f16877e9661d"),
    ],
)
def test_views_are_what_they_were_before_there_were_rooms_and_equalizers(names, digest):
    audio, effects = noise(), config(**{name: EARLIER[name] for name in names})
    views = [augment(audio, RATE, view, key, effects) for key in ("a", "gűzheng/1:0") for view in (1, 2)]
    assert hashlib.sha256(np.concatenate(views).tobytes()).hexdigest()[:16] == digest


def test_views_and_windows_differ_and_are_independent():
    audio, effects = noise(), config(noise_db=(0, 0))
    drawn = [augment(audio, RATE, view, key, effects) - audio for key in ("a", "b", "a1") for view in (1, 2, 11)]
    for one, other in itertools.combinations(drawn, 2):
        assert abs(np.corrcoef(one, other)[0, 1]) < 0.03


def test_an_amount_does_not_depend_on_the_other_effects():
    audio, gain, tilt = noise(), {"gain_db": (-6, 6)}, {"tilt_db": (-3, 3)}
    both, tilted = (augment(audio, RATE, 1, "a", config(**effects)) for effects in (gain | tilt, tilt))
    assert decibels(np.mean(both**2) / np.mean(tilted**2)) == pytest.approx(gain_of("a", config(**gain)), abs=1e-3)


@pytest.mark.parametrize("effect", [{"equalizer_db": 0.1}, {"room_seconds": (0.1, 0.6), "room_db": (-60, -60)}])
def test_noise_stays_the_same_beside_a_room_and_an_equalizer(effect):
    audio, ratio = noise(), {"noise_db": (0, 20)}
    alone = augment(audio, RATE, 1, "a", config(**ratio)) - audio
    beside = augment(audio, RATE, 1, "a", config(**ratio, **effect)) - augment(audio, RATE, 1, "a", config(**effect))
    np.testing.assert_allclose(beside, alone, atol=0.03 * np.abs(alone).max())


def test_filters_do_not_depend_on_each_other():
    """Together they are the product of what each is alone."""
    several = [{"equalizer_db": 5}, ROOM, {"tilt_db": (-3, 3)}, {"lowpass_hz": (2000, 8000)}]
    alone = [response(click(100), config(**effect), "b")[1] for effect in several]
    _, together = response(click(100), config(**{name: value for effect in several for name, value in effect.items()}), "b")
    below = slice(round(0.9 * len(together)))
    np.testing.assert_allclose(together[below], np.prod(alone, axis=0)[below], atol=5e-3)


@pytest.mark.parametrize("effect", [{"lowpass_hz": (250, 4000)}, ROOM])
def test_some_views_have_an_effect_whatever_its_amount(effect):
    audio, keys = noise(0.05), [f"window {index}" for index in range(400)]
    always = [augment(audio, RATE, 1, key, config(**effect)) for key in keys]
    some = [augment(audio, RATE, 1, key, config(**effect, probability=0.3)) for key in keys]
    has = np.array([not np.array_equal(view, audio) for view in some])
    assert all(np.array_equal(view, whole) for view, whole, there in zip(some, always, has, strict=True) if there)
    assert scipy.stats.binomtest(int(has.sum()), len(keys), 0.3).pvalue > 0.05
    changes = np.array([np.mean((view - audio) ** 2) for view in always])
    assert scipy.stats.ks_2samp(changes[has], changes[~has]).statistic < 0.3  # 1 if one number decided both


def test_low_pass_and_room_come_and_go_by_themselves_and_other_effects_stay():
    audio, keys, others = noise(0.05), [f"window {index}" for index in range(200)], {"tilt_db": (1, 3), "gain_db": (1, 3)}

    def have(**effects):
        views = [augment(audio, RATE, 1, key, config(**effects, **others, probability=0.5)) for key in keys]
        plain = [augment(audio, RATE, 1, key, config(**others)) for key in keys]
        assert not any(np.array_equal(view, audio) for view in views)
        return np.array([not np.array_equal(view, other) for view, other in zip(views, plain, strict=True)])

    lowpass, room = have(lowpass_hz=(250, 4000)), have(**ROOM)
    assert abs(np.corrcoef(lowpass, room)[0, 1]) < 0.2
    np.testing.assert_array_equal(have(lowpass_hz=(250, 4000), **ROOM), lowpass | room)


def test_silence_stays_silence_and_nothing_stays_nothing():
    for size in (0, 1, 1000):
        silence = np.zeros(size, np.float32)
        np.testing.assert_array_equal(augment(silence, RATE, 1, "a", config(**EVERYTHING)), silence)


SAMPLES = arrays.arrays(np.float32, st.integers(0, 600), elements=st.floats(-100, 100, width=32))


def limits(low, high):
    return st.none() | st.tuples(st.floats(low, high), st.floats(low, high)).map(sorted)


@settings(deadline=None)
@given(
    *(SAMPLES, st.sampled_from([8000, 24000, 48000]), st.text(), limits(-100, 100), limits(-12, 12), limits(20, 30000)),
    *(st.none() | st.floats(0.1, 12), limits(0.05, 10)),
)
def test_finite_and_of_the_same_length(audio, rate, key, levels, tilt, lowpass, equalizer, room):
    levels = levels or (0, 0)
    effects = config(
        **{"noise_db": levels, "gain_db": levels, "tilt_db": tilt, "lowpass_hz": lowpass, "equalizer_db": equalizer},
        **{"room_seconds": room, "room_db": levels if room else None},
    )
    view = augment(audio, rate, 1, key, effects)
    assert view.shape == audio.shape
    assert view.dtype == np.float32
    assert np.isfinite(view).all()


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"views": 2}, "views needs an effect: name noise_db"),
        ({"gain_db": (0, 1)}, "no effect with one view: set views to 2 or more"),
        ({"views": 2, "noise_db": (30, 10)}, r"should be \[lowest, highest\], got \[30, 10\]"),
        ({"views": 2, "lowpass_hz": (0, 4000)}, "greater than or equal to 20"),
        ({"views": 2, "tilt_db": (-50, 0)}, "greater than or equal to -12"),
        ({"views": 2, "equalizer_db": 0}, "greater than 0"),
        ({"views": 2, "room_seconds": (0, 1)}, "greater than or equal to 0.05"),
        ({"views": 2, "room_seconds": (1, 1)}, "a room needs room_seconds and room_db"),
        ({"views": 2, "gain_db": (0, 1), "room_db": (-20, -6)}, "a room needs room_seconds and room_db"),
        ({"views": 2, "gain_db": (0, 1), "probability": 0.5}, "probability is that of lowpass_hz and of room_seconds"),
        ({"views": 0}, "greater than or equal to 1"),
        ({"views": 2, "pitch": (0, 1)}, "Extra inputs"),
    ],
)
def test_senseless_settings_are_refused(fields, message):
    with pytest.raises(ValidationError, match=message):
        AugmentConfig(**fields)


def test_the_default_is_no_augmentation():
    assert AugmentConfig().views == 1
