"""Motion and timbre in clips: motion against the pitch that is measured in them, masks against loops."""

from dataclasses import fields

import numpy as np
import pytest
from numpy.random import default_rng
from scipy.signal import hilbert
from toy_clips import DRUM, HOP, INSTRUMENTS, Sines, composer, write_notes

from etude.adapters.pretraining import clips as module
from etude.adapters.pretraining.clips import MOTION_SECONDS, Clips
from etude.adapters.pretraining.instruments import LOWEST, RenderedNote
from etude.adapters.pretraining.techniques import PLAYERS
from etude.adapters.pretraining.timbre import describe
from etude.adapters.sound.spans import trim

SUNG_RATE, SUNG_FRAMES = 24_000, 120
MOVING = ("vibrato", "upward_portamento", "downward_portamento", "trill")


@pytest.fixture(scope="module")
def notes(tmp_path_factory):
    return write_notes(tmp_path_factory.mktemp("notes"))


class Sung:
    """Stands in for SoundFonts: sines that move as the technique says, under a silence at first; and a drum."""

    techniques, instruments, shares = tuple(PLAYERS), INSTRUMENTS, Sines.shares

    def __init__(self, paths, sample_rate):
        self.drawn = []

    def draw(self, instrument, plain, longest, rng):
        technique = "plain" if instrument.key else self.techniques[rng.integers(len(self.techniques))]
        performance, pitch = PLAYERS[technique](rng.uniform(0.3, 1.0), rng), rng.uniform(60, 80)
        pitches = np.full(round(min(longest, performance.seconds) * SUNG_RATE), pitch)
        for index in range(len(pitches)):
            time = index / SUNG_RATE
            pitches[index] += sum(stroke.above for stroke in performance.strokes if stroke.start <= time < stroke.stop)
            pitches[index] += performance.bend.curve(time) if performance.bend else 0
        samples = np.sin(2 * np.pi * np.cumsum(440 * 2 ** ((pitches - 69) / 12)) / SUNG_RATE)
        samples[: int(rng.uniform(0, 0.15) * SUNG_RATE) if len(samples) > 0.25 * SUNG_RATE else 0] = 0
        self.drawn.append(RenderedNote(samples.astype(np.float32), None if instrument.key else pitch, technique, performance))
        return self.drawn[-1]


@pytest.fixture
def sung(monkeypatch):
    monkeypatch.setattr(module, "SampledInstruments", Sung)


def singing(notes=None, **options):
    """At 24 kHz, of single notes unless ``options`` say more."""
    single = {"shape": {}, "clips": {"seconds": SUNG_FRAMES * HOP / SUNG_RATE}, "concatenation": None}
    return composer(notes, **(single | options))


def singles(technique, monkeypatch, count=12):
    """Clips of one pitched note each, with what was drawn."""
    monkeypatch.setattr(Sung, "techniques", (technique,))
    made = singing()
    for step in range(count):
        batch, drawn = made.batch(step, range(1)), made.sampled.drawn[-1]
        if drawn.pitch is not None:
            yield batch, drawn


def heard(audio):
    """A function from a sample's number to the pitch around it; ``None`` at an edge or a step."""
    phase = np.unwrap(np.angle(hilbert(audio.astype(np.float64))))
    with np.errstate(divide="ignore", invalid="ignore"):
        pitches = 69 + 12 * np.log2(np.abs(np.gradient(phase)) * SUNG_RATE / (2 * np.pi) / 440)
    loud = np.abs(audio) > 0.05 * np.abs(audio).max()

    def at(centre):
        centre = int(centre)
        if not 480 <= centre < len(audio) - 480:
            return None
        around = np.flatnonzero(loud[centre - 480 : centre + 480])
        if np.diff(around, prepend=-1, append=960).max() > 12:
            return None  # it does not sound all the time
        if abs(np.median(pitches[centre - 240 : centre - 120]) - np.median(pitches[centre + 120 : centre + 240])) > 0.5:
            return None
        return float(np.median(pitches[centre - 36 : centre + 36]))

    return at


@pytest.mark.parametrize("technique", MOVING)
def test_motion_and_pitch_are_those_that_are_heard(technique, monkeypatch, sung):
    known, compared, classes = 0, 0, set()
    for batch, drawn in singles(technique, monkeypatch):
        at, motion = heard(batch.audio[0]), batch.motion[0]
        known += int(batch.motion_mask.sum())
        first = int(np.flatnonzero(batch.motion_mask[0])[0])
        for frame in np.flatnonzero(batch.motion_mask[0]):
            now, then = (at((frame + 0.5) * HOP + shift * SUNG_RATE) for shift in (0, MOTION_SECONDS))
            if now is None:
                continue
            compared += 1
            assert motion[frame, 0] == pytest.approx(now - drawn.pitch, abs=0.06), (frame, first)
            if abs(now % 1 - 0.5) > 0.07:
                (label,) = np.flatnonzero(batch.pitch[0, frame])
                assert label + LOWEST == round(now), frame
                classes.add((label + LOWEST) - round(drawn.pitch))
            if then is not None:
                assert motion[frame, 1] == pytest.approx(then - now, abs=0.08), (frame, first)
    assert compared > 0.6 * known > 100
    assert len(classes) > 1, "the labels move"


