"""What a session takes: files, arrays with their rate, and blocks of a recording that is still going on."""

import numpy as np
import pytest
import soundfile

from etude.adapters.errors import UserError
from etude.adapters.inference import stream
from etude.adapters.inference.session import Session
from etude.adapters.sound.audio import Samples


@pytest.fixture(scope="module")
def session(folders):
    return Session(folders("lora", method="lora"), folders("wide", method="lora-last", overlap=0.5))


def equal(one, other):
    return all(np.array_equal(one[head][name], other[head][name]) for head in one for name in one[head])


@pytest.mark.parametrize("rate", [8000, 22050, 48000])
@pytest.mark.parametrize("channels", [1, 2])
def test_an_array_is_heard_as_the_file_it_was_read_from(session, tmp_path, rate, channels):
    values = np.random.default_rng(0).normal(0, 0.2, (round(2.3 * rate), channels)).astype(np.float32)
    path = tmp_path / "take.wav"
    soundfile.write(path, values, rate, subtype="FLOAT")
    from_file = session.activations(path)
    assert equal(from_file, session.activations(values, rate=rate))
    assert equal(from_file, session.activations(values.astype(np.float64), rate=rate))
    assert session(values, "wide", rate=rate) == session(path, "wide")
    assert session.all(values, rate=rate) == session.all(path)
    if channels == 1:
        assert equal(from_file, session.activations(values[:, 0], rate=rate))
    samples = Samples(values, rate)
    assert session.batch([(samples, "wide"), (path, "lora"), (samples, "lora")]) == session.batch(
        [(path, "wide"), (path, "lora"), (path, "lora")]
    )


def test_mistakes_with_arrays_are_one_line_each(session, take):
    noise = np.zeros(8000, np.float32)
    for arguments, message in (
        ({"recording": noise}, "an array has no sample rate"),
        ({"recording": take(0.5), "rate": 8000}, "a recording with a rate of its own was given another"),
        ({"recording": noise.reshape(2, -1), "rate": 8000}, r"an array of shape \[2, 4000\] is no recording"),
        ({"recording": np.zeros((2, 2, 2)), "rate": 8000}, "is no recording"),
        ({"recording": noise.astype(np.int16), "rate": 8000}, "an array of int16 is no recording"),
        ({"recording": noise, "rate": 0}, "0 is no sample rate"),
        ({"recording": noise[:0], "rate": 8000}, "holds no audio"),
        ({"recording": np.full(8000, np.nan), "rate": 8000}, "holds NaN or infinite samples at 0.00 s"),
    ):
        with pytest.raises(UserError, match=message):
            session(**arguments)


def test_any_number_of_windows_at_a_time(folders, take):
    path = take(3.3)
    for rows in (1, 3, 16):
        found = Session(folders("lora", method="lora"), rows=rows).activations(path)
        expected = Session(folders("lora", method="lora")).activations(path)
        for name, values in expected["technique"].items():
            np.testing.assert_allclose(found["technique"][name].astype(float), values.astype(float), atol=2e-3)
    with pytest.raises(UserError, match="0 windows at a time are too few"):
        Session(folders("lora", method="lora"), rows=0)


@pytest.mark.parametrize("name", ["lora", "wide"])
@pytest.mark.parametrize(("seconds", "rate"), [(3.3, 8000), (0.4, 8000), (5.05, 44100), (2.0, 24000)])
def test_a_stream_ends_with_what_a_call_gives(session, name, seconds, rate, monkeypatch):
    values = np.random.default_rng(1).normal(0, 0.2, (round(seconds * rate), 2)).astype(np.float32)
    expected, heard = session.activations(values, name, rate=rate), []
    real = stream.Stream._activations

    def activations(self, windows, frames):
        heard.append(real(self, windows, frames))
        return heard[-1]

    monkeypatch.setattr(stream.Stream, "_activations", activations)
    blocks = np.split(values, np.sort(np.random.default_rng(2).integers(0, len(values), 23)))
    annotations = list(session.stream(blocks, rate, name))
    assert len(annotations) == len(heard)
    for output, found in heard[-1]["technique"].items():
        np.testing.assert_allclose(found.astype(float), expected["technique"][output].astype(float), atol=2e-3)
    lengths = [len(item["technique"]["onset"]) for item in heard]
    assert lengths == sorted(lengths)
    assert len(annotations) > seconds - 2  # windows are 1 s long: something is said of each
    for earlier in heard[:-1]:  # what was said before is not taken back, but for the borders of windows
        first = len(earlier["technique"]["onset"]) - session.backbone.frames_per_window // 2
        for output, found in earlier["technique"].items():
            np.testing.assert_allclose(found[:first], heard[-1]["technique"][output][:first], atol=2e-3)


def test_a_stream_forgets_what_it_has_heard(session):
    state = stream.Stream(session._branches, session.device, session._find("lora"), 8000)
    longest = 0
    for _ in state.annotations(np.zeros((200, 1000), np.float32)):
        longest = max(longest, len(state._heard.values))
    assert longest < 8000 * 4
    assert state._heard.end == 200_000


def test_mistakes_in_streams_are_one_line_each(session):
    with pytest.raises(UserError, match="stream: holds no audio"):
        list(session.stream([], 8000))
    with pytest.raises(UserError, match="a block has 1 channels, those before had 2"):
        list(session.stream([np.zeros((10, 2)), np.zeros(10)], 8000))
    with pytest.raises(UserError, match="no adapter 'x' is loaded"):
        list(session.stream([np.zeros(10)], 8000, "x"))
