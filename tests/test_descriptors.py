"""What heads hear: log-mel bands in the right place, at the right time, of the right height."""

import librosa
import numpy as np
import pytest
import torch

from etude.adapters.sound.descriptors import (
    BANDS,
    DESCRIPTORS,
    FLOOR,
    HIGHEST_HZ,
    LOWEST_HZ,
    SALIENCES,
    SPAN_SECONDS,
    describe,
    log_mel,
)

RATES = (16_000, 22_050, 24_000, 44_100)


def sine(hertz, rate, seconds=1.0, amplitude=1.0):
    return (
        amplitude
        * torch.sin(2 * torch.pi * hertz * torch.arange(round(seconds * rate), dtype=torch.float64) / rate)[None].float()
    )


@pytest.mark.parametrize("rate", RATES)
def test_a_sine_peaks_in_its_band(rate):
    edges = librosa.mel_frequencies(BANDS + 2, fmin=LOWEST_HZ, fmax=min(HIGHEST_HZ, 0.49 * rate))
    for band in (20, 40, 60, 79):
        found = log_mel(sine(float(edges[band + 1]), rate), rate, 40, 50.0)[0]
        assert found.shape == (40, BANDS)
        assert (found[5:-5].argmax(dim=-1) == band).all()


@pytest.mark.parametrize("rate", RATES)
def test_it_is_that_of_librosa(rate):
    """But for its scale, in which a full-scale sine has the power 1."""
    audio = (0.1 * np.random.default_rng(0).normal(size=rate // 2)).astype(np.float32)
    size = min((2**n for n in range(8, 13)), key=lambda size: abs(size - SPAN_SECONDS * rate))
    hop = rate // 50
    mel = librosa.feature.melspectrogram(
        **{"y": audio, "sr": rate, "n_fft": size, "hop_length": hop, "center": True, "pad_mode": "constant", "power": 2.0},
        **{"n_mels": BANDS, "fmin": LOWEST_HZ, "fmax": min(HIGHEST_HZ, 0.49 * rate), "htk": False, "norm": None},
    )
    scale = (2 / librosa.filters.get_window("hann", size).sum()) ** 2
    found = log_mel(torch.from_numpy(audio)[None], rate, 20, rate / hop)[0].numpy()
    np.testing.assert_allclose(found, np.log(mel.T[:20] * scale + FLOOR), atol=2e-3)


def test_power_is_that_of_a_full_scale_sine():
    """Where the bands are narrow and overlap, their sum at a frequency is 1 bin's and its neighbours'."""
    for amplitude in (1.0, 0.1):
        found = log_mel(sine(3000.0, 24_000, amplitude=amplitude), 24_000, 40, 50.0)[0, 20]
        total = 10 * np.log10(float(found.exp().sum()) / 1.5)  # a Hann window spreads 1 over 1, 1/4 and 1/4
        assert total == pytest.approx(20 * np.log10(amplitude), abs=0.1)


@pytest.mark.parametrize("frame_rate", [50.0, 75.0, 93.75, 100 / 3])
@pytest.mark.parametrize("name", DESCRIPTORS)
def test_frames_are_centred_at_their_time_whatever_the_hop(name, frame_rate):
    """A burst lifts most the frame that it is in the middle of, also where a hop is no whole number of samples."""
    rate = 8_000
    for frame in (7, 46, round(1.7 * frame_rate)):
        audio = torch.zeros(1, 2 * rate)
        step = max(1, int(frame_rate / SALIENCES)) if name == "salience" else 1
        frame -= frame % step
        centre = round(frame / frame_rate * rate)
        burst = sine(2000.0, rate, 0.01)[0]
        audio[0, centre - len(burst) // 2 :][: len(burst)] = burst
        found = DESCRIPTORS[name].compute(audio, rate, 170, frame_rate)[0]
        level = found.exp().sum(dim=-1) if name == "log_mel" else found[:, (95 - 21) * 5 : (97 - 21) * 5].amax(dim=-1)
        assert level.argmax() // step * step == frame
        assert level[frame - step] == pytest.approx(float(level[frame + step]), rel=0.3)


@pytest.mark.parametrize("name", DESCRIPTORS)
def test_around_the_recording_is_silence(name):
    """Frames behind the end, as in a padded window, and those that the end cuts."""
    rate, descriptor = 16_000, DESCRIPTORS[name]
    audio = sine(500.0, rate, 0.5)
    padded = torch.nn.functional.pad(audio, (0, rate))
    found = descriptor.compute(audio, rate, 70, 50.0)
    assert found.shape == (1, 70, descriptor.width)
    torch.testing.assert_close(found, descriptor.compute(padded, rate, 70, 50.0))
    quiet = np.log(FLOOR) if name == "log_mel" else 0.0
    assert (found[0, 45:] - quiet).abs().max() < 1e-5
    assert (found[0, 10] - quiet).abs().max() > 0.01


@pytest.mark.parametrize("name", DESCRIPTORS)
def test_a_batch_is_its_recordings(name):
    both = torch.cat([sine(300.0, 16_000), sine(700.0, 16_000, amplitude=0.1)])
    found = DESCRIPTORS[name].compute(both, 16_000, 20, 50.0)
    for row in range(2):
        torch.testing.assert_close(found[row : row + 1], DESCRIPTORS[name].compute(both[row : row + 1], 16_000, 20, 50.0))
    assert torch.equal(describe([name], both, 16_000, 20, 50.0)[name], found)
    assert describe([], both, 16_000, 20, 50.0) == {}
