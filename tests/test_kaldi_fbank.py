"""Kaldi's filterbank against its definition, spelled out sample by sample, and against transformers."""

import math

import numpy as np
import pytest
import torch
from transformers import ASTFeatureExtractor
from transformers.audio_utils import mel_filter_bank

from etude.adapters.backbones._parts.kaldi_fbank import FLOOR, KaldiFilterbank, mel_filters


def music(seconds, seed=0):
    """A decaying harmonic tone and noise on a constant, which the filterbank must remove."""
    generator = torch.Generator().manual_seed(seed)
    time = torch.arange(round(seconds * 16_000)) / 16_000
    tone = sum(torch.sin(2 * torch.pi * 220 * (seed + 1) * k * time) / k for k in range(1, 6)) * torch.exp(-time)
    return 0.2 * tone + 0.001 * torch.randn(len(time), generator=generator) + 0.1


def kaldi(samples, bands):
    """feature-window.cc, feature-fbank.cc and mel-computations.cc of Kaldi, one frame at a time: ``[frames, bands]``."""
    mel = lambda frequency: 1127.0 * math.log(1.0 + frequency / 700.0)  # noqa: E731
    step = (mel(8000.0) - mel(20.0)) / (bands + 1)
    rows = []
    for start in range(0, len(samples) - 399, 160):
        frame = [float(x) for x in samples[start : start + 400]]
        average = sum(frame) / 400
        frame = [x - average for x in frame]
        for i in range(399, 0, -1):
            frame[i] -= 0.97 * frame[i - 1]
        frame[0] -= 0.97 * frame[0]
        windowed = [x * (0.5 - 0.5 * math.cos(2 * math.pi * i / 399)) for i, x in enumerate(frame)]
        power = np.abs(np.fft.fft(windowed + [0.0] * 112)) ** 2
        row = []
        for band in range(bands):
            left, centre, right = (mel(20.0) + step * (band + i) for i in range(3))
            energy = 0.0
            for k in range(256):
                position = mel(k * 16_000 / 512)
                if left < position <= centre:
                    energy += (position - left) / (centre - left) * power[k]
                elif centre < position < right:
                    energy += (right - position) / (right - centre) * power[k]
            row.append(math.log(max(energy, FLOOR)))
        rows.append(row)
    return torch.tensor(rows, dtype=torch.float64)


@pytest.mark.parametrize("bands", [23, 128])
def test_is_kaldis_definition(bands):
    audio = music(0.06)
    expected = kaldi(audio.tolist(), bands).T
    exact = KaldiFilterbank(bands).double()
    window = torch.hann_window(400, periodic=False, dtype=torch.float64)[1:]
    exact.mel_filters, exact.window = mel_filters(bands), torch.nn.functional.pad(window, (0, 113))
    torch.testing.assert_close(exact(audio[None].double())[0], expected, atol=1e-8, rtol=0)
    torch.testing.assert_close(KaldiFilterbank(bands)(audio[None])[0].double(), expected, atol=1e-3, rtol=0)


@pytest.mark.filterwarnings("ignore:At least one mel filter has all zero values")
def test_filters_are_those_of_transformers():
    expected = mel_filter_bank(257, 128, 20.0, 8000.0, 16_000, mel_scale="kaldi", triangularize_in_mel_space=True)
    torch.testing.assert_close(mel_filters(128), torch.from_numpy(expected.T), atol=1e-10, rtol=0)


@pytest.mark.filterwarnings("ignore:At least one mel filter has all zero values")
@pytest.mark.parametrize("seconds", [0.025, 0.5, 1.2345])
def test_is_the_extractor_of_transformers(seconds):
    audio = music(seconds)
    ours = KaldiFilterbank()(audio[None])[0]
    extractor = ASTFeatureExtractor(max_length=ours.shape[1], do_normalize=False)
    theirs = extractor(audio.numpy(), sampling_rate=16_000, return_tensors="pt").input_values[0]
    assert ours.shape[1] == (len(audio) - 400) // 160 + 1
    torch.testing.assert_close(ours, theirs.T.float(), atol=1e-3, rtol=0)


def test_rows_of_a_batch_do_not_mix_and_half_precision_changes_nothing():
    filterbank = KaldiFilterbank()
    batch = torch.stack([music(0.3), 1e-3 * music(0.3, 1)])
    alone = torch.cat([filterbank(row[None]) for row in batch])
    torch.testing.assert_close(filterbank(batch), alone)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        torch.testing.assert_close(filterbank(batch), alone)


def test_gradient():
    filterbank = KaldiFilterbank(8).double()
    audio = music(0.04)[None].double().requires_grad_()
    assert torch.autograd.gradcheck(filterbank, audio, fast_mode=True)
    silence = torch.zeros(1, 800, requires_grad=True)
    log_mel = KaldiFilterbank()(silence)
    assert (log_mel == math.log(FLOOR)).all()
    log_mel.sum().backward()
    assert (silence.grad == 0).all()
