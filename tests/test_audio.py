import math

import numpy as np
import pytest
import soundfile
import soxr
from hypothesis import given, settings
from hypothesis import strategies as st

from etude.adapters.errors import UserError
from etude.adapters.sound.audio import AudioInfo, probe, read_window


def write(path, samples, rate, **options):
    soundfile.write(path, samples, rate, **options)
    return path


def noise(seconds, rate, channels=1, seed=0):
    return np.random.default_rng(seed).uniform(-0.5, 0.5, (int(seconds * rate), channels)).astype(np.float32)


@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("target", [24000, 16000])
@pytest.mark.parametrize("rate", [44100, 48000, 22050, 8000, 24000])
def test_a_window_equals_the_same_stretch_of_the_resampled_whole(tmp_path, rate, target, channels):
    samples = noise(2.0137, rate, channels)
    path = write(tmp_path / "noise.wav", samples, rate, subtype="FLOAT")
    whole = soxr.resample(samples.mean(axis=1), rate, target, quality="HQ") if rate != target else samples.mean(axis=1)
    assert probe(path).samples_at(target) == len(whole)
    for start in (0, 1, target // 3, target, len(whole) - 3000, len(whole) - 1):
        window = read_window(path, start, 5000, target)
        assert window.dtype == np.float32
        assert window.shape == whole[start : start + 5000].shape
        np.testing.assert_allclose(window, whole[start : start + 5000], atol=1e-5)


@pytest.mark.parametrize("rate", [44100, 22050, 24000])
def test_neighbouring_windows_join_to_the_whole(tmp_path, rate):
    path = write(tmp_path / "noise.wav", noise(1.37, rate), rate, subtype="FLOAT")
    total = probe(path).samples_at(24000)
    pieces = [read_window(path, start, 7000, 24000) for start in range(0, total, 7000)]
    np.testing.assert_allclose(np.concatenate(pieces), read_window(path, 0, total, 24000), atol=1e-5)


@pytest.mark.parametrize(
    ("start", "count", "length"), [(0, 0, 0), (0, 10**9, 24000), (23999, 5, 1), (24000, 5, 0), (99999, 5, 0)]
)
def test_a_window_is_cut_where_the_recording_ends(tmp_path, start, count, length):
    path = write(tmp_path / "noise.flac", noise(1, 48000), 48000)
    assert len(read_window(path, start, count, 24000)) == length


@given(
    st.integers(1, 500_000), st.sampled_from([8000, 11025, 22050, 32000, 44100, 48000, 96000]), st.sampled_from([16000, 24000])
)
@settings(deadline=None, max_examples=40)
def test_the_resampled_length_is_that_of_soxr(frames, rate, target):
    expected = len(soxr.resample(np.zeros(frames, np.float32), rate, target)) if rate != target else frames
    assert AudioInfo(frames, rate, 1).samples_at(target) == max(1, expected)


def test_stereo_is_mixed_down_by_the_mean(tmp_path):
    path = write(tmp_path / "a.wav", np.tile(np.float32([[0.5, -0.25]]), (100, 1)), 24000, subtype="FLOAT")
    np.testing.assert_array_equal(read_window(path, 0, 100, 24000), np.full(100, 0.125, np.float32))


def test_one_sample_is_audio(tmp_path):
    path = write(tmp_path / "a.wav", np.float32([[0.5]]), 96000)
    assert read_window(path, 0, 10, 16000).shape == (1,)


@pytest.mark.parametrize("suffix", ["wav", "flac", "ogg", "mp3", "aiff"])
def test_formats_are_read(tmp_path, suffix):
    time = np.arange(2 * 44100) / 44100
    path = write(tmp_path / f"tone.{suffix}", 0.5 * np.sin(2 * math.pi * 440 * time), 44100)
    spectrum = np.abs(np.fft.rfft(read_window(path, 6000, 24000, 24000)))
    assert spectrum.argmax() == 440


def test_the_length_an_mp3_states_may_be_somewhat_too_long(tmp_path):
    path = write(tmp_path / "tone.mp3", noise(3, 44100), 44100)
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * 0.93)])
    info = probe(path)
    decoded = len(soundfile.read(path)[0])
    assert info.frames > decoded, "this file must show the fault"
    window = read_window(path, 0, info.samples_at(24000), 24000)
    assert len(window) == info.samples_at(24000)
    assert np.abs(window[: decoded * 24000 // 44100 - 500]).max() > 0.1
    assert np.abs(window[decoded * 24000 // 44100 + 500 :]).max() < 1e-3


def truncated(path, suffix):
    write(path, noise(5, 44100), 44100, format=suffix)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def nan(path, index):
    samples = noise(2, 44100)
    samples[index] = np.nan
    write(path, samples, 44100, subtype="FLOAT")


FAULTS = {
    "missing.wav": (lambda path: None, "no such audio file"),
    "folder.wav": (lambda path: path.mkdir(), "cannot be opened"),
    "zero.wav": (lambda path: path.write_bytes(b""), "cannot be read as audio"),
    "header-only.wav": (lambda path: write(path, np.zeros((0, 1)), 44100), "holds no audio"),
    "text.mp3": (lambda path: path.write_text("hello " * 1000), "cannot be read as audio"),
    "text.txt": (lambda path: path.write_text("hello"), "cannot be read as audio"),
    "headerless.raw": (lambda path: path.write_bytes(b"123"), "cannot be read as audio"),
    "start.flac": (lambda path: path.write_bytes(b"fLaC"), "cannot be read as audio"),
    "half.flac": (lambda path: truncated(path, "FLAC"), "cannot be decoded"),
    "half.mp3": (lambda path: truncated(path, "MP3"), "is truncated: audio ends at 2."),
    "nan.wav": (lambda path: nan(path, 66150), "NaN or infinite samples at 1.50 s"),
}


@pytest.mark.parametrize("name", FAULTS)
def test_a_faulty_file_is_a_user_error_that_names_it(tmp_path, name):
    make, what = FAULTS[name]
    make(tmp_path / name)
    with pytest.raises(UserError) as caught:
        read_window(tmp_path / name, 0, 10**9, 24000)
    (problem,) = caught.value.problems
    assert problem.where == str(tmp_path / name)
    assert what in problem.what
    assert problem.fix


@pytest.mark.parametrize("name", ["a\0b.wav", "a" * 300 + ".wav", "no/such/folder.wav"])
def test_an_impossible_path_is_a_user_error(tmp_path, name):
    with pytest.raises(UserError):
        probe(tmp_path / name)


def test_a_window_before_the_fault_is_read(tmp_path):
    nan(tmp_path / "nan.wav", 66150)
    assert np.isfinite(read_window(tmp_path / "nan.wav", 0, 24000, 24000)).all()
