"""IRMAS, on small trees laid out as the release is, with the names and the doubled clips that it has."""

from pathlib import Path

import numpy as np
import pytest
import soundfile
from sklearn.model_selection import train_test_split
from typer.testing import CliRunner

from etude.adapters.annotations import Annotation
from etude.adapters.annotations.tags import Tag
from etude.adapters.datasets.irmas import CLASSES, Irmas, validation_songs
from etude.cli.app import app

GENRES = ("[cla]", "[pop_roc]", "[jaz_blu]", "[cou_fol]", "[lat_sou]")


def told(dataset):
    return [str(problem) for problem in dataset.check()[1]]


def wav(path, seed):
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, np.random.default_rng(seed).uniform(-0.5, 0.5, (1600, 2)), 44100)


def name_of(number, label, clip):
    """As in the release: with and without a number before, with drums, without drums, and without a word on them."""
    style = (f"[{label}]", f"[{label}][dru]", f"{number:03d}__[{label}][nod]")[number % 3]
    return f"{style}{GENRES[number % 5]}{number:04d}__{clip}.wav"


def irmas_tree(root, songs=4):
    """``songs`` songs with two clips each in every class, and a testing part with the inner folder and one without."""
    number = 0
    for label in CLASSES:
        for _ in range(songs):
            number += 1
            for clip in (1, 2):
                wav(root / "IRMAS-TrainingData" / label / name_of(number, label, clip), 2 * number + clip)
    for folder, name, text in (
        ("IRMAS-TestingData-Part1/Part1", "(02) dont kill the whale-15", "voi\t\ngel\t\n"),
        ("IRMAS-TestingData-Part2", "ab.cd-1", "pia\r\n\r\n"),
    ):
        wav(root / folder / f"{name}.wav", 5000 + len(name))
        (root / folder / f"{name}.txt").write_bytes(text.encode())
    return root


def irmas(root, **fields):
    return Irmas(Irmas.Config(name="irmas", root=str(root), **fields))


def song_of(track):
    return track.audio.name.split("__")[-2][-4:]


def test_tracks(tmp_path):
    data = irmas(irmas_tree(tmp_path))
    assert told(data) == []
    assert (data.classes, data.licence) == ({"tags": CLASSES}, "CC-BY-NC-SA-3.0")
    assert {Path(t.id).name: tuple(tag.name for tag in t.annotation.tags) for t in data.tracks("test")} == {
        "(02) dont kill the whale-15.wav": ("gel", "voi"),
        "ab.cd-1.wav": ("pia",),
    }
    training = [*data.tracks("train"), *data.tracks("validation")]
    assert len(training) == 88
    assert all(track.annotation == Annotation(tags=[Tag(track.audio.parent.name)]) for track in training)
    assert [notice.where for notice in data.notices] == [str(tmp_path / "IRMAS-TestingData-Part3")]


def test_songs_of_each_class_are_split_as_scikit_learn_splits_them(tmp_path):
    data = irmas(irmas_tree(tmp_path, songs=9))
    for label in CLASSES:
        songs = sorted({song_of(track) for track in data.check()[0] if track.audio.parent.name == label})
        train, held_out = train_test_split(songs, test_size=0.15, random_state=730)
        for split, expected in (("train", train), ("validation", held_out)):
            own = [track for track in data.tracks(split) if track.audio.parent.name == label]
            assert {song_of(track) for track in own} == set(expected)
            assert len(own) == 2 * len(expected)
    other = irmas(tmp_path, seed=1)
    assert {t.id for t in other.tracks("validation")} != {t.id for t in data.tracks("validation")}


@pytest.mark.parametrize("count", [7, 100, 2043])
def test_the_split_of_songs_is_scikit_learns(count):
    songs = [f"{number:04d}" for number in range(1, count + 1)]
    train, held_out = train_test_split(songs, test_size=0.15, random_state=730)
    assert validation_songs(set(songs), 730) == set(held_out)
    assert set(train) | set(held_out) == set(songs)


