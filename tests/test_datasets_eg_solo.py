"""EG-Solo, on small trees: MIDI labels, and recordings that the user adds."""

import numpy as np
import pretty_midi
import pytest
from made_datasets import audio, whats
from typer.testing import CliRunner

from etude.adapters.datasets.eg_solo import EgSolo
from etude.adapters.recipe.schema import load_recipe
from etude.adapters.training.engine import train
from etude.cli.app import app

CLASSES = ("normal", "slide", "bend", "vibrato", "mute", "pull_off", "harmonic", "hammer_on", "tap")
NAMES = ("normal", "Slide", "bend", "trill", "mute", "pull", "harmonic", "hammer", "tap")
VIDEOS = {"20 Classic Intermediate Level Solos": 4, "50 Easy Guitar Solos": 6, "Guitar Gym": 3}


def midi(path, tracks):
    """``tracks``: name -> pitch, onset and offset of each note."""
    path.parent.mkdir(parents=True, exist_ok=True)
    song = pretty_midi.PrettyMIDI(resolution=960)
    for name, notes in tracks.items():
        track = pretty_midi.Instrument(0, name=name)
        track.notes = [pretty_midi.Note(100, pitch, start, end) for pitch, start, end in notes]
        song.instruments.append(track)
    song.write(str(path))


def solos(root, seconds=4.0):
    """Each clip has one note of every technique, and two phrases around them."""
    number = 0
    for video, count in VIDEOS.items():
        for index in range(count):
            number += 1
            stem = f"{index}_Sweet_Home"
            audio(root / "audio" / video / f"{stem}.wav", seconds, number)
            notes = {name: [(50 + k, 0.25 * k, 0.25 * k + 0.2)] for k, name in enumerate(NAMES)}
            midi(root / "midi" / video / f"{stem}.mid", {**notes, "phrases": [(60, 0, 1), (60, 1, 2.5)]})
    return root


def eg_solo(root, **fields):
    return EgSolo(EgSolo.Config(name="eg_solo", root=str(root), **fields))


def events(track):
    return [(round(n.onset, 3), round(n.offset, 3), n.technique, n.pitch) for n in track.annotation.notes]


def test_notes_are_those_of_the_tracks_of_all_nine_techniques(tmp_path):
    data = eg_solo(solos(tmp_path))
    assert (data.check()[1], data.notices) == ([], [])
    assert data.classes == {"notes": CLASSES}
    tracks = data.check()[0]
    assert len(tracks) == 13
    expected = [(round(0.25 * k, 3), round(0.25 * k + 0.2, 3), CLASSES[k], 50 + k) for k in range(9)]
    assert all(events(track) == expected for track in tracks)


def test_players_are_in_one_split_each(tmp_path):
    data = eg_solo(solos(tmp_path))
    splits = {}
    for track in data.check()[0]:
        splits.setdefault(track.group, set()).add(track.split)
    assert set(splits) == set(VIDEOS)
    assert sorted(map(sorted, splits.values())) == [["test"], ["train"], ["validation"]]
    assert splits["50 Easy Guitar Solos"] == {"train"}, "the largest"
    by_name = eg_solo(tmp_path, group=r"/(\d)_")
    assert {track.group for track in by_name.check()[0]} == set("012345")


def test_folders_called_as_splits_are_taken_at_their_word(tmp_path):
    for number, split in enumerate(("train", "valid", "test", "train")):
        audio(tmp_path / split / f"{number}.wav", 2, number)
        midi(tmp_path / split / f"{number}.mid", {"bend": [(60, 0.1, 0.5)]})
    tracks = eg_solo(tmp_path).check()[0]
    assert {track.id: track.split for track in tracks} == {
        "train/0": "train",
        "valid/1": "validation",
        "test/2": "test",
        "train/3": "train",
    }


