import sys
from dataclasses import replace
from itertools import groupby, pairwise

import librosa
import numpy as np
import pytest
import soundfile
from numpy.random import default_rng
from pydantic import ValidationError

from etude.adapters import registry
from etude.adapters.datasets import SPLITS
from etude.adapters.datasets._parts.koto import STRINGS, TECHNIQUES, Event, Instrument, compose, render, voice_of
from etude.adapters.datasets.soundfont_phrases import shipped
from etude.adapters.errors import UserError
from etude.adapters.sound.performance import DAMPING, Performance, PlayedNote, Stroke

pytest.importorskip("midirenderer")
KOTO, CHOIR, RATE = Instrument(107, shipped()), Instrument(52, shipped()), 24_000


def only(technique, wanted, seconds=8.0):
    """The first ``wanted`` events of one technique, in phrases of nothing else."""
    found = []
    for seed in range(100):
        found += compose((technique,), seconds, default_rng(seed))
        if len(found) >= wanted:
            return found[:wanted]
    raise AssertionError(technique)


def pluck(onset, offset, pitch):
    """One string, damped at ``offset``."""
    return Event("pluck", PlayedNote(Performance((Stroke(0.0, offset - onset),), damped=True), pitch, onset=onset))


def strokes_of(events):
    """Onset and offset of every stroke."""
    return [
        (event.played.onset + stroke.start, event.played.onset + stroke.stop)
        for event in events
        for stroke in event.played.performance.strokes
    ]


def audio_of(event):
    """One event alone, starting at 0.1 s; and what is played."""
    played = replace(event.played, onset=0.1)
    return render([Event(event.technique, played)], KOTO, played.offset + 0.1, RATE), played


HOP = 128


def bend_of(played):
    """Times of the wheel, seconds, and semitones."""
    bend = played.performance.bend
    return played.onset + np.array(bend.times), np.array([bend.curve(time) for time in bend.times])


def pitch_track(audio, near, hop=HOP):
    """MIDI pitch per hop, NaN where unvoiced, searched within 5 semitones of ``near``."""
    low, high = librosa.midi_to_hz((near - 5, near + 5))
    f0, _, _ = librosa.pyin(audio, fmin=low, fmax=high, sr=RATE, frame_length=1024, hop_length=hop)
    return librosa.hz_to_midi(f0)


@pytest.mark.parametrize("seed", range(20))
def test_an_eight_second_phrase_holds_every_technique_one_event_at_a_time(seed):
    events = compose(TECHNIQUES, 8.0, default_rng(seed))
    assert {event.technique for event in events} == set(TECHNIQUES)
    strokes = strokes_of(events)
    assert all(offset <= onset + 1e-9 for (_, offset), (onset, _) in pairwise(strokes))
    assert all(offset > onset for onset, offset in strokes)
    played = [(event.played, stroke) for event in events for stroke in event.played.performance.strokes]
    assert all(1 <= note.velocity + stroke.louder <= 127 for note, stroke in played)
    assert {note.pitch for note, _ in played} <= set(STRINGS)
    assert all(stroke.above == 0 for _, stroke in played)
    assert all(event.played.performance.damped for event in events)
    assert strokes[0][0] >= 0
    assert strokes[-1][1] + DAMPING <= 8.0


def test_a_glissando_is_a_run_of_short_events_over_neighbouring_strings():
    events = compose(("glissando", "pluck", "vibrato"), 60.0, default_rng(1))
    runs = [list(run) for technique, run in groupby(events, lambda event: event.technique) if technique == "glissando"]
    # Two runs can follow one another; they are told apart by their steps' lengths.
    runs = [list(run) for joined in runs for _, run in groupby(joined, lambda e: round(e.played.performance.seconds, 6))]
    assert len(runs) > 5
    for run in runs:
        assert 5 <= len(run) <= 9
        assert set(np.diff([STRINGS.index(event.played.pitch) for event in run])) in ({1}, {-1})
        assert all(0.05 < event.played.performance.seconds < 0.13 for event in run)
        assert all(a.played.offset == pytest.approx(b.played.onset) for a, b in pairwise(run))