def doubled_tree(root):
    """Clips that are there twice: in one song, in two songs of which only one would validate, and under two instruments."""
    irmas_tree(root, songs=9)
    before = irmas(root)
    clips = {split: {} for split in ("train", "validation")}
    for split, found in clips.items():
        for track in before.tracks(split):
            found.setdefault(track.audio.parent.name, []).append(track.audio)
    pairs = [
        (clips["train"]["cel"][0], clips["train"]["cel"][1]),
        (clips["train"]["flu"][0], clips["validation"]["flu"][0]),
        (clips["train"]["gac"][0], clips["train"]["gel"][0]),
        (clips["train"]["org"][0], clips["validation"]["pia"][0]),
    ]
    for first, second in pairs:
        second.write_bytes(first.read_bytes())
    return pairs


def test_a_clip_that_is_there_twice_counts_once_with_both_labels(tmp_path):
    pairs = doubled_tree(tmp_path)
    data = irmas(tmp_path)
    assert (told(data), data.leaks()) == ([], [])
    tracks = {track.audio: track for track in data.check()[0]}
    assert len(tracks) == 11 * 9 * 2 + 2 - len(pairs)
    for kept, other in pairs:
        labels = sorted({kept.parent.name, other.parent.name})
        assert other not in tracks
        assert [tag.name for tag in tracks[kept].annotation.tags] == labels
    (notice,) = [notice for notice in data.notices if "more than once" in notice.what]
    assert notice.what.startswith("holds 4 clips more than once, 2 of them under several instruments, first ")


def test_songs_that_share_a_clip_are_in_one_split(tmp_path):
    pairs = doubled_tree(tmp_path)
    splits = {}
    for track in (track for track in irmas(tmp_path).check()[0] if track.split != "test"):
        splits.setdefault(song_of(track), set()).add(track.split)
    assert all(len(found) == 1 for found in splits.values())
    for pair in pairs:
        one, two = (path.name.split("__")[-2][-4:] for path in pair)
        assert splits[one] == splits[two]
    for label in set(CLASSES) - {"flu", "pia", "org"}:
        assert sum(splits[f"{9 * CLASSES.index(label) + song:04d}"] == {"validation"} for song in range(1, 10)) in (1, 2)


def test_data_check_passes_on_names_and_doubles_of_the_release(tmp_path):
    doubled_tree(tmp_path)
    result = CliRunner().invoke(app, ["data", "check", "irmas", f"data.root={tmp_path}"])
    assert result.exit_code == 0, result.stderr
    assert "no problems found" in result.stdout
    assert "notice: " in result.stderr


def test_problems(tmp_path):
    root = irmas_tree(tmp_path)
    part = root / "IRMAS-TestingData-Part2"
    (part / "ab.cd-1.txt").write_text("pia\nvoice\n")
    wav(part / "lone.wav", 1001)
    wav(part / "silent.wav", 1002)
    (part / "silent.txt").write_text("\n")
    wav(root / "IRMAS-TrainingData/cel/cello.wav", 1003)
    wav(root / "IRMAS-TrainingData/cel/._[cel][cla]0001__1.wav", 1004)
    next((root / "IRMAS-TrainingData/flu").glob("*.wav")).write_bytes(b"")
    for path in (root / "IRMAS-TrainingData/voi").iterdir():
        path.unlink()
    problems = told(irmas(root))
    for text in (
        f"{part / 'ab.cd-1.txt'}:2: unknown instrument 'voice' (did you mean 'voi",
        f"{part / 'lone.txt'}: cannot be read: No such file or directory",
        f"{part / 'silent.txt'}: names no instrument",
        f"{root / 'IRMAS-TrainingData/cel/cello.wav'}: names no song by a number before '__'",
        f"{root / 'IRMAS-TrainingData/voi'}: no .wav file in it",
        f"{root / 'IRMAS-TrainingData/flu'}/",
    ):
        assert sum(line.startswith(text) for line in problems) == 1, (text, problems)
    assert len(problems) == 6
    assert "no such folder" in told(irmas(tmp_path / "nowhere"))[0]
