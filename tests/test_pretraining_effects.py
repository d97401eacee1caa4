"""Every effect does what it is called."""

import sys

import numpy as np
import pytest
from numpy.random import default_rng
from scipy.signal import convolve
from toy_clips import RATE

from etude.adapters.errors import UserError
from etude.adapters.pretraining.effects import Effects
from etude.adapters.recipe.pretraining import EffectsConfig

EFFECTS = ("noise", "gain", "highpass", "lowpass", "delay", "pitch_shift", "reverb")


@pytest.fixture(scope="module")
def sound():
    """A second of decaying tones, none of them at its end."""
    times = np.arange(RATE) / RATE
    tones = sum(np.sin(2 * np.pi * frequency * times) for frequency in (110, 880, 3400))
    return (0.1 * tones * np.exp(-3 * times)).astype(np.float32)


def effects(seed, samples, **chances):
    """``samples`` through the effects named, all others off; and the shift in semitones."""
    settings = dict.fromkeys(EFFECTS, 0.0) | {"probability": 1.0} | chances
    return Effects(EffectsConfig.model_validate(settings), RATE)(samples, default_rng(seed))


def share_above(samples, low, high=RATE):
    spectrum, frequencies = np.abs(np.fft.rfft(samples)) ** 2, np.fft.rfftfreq(len(samples), 1 / RATE)
    return spectrum[(frequencies >= low) & (frequencies < high)].sum() / spectrum.sum()


def peak_of(samples):
    """Strongest frequency in Hz between 700 and 1000."""
    spectrum, frequencies = np.abs(np.fft.rfft(samples, 1 << 17)), np.fft.rfftfreq(1 << 17, 1 / RATE)
    inside = (frequencies > 700) & (frequencies < 1000)
    return frequencies[inside][np.argmax(spectrum[inside])]


@pytest.mark.parametrize("name", EFFECTS)
def test_every_effect_has_a_switch(sound, name):
    for seed in range(3):
        changed, shift = effects(seed, sound, **{name: 1.0})
        assert changed.shape == sound.shape
        assert changed.dtype == np.float32
        assert not np.array_equal(changed, sound)
        assert (shift != 0) == (name == "pitch_shift")
        again, _ = effects(seed, sound, **{name: 1.0})
        np.testing.assert_array_equal(changed, again)


def test_without_probability_nothing_changes(sound):
    on = dict.fromkeys(EFFECTS, 1.0)
    for samples, shift in (effects(0, sound), effects(0, sound, **on, **{"probability": 0.0})):
        assert samples is sound
        assert shift == 0


@pytest.mark.parametrize("seed", range(4))
def test_effects_do_what_they_are_called(sound, seed):
    noisy = effects(seed, sound, noise=1.0, noise_db=(20.0, 30.0))[0] - sound
    assert 19 < 10 * np.log10(np.square(sound).sum() / np.square(noisy).sum()) < 31
    ratio = effects(seed, sound, gain=1.0)[0][1:] / sound[1:]
    assert np.ptp(ratio) < 1e-3
    assert -12.1 < 20 * np.log10(ratio.mean()) < 6.1
    assert share_above(effects(seed, sound, highpass=1.0)[0], 0, 50) < share_above(sound, 0, 50)
    assert share_above(effects(seed, sound, lowpass=1.0)[0], 3000) < 0.9 * share_above(sound, 3000)
    moved, shift = effects(seed, sound, pitch_shift=1.0)
    assert 0 < abs(shift) <= 1
    assert 12 * np.log2(peak_of(moved) / peak_of(sound)) == pytest.approx(shift, abs=0.1)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("name", ["delay", "reverb"])
def test_delay_and_reverb_are_convolutions(sound, name, seed):
    impulse = np.zeros_like(sound)
    impulse[0] = 1
    response, _ = effects(seed, impulse, **{name: 1.0})
    changed, _ = effects(seed, sound, **{name: 1.0})
    np.testing.assert_allclose(changed, convolve(sound, response)[: len(sound)], atol=1e-5)
    if name == "delay":
        (echoes,) = np.nonzero(np.abs(response) > 1e-5)
        assert 2 <= len(echoes) <= 4
        assert np.ptp(np.diff(echoes)) == 0
        assert 0.04 <= echoes[1] / RATE <= 0.25
        falls = 20 * np.log10(response[echoes][:-1] / response[echoes][1:])
        assert falls == pytest.approx(falls[0], abs=0.1)
        assert 5.9 < falls[0] < 20.1
    else:
        tail = response[1:]
        assert -26 < 10 * np.log10(np.square(tail).sum()) < -2.5
        energy = np.square(tail)[: RATE // 10]
        assert energy[: len(energy) // 2].sum() > energy[len(energy) // 2 :].sum()


def test_a_missing_library_is_one_line(monkeypatch):
    monkeypatch.setitem(sys.modules, "audiomentations", None)
    with pytest.raises(UserError, match=r"^audiomentations is not installed \(pip install 'etude\[pretrain\]'\)$"):
        Effects(EffectsConfig(), RATE)