def test_the_sound_begins_at_the_label_for_every_string():
    events = [pluck(0.1 + 0.4 * k, 0.4 + 0.4 * k, pitch) for k, pitch in enumerate(STRINGS)]
    audio = render(events, KOTO, 5.0, RATE)
    for at, _ in strokes_of(events):
        around = audio[round((at - 0.05) * RATE) : round((at + 0.1) * RATE)]
        # Independent of the calibration's amplitude rule: where short-time energy has risen by most.
        energy = np.convolve(around**2, np.ones(24) / 24, "same")
        rise = np.log(energy[24:] + 1e-5) - np.log(energy[:-24] + 1e-5)
        assert abs((np.argmax(rise) + 12) / RATE - 0.05) < 0.002


def test_labels_agree_with_spectral_flux_in_whole_phrases():
    for seed in range(2):
        events = compose(TECHNIQUES, 8.0, default_rng(seed))
        audio = render(events, KOTO, 8.0, RATE)
        assert np.abs(audio).max() == pytest.approx(0.7)
        level = np.log1p(100 * np.abs(librosa.stft(audio, n_fft=256, hop_length=24)))
        flux = np.maximum(0, level[:, 6:] - level[:, :-6]).sum(axis=0)  # index i is 3 ms + i ms
        for onset, _ in strokes_of(events):
            first = max(0, round((onset - 0.03) * 1000))
            peak = (first + np.argmax(flux[first : round((onset + 0.03) * 1000)]) + 3) / 1000
            assert abs(peak - onset) < 0.005


def test_the_sound_ends_where_it_is_damped():
    audio = render([pluck(0.1, 0.6, 62)], KOTO, 1.0, RATE)
    level = lambda a, b: np.sqrt(np.mean(audio[round(a * RATE) : round(b * RATE)] ** 2))  # noqa: E731
    assert level(0.57, 0.6) > 0.1 * level(0.1, 0.2)
    assert level(0.6 + DAMPING + 0.01, 1.0) < 1e-3 * level(0.1, 0.2)


def test_a_note_that_has_decayed_is_not_labelled_any_longer():
    event = pluck(0.1, 3.9, 74)
    note = event.note(KOTO)
    assert note.offset < 3.0
    audio = np.abs(render([event], KOTO, 4.0, 48_000))
    decibels = 20 * np.log10(audio / audio.max() + 1e-9)
    assert decibels[round((note.offset - 0.005) * 48_000) :].max() > -34.2
    assert decibels[round((note.offset + 0.005) * 48_000) :].max() < -34
    assert event.note(CHOIR).offset == pytest.approx(0.1 + voice_of(CHOIR, 74).ring)  # a choir does not decay
    assert voice_of(CHOIR, 74).ring > 2.5


def test_vibrato_is_heard_at_its_rate_and_depth():
    for event in only("vibrato", 3):
        audio, played = audio_of(event)
        times, bends = bend_of(played)
        ups = times[1:][(bends[:-1] < 0) & (bends[1:] >= 0)]
        track = pitch_track(audio, played.pitch)
        inside = track[round((times[0] + 0.02) * RATE / HOP) : round((played.offset - 0.03) * RATE / HOP)]
        curve = np.nan_to_num(inside - np.nanmedian(inside))
        spectrum = np.abs(np.fft.rfft(curve * np.hanning(len(curve)), 16 * len(curve)))
        spectrum[: round(2 * 16 * len(curve) * HOP / RATE)] = 0
        rate = np.argmax(spectrum) * RATE / HOP / (16 * len(curve))
        assert rate == pytest.approx(1 / np.diff(ups).mean(), abs=0.4)
        assert 4.7 < rate < 7.3
        depth = (np.nanpercentile(inside, 98) - np.nanpercentile(inside, 2)) / 2
        assert depth == pytest.approx(bends.max(), abs=0.1)
        assert np.nanmedian(track[round(0.12 * RATE / HOP) : round(0.14 * RATE / HOP)]) == pytest.approx(played.pitch, abs=0.15)