def test_pitches_of_a_track_of_their_own_may_stand_for_techniques(tmp_path):
    audio(tmp_path / "a.wav", 2)
    notes = [(60, 0.1, 0.5), (62, 0.6, 1.0), (64, 1.2, 1.6)]
    midi(
        tmp_path / "a.mid", {"Notes": notes, "Technique": [(2, 0.1, 0.5), (3, 0.55, 0.7), (1, 0.7, 1.1)], "phrase": [(1, 0, 2)]}
    )
    (track,) = eg_solo(tmp_path, keys={1: "slide", 2: "bend", 3: "vibrato"}).check()[0]
    assert events(track) == [(0.1, 0.5, "bend", 60), (0.6, 1.0, "slide", 62), (1.2, 1.6, "normal", 64)]
    _, problems = eg_solo(tmp_path, keys={1: "slide", 2: "bend"}).check()
    assert problems == [], "a key that no note hears longest does not matter"
    _, (problem,) = eg_solo(tmp_path, keys={1: "slide"}).check()
    assert problem.what == "unknown technique 'key 2.0'"


def test_what_does_not_fit_is_cut_or_told(tmp_path):
    audio(tmp_path / "a.wav", 1)
    audio(tmp_path / "b.wav", 1, 1)
    audio(tmp_path / "lone.wav", 1, 2)
    midi(tmp_path / "a.mid", {"bend": [(60, 0.5, 1.5), (62, 1.2, 1.4)]})
    midi(tmp_path / "b.mid", {"bent": [(60, 0.5, 0.9)]})
    midi(tmp_path / "gone.mid", {"bend": [(60, 0.5, 0.9)]})
    data = eg_solo(tmp_path)
    tracks, (problem,) = data.check()
    assert [events(track) for track in tracks] == [[(0.5, 1.0, "bend", 60)]]
    assert str(problem).startswith(f"{tmp_path}/b.mid")
    assert "unknown technique 'bent' (did you mean 'bend'?)" in str(problem)
    assert [notice.what for notice in data.notices] == [
        "1 of 3 recordings have no annotation file of their name",
        "1 of 3 MIDI files have no recording",
        "1 events in 1 recordings last no time or begin after the end, and are left out",
        "1 events in 1 recordings outlast it, and are cut",
    ]


def test_tracks_that_say_no_technique_are_a_problem_and_so_is_no_midi_at_all(tmp_path):
    audio(tmp_path / "a.wav", 1)
    _, (problem,) = eg_solo(tmp_path).check()
    assert problem.what == "holds no recording with a MIDI file of its name"
    midi(tmp_path / "a.mid", {"": [(60, 0.1, 0.5)]})
    _, (problem,) = eg_solo(tmp_path).check()
    assert problem.what == "no track is called as a technique is"
    (tmp_path / "a.mid").write_bytes(b"MThd\x00")
    assert "faulty MIDI" in whats(eg_solo(tmp_path).check()[1])
    midi(tmp_path / "a.mid", {"bend": [(60, 0.1, 0.5)]})
    _, (problem,) = eg_solo(tmp_path, keys={1: "slide"}).check()
    assert problem.what == "has no track with 'tech' in its name"


def test_the_recipe_runs(tmp_path):
    root = solos(tmp_path / "EG-Solo")
    result = CliRunner(env={"COLUMNS": "200"}).invoke(app, ["data", "check", "eg-solo", f"data.root={root}"])
    assert result.exit_code == 0, result.stderr
    assert "hammer_on 6" in result.stdout
    small = ["backbone.weights=random:tiny", "backbone.window=2.0", "train.epochs=1", "train.precision=fp32"]
    adapter = train(load_recipe("eg-solo", [f"data.root={root}", *small]), tmp_path / "run", tmp_path / "adapter")
    assert (adapter / "recipe.yaml").exists()


@pytest.mark.parametrize("seed", range(3))
def test_any_bytes_are_told_and_never_raise(tmp_path, seed):
    audio(tmp_path / "a.wav", 1)
    midi(tmp_path / "a.mid", {"bend": [(60, 0.1, 0.5)], "tech": [(1, 0, 1)]})
    content, rng = bytearray((tmp_path / "a.mid").read_bytes()), np.random.default_rng(seed)
    for _ in range(60):
        changed = bytearray(content)
        for place in rng.integers(0, len(content), 3):
            changed[place] = rng.integers(256)
        (tmp_path / "a.mid").write_bytes(changed)
        for keys in (None, {1: "slide"}):
            tracks, problems = eg_solo(tmp_path, keys=keys).check()
            assert tracks or problems