@pytest.mark.parametrize("technique", [name for name in PLAYERS if name not in MOVING])
def test_notes_that_keep_their_pitch_have_no_motion_and_it_is_known(technique, monkeypatch, sung):
    for batch, drawn in singles(technique, monkeypatch, count=5):
        assert not batch.motion.any()
        assert batch.motion_mask.sum() > 2
        assert np.flatnonzero(batch.pitch.any(axis=(0, 1))).tolist() == [round(drawn.pitch) - LOWEST]


def test_timbre_is_that_of_the_whole_trimmed_note(monkeypatch, sung):
    for batch, drawn in singles("ghost", monkeypatch, count=6):
        found = trim(drawn.samples, SUNG_RATE)
        expected = describe(found.samples[found.onset : found.offset], SUNG_RATE)
        for frame, known in zip(batch.timbre[0], batch.timbre_mask[0, :, 0], strict=True):
            assert frame == pytest.approx(expected * known, abs=1e-5)


def test_only_where_one_note_sounds_is_it_known(notes, sung):
    made = singing(notes, clips={"seconds": 1.6, "parts": (0.4, 0.4, 0.2)}, concatenation={"probability": 0.6, "notes": (2, 3)})
    real, laid, seen = made._part, [], set()

    def part(rng):
        laid.append(real(rng))
        return laid[-1]

    made._part = part
    for step in range(25):
        laid.clear()
        batch = made.batch(step, range(1))
        rows = [item for row in laid for item in row]
        for frame in range(SUNG_FRAMES):
            inside = [
                (start, note) for start, note in rows if start < (frame + 1) * HOP and start + len(note.samples) > frame * HOP
            ]
            timbre, motion = np.zeros(8), np.zeros(2)
            single = len(inside) == 1
            rendered = single and inside[0][1].instrument < DRUM
            if single:
                timbre = inside[0][1].timbre
            if rendered:
                start, note = inside[0]
                now, then = (
                    sum(stroke.above for stroke in note.performance.strokes if stroke.start <= time < stroke.stop)
                    + (note.performance.bend.curve(time) if note.performance.bend else 0)
                    for shift in (0, 0.04)
                    for sounding in [(frame * HOP + HOP / 2 - start + note.trimmed) / SUNG_RATE + shift]
                    for time in [min(sounding, note.performance.seconds - 1e-9)]  # then it rings on
                )
                motion = np.array([now, then - now])
            assert batch.timbre_mask[0, frame, 0] == single
            assert batch.motion_mask[0, frame, 0] == rendered
            np.testing.assert_allclose(batch.timbre[0, frame], timbre, atol=1e-6)
            np.testing.assert_allclose(batch.motion[0, frame], motion, atol=1e-5)
            seen.add((len(inside) if not single else inside[0][1].instrument, single))
    assert {(0, False), (2, False), (0, True), (DRUM, True), (DRUM + 1, True)} <= seen


def test_what_is_known_of_a_note_stays_so_where_the_other_clip_is_silent():
    rng, batch, frames = default_rng(0), 3, 40
    sizes = {"instrument": 2, "technique": 2, "pitch": 3, "pitch_mask": 1, "onset": 1, "timbre": 8, "motion": 2}
    values = {name: rng.random((batch, frames, size)).astype(np.float32) for name, size in sizes.items()}
    values["audio"] = rng.random((batch, 5)).astype(np.float32)
    sounds = rng.random((batch, frames, 1)) < 0.5
    values["instrument"] *= sounds
    for name in ("timbre", "motion"):
        values[f"{name}_mask"] = (sounds & (rng.random((batch, frames, 1)) < 0.7)).astype(np.float32)
        values[name] *= values[f"{name}_mask"]
    assert values.keys() == {field.name for field in fields(Clips)}
    mixed, kinds = Clips(**values).mixed(0.3), set()
    for name in ("timbre", "motion"):
        target, mask = values[name], values[f"{name}_mask"]
        for clip in range(batch):
            for frame in range(frames):
                own, other = sounds[clip, frame, 0], sounds[clip - 1, frame, 0]
                source = clip if own else clip - 1
                known = own != other and mask[source, frame, 0]
                kinds.add((own, other, bool(known)))
                assert getattr(mixed, f"{name}_mask")[clip, frame, 0] == float(known)
                expected = target[source, frame] if known else 0 * target[source, frame]
                np.testing.assert_array_equal(getattr(mixed, name)[clip, frame], expected)
    assert len(kinds) == 6