@pytest.mark.parametrize(("technique", "direction"), [("upward_portamento", 1), ("downward_portamento", -1)])
def test_portamento_slides_from_the_labelled_pitch_by_one_to_three_semitones(technique, direction):
    for event in only(technique, 3):
        audio, played = audio_of(event)
        times, bends = bend_of(played)
        track = pitch_track(audio, played.pitch)
        begin, end = times[0], times[-1]
        assert 0.1 <= end - begin + 0.006 <= 0.31
        before = np.nanmedian(track[round(0.115 * RATE / HOP) : round((begin + 0.02) * RATE / HOP)])
        after = np.nanmedian(track[round((end + 0.03) * RATE / HOP) : round((played.offset - 0.02) * RATE / HOP)])
        assert before == pytest.approx(played.pitch, abs=0.2) == event.note(KOTO).pitch
        assert after - before == pytest.approx(bends[-1], abs=0.15)
        assert round(direction * (after - before)) in (1, 2, 3)


def test_tremolo_strokes_are_heard_at_their_rate():
    for event in only("tremolo", 2):
        audio, played = audio_of(event)
        level = np.log1p(100 * np.abs(librosa.stft(audio, n_fft=256, hop_length=24)))
        flux = np.maximum(0, level[:, 6:] - level[:, :-6]).sum(axis=0)
        flux = flux[100 : round(played.offset * 1000)] - flux.mean()
        spectrum = np.abs(np.fft.rfft(flux, 20_000))
        band = slice(6 * 20, 16 * 20)
        rate = (np.argmax(spectrum[band]) + band.start) / 20
        assert rate == pytest.approx(1 / played.performance.strokes[1].start, abs=0.4)
        assert 7.6 < rate < 14.4
        note = event.note(KOTO)
        assert (note.onset, note.offset) == (strokes_of([event])[0][0], strokes_of([event])[-1][1])


def dataset(**fields):
    found = registry.find("datasets", "soundfont_phrases")
    return found(found.Config(name="soundfont_phrases", **fields))


