"""What recordings have in common: given for all or for none, kept in phrases, and apart in splits that are drawn."""

import csv

import pytest
from made_datasets import audio, whats
from test_datasets_phrases import RATE, click, folder_bytes, phrases

from etude.adapters.datasets._parts.groups import is_unseen, measured_on, unseen_first
from etude.adapters.datasets.folder import Folder
from etude.adapters.datasets.manifest import ManifestConfig, ManifestDataset
from etude.adapters.datasets.notes import Notes


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("ETUDE_CACHE", str(tmp_path / "cache"))


COLUMNS = ["path", "source", "instrument", "technique", "midi", "split", "licence", "group"]
PLAYED = {"ann": ("bow", "pluck"), "ben": ("bow", "pluck"), "cem": ("bow",)}
FIRST = {"ann": 50, "ben": 62, "cem": 74}
"""The lowest pitch of each player: pitches tell who plays."""


def notes_csv(folder, column="group", played=PLAYED, only=lambda row: True):
    """Two notes of each technique of each player in each split."""
    import soundfile

    folder.mkdir(parents=True, exist_ok=True)
    rows = []
    for player, techniques in played.items():
        for number, split in enumerate(("train", "validation", "test")):
            for technique in techniques:
                for pitch in range(FIRST[player] + 2 * number, FIRST[player] + 2 * number + 2):
                    name = f"{player}-{technique}-{pitch}.wav"
                    soundfile.write(folder / name, click(pitch, 0.8), RATE)
                    rows.append([name, "mine", "cello", technique, pitch, split, "CC0-1.0", player])
    rows = [row if only(row) else [*row[:-1], ""] for row in rows]
    with (folder / "notes.csv").open("w", newline="") as file:
        csv.writer(file).writerows([[*COLUMNS[:-1], column], *rows])
    return folder / "notes.csv"


def test_a_phrase_is_played_by_one_group(tmp_path):
    data = phrases(notes_csv(tmp_path), phrases={"train": 10, "validation": 3, "test": 3})
    tracks, problems = data.check()
    assert problems == []
    for track in tracks:
        first = FIRST[track.group]
        assert {first <= note.pitch < first + 6 for note in track.annotation.notes} == {True}
        assert {note.technique for note in track.annotation.notes} <= set(PLAYED[track.group])
    made = [track.group for track in tracks if track.split == "train"]
    assert {player: made.count(player) for player in PLAYED} == {"ann": 4, "ben": 4, "cem": 2}, "as their notes"
    assert {track.group for track in tracks if track.split == "test"} == set(PLAYED)


def test_phrases_change_with_the_groups_and_are_found_again_without(tmp_path, monkeypatch):
    table, made = notes_csv(tmp_path / "notes", "player"), []
    for number, group in enumerate((None, "player", None)):
        monkeypatch.setenv("ETUDE_CACHE", str(tmp_path / str(number)))
        assert phrases(table, group=group).check()[1] == []
        (folder,) = (tmp_path / str(number) / "note_phrases").iterdir()
        made.append((folder.name, folder_bytes(folder)))
    assert made[0] == made[2]
    assert made[0][0] != made[1][0]
    assert "group" not in made[0][1]["manifest.csv"].decode()
    assert "group" not in made[0][1]["key.json"].decode(), "the key of phrases that were made before there were groups"


def test_a_column_of_another_name_holds_the_groups(tmp_path):
    table = notes_csv(tmp_path, "session")

    def groups(**options):
        data = Notes(Notes.Config(name="notes", notes=str(table), label="technique", **options))
        return {track.group for track in data.check()[0]}, whats(data.check()[1])

    assert groups() == ({""}, "")
    assert groups(group="session") == (set(PLAYED), "")
    assert "lacks the column 'sesion' (did you mean 'session'?)" in groups(group="sesion")[1]
    assert "lacks the column 'sesion'" in whats(phrases(table, group="sesion").check()[1])


def test_groups_of_some_rows_only_are_a_problem_with_their_lines(tmp_path):
    table = notes_csv(tmp_path, only=lambda row: row[-1] != "cem")
    told = "6 of 30 rows have no group: lines 26, 27, 28, 29, 30, 31 (fill it in there, or leave it empty everywhere)"
    for data in (phrases(table), Notes(Notes.Config(name="notes", notes=str(table)))):
        assert f"{table}: {told}" in whats(data.check()[1])
    assert phrases(table, instruments=["cello"], techniques=["pluck"]).check()[1] == [], "of what is read, all have one"
    rows = ["audio,tags,split,group", *(f"{n}.wav,a,train,{'x' if n % 5 else ''}" for n in range(10))]
    for number in range(10):
        audio(tmp_path / f"{number}.wav", seed=number)
    (tmp_path / "manifest.csv").write_text("\n".join(rows) + "\n")
    problems = ManifestDataset(ManifestConfig(name="manifest", root=str(tmp_path))).check()[1]
    assert whats(problems).startswith(f"{tmp_path / 'manifest.csv'}: 2 of 10 rows have no group: lines 2, 7 (")


@pytest.mark.parametrize("stray", [False, True])
def test_of_three_groups_or_more_validation_and_test_are_others_than_training(tmp_path, stray):
    for path in [f"{who}/{n}" for who in ("ann", "ben", "cem") for n in range(2)] + ["on its own"] * stray:
        audio((tmp_path / path).with_suffix(".wav"), seed=hash(path) % 1000)
        (tmp_path / path).with_suffix(".csv").write_text("onset_time,offset_time,technique\n0,.3,a\n.4,.6,b\n")
    tracks, problems = Folder(Folder.Config(name="folder", root=str(tmp_path))).check()
    assert problems == []
    of = {name: {track.group for track in tracks if track.split == name} for name in ("train", "validation", "test")}
    assert all(of.values())
    assert not of["train"] & (of["validation"] | of["test"])
    assert set().union(*of.values()) == {"ann", "ben", "cem"} | ({"on its own.wav"} if stray else set())


@pytest.mark.parametrize(
    ("trained", "scored", "text"),
    [
        (None, ("a",), "it is not known whether training had these sessions or players"),
        ((), ("a",), "no groups are given: how it does on another session or player is not measured"),
        (("",), ("",), "no groups are given"),
        (("a", "b"), ("a",), "measured on the same session or player only (groups: a)"),
        (("a", "b"), ("c", "d"), "measured on unseen sessions or players (groups: c, d)"),
        (("a", "b"), ("b", "c"), "measured on unseen sessions or players (groups: c) and on those of training (b)"),
        (("", "b"), ("c",), "measured on unseen sessions or players (groups: c); some recordings have no group"),
        (("a",), tuple("bcdefghijkl"), "measured on unseen sessions or players (groups: b, c, d, e, f, g, h, i and 3 more)"),
    ],
)
def test_what_was_measured_in_words(trained, scored, text):
    assert measured_on(trained, scored).startswith(text)
    assert is_unseen(trained, scored) == ("unseen" in text)
    groups = {"validation": trained or (), "test": scored, **({} if trained is None else {"train": trained})}
    assert unseen_first(groups, ["validation", "test"])[0] == ("test" if "unseen" in text else "validation")
