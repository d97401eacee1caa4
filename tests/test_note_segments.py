"""A stretch of sound as vectors: what does not belong to the note does not count."""

import numpy as np
import pytest
import torch

from etude.adapters.heads._parts.segments import (
    EARLY_SECONDS,
    LOWEST,
    NEPERS,
    RANGE_DB,
    describe,
    loudness,
    sounding,
)
from etude.adapters.sound.descriptors import BANDS, log_mel

RATE = 50.0
KINDS = ("beginning", "course", "spectrum")
rng = np.random.default_rng(0)


def segment(frames=40, width=6):
    """States, and log-mel bands that decay."""
    bands = rng.normal(-3, 1, (frames, BANDS)) - np.linspace(0, 4, frames)[:, None]
    return rng.normal(size=(frames, width)).astype(np.float32), bands.astype(np.float32)


def described(kind, states, bands):
    level = loudness(bands)
    first, last = sounding(level)
    return describe(kind, (bands if kind == "spectrum" else states)[first:last], level[first:last], RATE)


def padded(values, before, after, filler):
    width = values.shape[1]
    return np.concatenate([np.full((before, width), filler), values, np.full((after, width), filler)]).astype(np.float32)


SILENT = log_mel(torch.zeros(1, 16000), 16000, 3, RATE)[0].numpy()


@pytest.mark.parametrize(("before", "after"), [(0, 30), (7, 0), (50, 50)])
@pytest.mark.parametrize("kind", KINDS)
def test_silence_around_a_note_never_counts(kind, before, after):
    states, bands = segment()
    wide = padded(states, before, after, 3.0), padded(bands, before, after, SILENT[0, 0])
    np.testing.assert_array_equal(described(kind, *wide), described(kind, states, bands))


def test_silence_is_what_log_mel_says_of_it_and_has_no_frames():
    assert sounding(loudness(SILENT)) is None
    assert sounding(loudness(SILENT[:0])) is None
    faint = SILENT.copy()
    faint[1, 5] = -14.0
    assert sounding(loudness(faint)) == (1, 2)


def test_frames_far_below_the_loudest_do_not_sound_and_pauses_inside_do():
    level = np.array([-RANGE_DB * NEPERS - 0.1, -RANGE_DB * NEPERS + 0.1, 0.0, -12.0, -1.0, -9.5])
    assert sounding(level) == (1, 5)


@pytest.mark.parametrize("kind", KINDS)
def test_gain_does_not_matter(kind):
    states, bands = segment()
    np.testing.assert_allclose(described(kind, states, bands - 2.5), described(kind, states, bands), rtol=1e-4, atol=1e-5)


def test_loudness_is_the_power_of_all_bands():
    _, bands = segment(frames=4)
    np.testing.assert_allclose(loudness(bands), np.log(np.exp(bands.astype(float)).sum(axis=1)))


def test_vectors_by_hand():
    """The weight of a frame is the fourth root of its power, relative to the loudest."""
    states, bands = segment()
    level = loudness(bands)
    early = round(EARLY_SECONDS * RATE)
    power = np.exp(level) ** 0.25

    def moments(count):
        mean = np.average(states[:count], axis=0, weights=power[:count])
        return mean, np.sqrt(np.average((states[:count] - mean) ** 2, axis=0, weights=power[:count]))

    np.testing.assert_allclose(describe("beginning", states, level, RATE), moments(early)[0], rtol=1e-4, atol=1e-5)
    course = np.concatenate([*moments(early), *moments(len(states))])
    np.testing.assert_allclose(describe("course", states, level, RATE), course, rtol=1e-4, atol=1e-5)
    relative = np.maximum(bands - bands.max(), LOWEST)
    steps = np.abs(relative[1:] - relative[:-1]).mean(axis=0)
    parts = [relative.mean(axis=0), relative.std(axis=0), relative.max(axis=0), relative[:4].mean(axis=0), steps]
    np.testing.assert_allclose(describe("spectrum", bands, level, RATE), np.concatenate(parts), rtol=1e-4, atol=1e-5)


def test_the_beginning_knows_nothing_of_what_follows_and_the_course_does():
    states, bands = segment()
    changed = states.copy()
    changed[round(EARLY_SECONDS * RATE) :] += 5
    assert np.array_equal(described("beginning", states, bands), described("beginning", changed, bands))
    assert not np.allclose(described("course", states, bands), described("course", changed, bands), atol=0.1)


@pytest.mark.parametrize("frames", [1, 2, 3])
@pytest.mark.parametrize("kind", KINDS)
def test_the_shortest_notes_have_vectors_as_well(kind, frames):
    states, bands = segment(frames)
    found = described(kind, states, bands)
    assert found.shape == (5 * BANDS if kind == "spectrum" else 6 * (4 if kind == "course" else 1),)
    assert np.isfinite(found).all()
    if kind == "spectrum" and frames == 1:
        assert not found[-BANDS:].any(), "one frame has no steps"