@pytest.fixture(scope="module")
def rendered(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ETUDE_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield dataset(phrases={"train": 2, "validation": 1, "test": 1})


def test_every_split_holds_every_technique_with_labels_in_range(rendered):
    assert rendered.classes["notes"] == TECHNIQUES
    for split, count in (("train", 2), ("validation", 1), ("test", 1)):
        tracks = rendered.tracks(split)
        assert len(tracks) == count
        for track in tracks:
            assert (track.info.sample_rate, track.info.frames, track.info.channels) == (RATE, 8 * RATE, 1)
            notes = track.annotation.notes
            assert {note.technique for note in notes} == set(TECHNIQUES)
            assert all(0 <= note.onset < note.offset <= 8.0 and note.pitch in STRINGS for note in notes)
            samples, _ = soundfile.read(track.audio)
            assert 0.5 < np.abs(samples).max() < 1.0
    assert "GPL" in rendered.licence


def test_phrases_differ_within_and_between_splits(rendered):
    tracks = [track for split in SPLITS for track in rendered.tracks(split)]
    assert len({track.annotation for track in tracks}) == len(tracks) == 4


def test_the_same_seed_gives_the_same_bytes_and_more_phrases_change_none(rendered, tmp_path, monkeypatch):
    folder = rendered.folder()
    assert rendered.folder() == folder  # found again, not rendered again
    monkeypatch.setenv("ETUDE_CACHE", str(tmp_path))
    again = dataset(phrases={"train": 1, "validation": 1}).folder()
    names = [f"{split}/0000.{kind}" for split in ("train", "validation") for kind in ("flac", "csv")]
    assert [(again / name).read_bytes() for name in names] == [(folder / name).read_bytes() for name in names]
    other = dataset(phrases={"train": 1}, seed=1).folder()
    assert (other / "train/0000.csv").read_bytes() != (folder / "train/0000.csv").read_bytes()


def test_a_chosen_technique_instrument_and_rate(tmp_path, monkeypatch):
    monkeypatch.setenv("ETUDE_CACHE", str(tmp_path))
    chosen = dataset(program=24, techniques=("tremolo", "pluck"), phrase_seconds=4, phrases={"train": 1}, sample_rate=16_000)
    (track,) = chosen.tracks("train")
    assert chosen.classes["notes"] == ("tremolo", "pluck")
    assert {note.technique for note in track.annotation.notes} == {"tremolo", "pluck"}
    assert (track.info.sample_rate, track.info.duration) == (16_000, 4.0)


def test_another_soundfont_sounds_and_is_kept_by_what_it_holds(tmp_path, monkeypatch):
    """A copy in which guitar and koto have changed places: its guitar plays what the shipped koto plays."""
    monkeypatch.setenv("ETUDE_CACHE", str(tmp_path / "cache"))
    contents, swapped = shipped().read_bytes(), tmp_path / "swapped.sf2"
    first = contents.index(b"phdr") + 8
    headers = np.frombuffer(
        contents, "V20,<u2,<u2,V14", int.from_bytes(contents[first - 4 : first], "little") // 38, first
    ).copy()
    guitar, koto = ((headers["f1"] == program) & (headers["f2"] == 0) for program in (24, 107))
    headers["f1"][guitar], headers["f1"][koto] = 107, 24
    swapped.write_bytes(contents[:first] + headers.tobytes() + contents[first + headers.nbytes :])
    (tmp_path / "copy.sf2").write_bytes(contents)
    own, other, same = (dataset(phrases={"train": 1}, **fields) for fields in (
        {}, {"soundfont": str(swapped), "program": 24}, {"soundfont": str(tmp_path / "copy.sf2")}
    ))  # fmt: skip
    for name in ("train/0000.flac", "train/0000.csv"):
        assert (other.folder() / name).read_bytes() == (own.folder() / name).read_bytes()
    assert other.folder() != own.folder() == same.folder()
    assert (other.licence, other.tracks("train")[0].info.duration) == ("unknown", 8.0)


@pytest.mark.parametrize(
    "fields",
    [
        {"techniques": ("pluck", "pluck")},
        {"techniques": ("slap",)},
        {"techniques": ()},
        {"phrases": {"dev": 1}},
        {"phrase_seconds": 1},
    ],
)
def test_impossible_settings_are_refused(fields):
    with pytest.raises(ValidationError):
        dataset(**fields)


def test_a_missing_synthesiser_or_soundfont_is_one_line_with_the_remedy(tmp_path, monkeypatch):
    monkeypatch.setenv("ETUDE_CACHE", str(tmp_path))
    with pytest.raises(UserError, match=r"none\.sf2: cannot be read: No such file or directory \(check the path\)$"):
        dataset(soundfont=str(tmp_path / "none.sf2")).tracks("train")
    (tmp_path / "other.sf3").write_bytes(b"not one")
    with pytest.raises(UserError, match=r"other\.sf3: .*SoundFont.* \(give a whole \.sf2 file; \.sf3 is not read\)$"):
        dataset(soundfont=str(tmp_path / "other.sf3")).tracks("train")
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "midirenderer", None)
        with pytest.raises(UserError, match=r"midirenderer is not installed \(pip install 'etude\[demo\]'\)$"):
            dataset().tracks("train")
    import pretty_midi

    monkeypatch.setattr(pretty_midi, "__file__", str(tmp_path / "pretty_midi.py"))
    with pytest.raises(UserError, match=r"TimGM6mb.sf2 .*\(pip install 'etude\[demo\]'\)$"):
        dataset().tracks("train")
    assert not list(tmp_path.rglob("*.flac"))
