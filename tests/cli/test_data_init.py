"""`adapt data init` and `adapt train FOLDER`: from a folder to an adapter without writing a table."""

import csv
from pathlib import Path

import pytest
import yaml
from calls import adapt, errors, succeed
from made_datasets import audio

from etude.adapters.model.build import build_dataset, named_dataset
from etude.adapters.recipe.schema import load_recipe

TINY = [
    *("backbone={name: mert, weights: random:tiny, window: 1.0}", "heads.technique.hidden=8", "train.epochs=1"),
    *("train.precision=fp32", "train.patience=null"),
]


@pytest.fixture
def takes(tmp_path, monkeypatch):
    """A folder of six labelled takes by three players; the current folder is another one."""
    for index, player in enumerate(("anna", "ben", "cleo") * 2):
        path = tmp_path / "my takes" / player / f"{index}.wav"
        audio(path, 2.0, seed=index)
        path.with_suffix(".csv").write_text("onset_time,offset_time,technique,pitch\n0,.5,arco,40\n1,1.5,pizz,42\n")
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    return tmp_path / "my takes"


def rows(path):
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_init_writes_a_manifest_and_a_recipe_that_says_the_same_as_the_folder(takes):
    out = succeed("data", "init", takes)
    assert "arco 2, pizz 2" in out
    assert "adapt train my-takes.yaml" in out
    found = rows(takes / "manifest.csv")
    assert [row["group"] for row in found] == ["anna", "anna", "ben", "ben", "cleo", "cleo"]
    assert {row["split"] for row in found} == {"train", "validation", "test"}
    recipe = load_recipe("my-takes.yaml")
    assert recipe.data.name == "manifest"
    assert recipe.heads.technique.pitch
    dataset = build_dataset(recipe)
    tracks, problems = dataset.check()
    assert problems == []
    assert {track.id: (track.split, track.group) for track in tracks} == {
        row["audio"]: (row["split"], row["group"]) for row in found
    }


def test_a_recipe_elsewhere_finds_the_folder_from_there(takes, monkeypatch):
    monkeypatch.chdir(takes.parent)
    (takes.parent / "recipes").mkdir()
    succeed("data", "init", takes.name, "--recipe", "recipes/mine.yaml")
    monkeypatch.chdir("/")
    assert build_dataset(load_recipe(takes.parent / "recipes" / "mine.yaml")).check()[1] == []


def test_what_is_there_is_not_replaced_unless_asked_for(takes):
    succeed("data", "init", takes)
    (takes / "manifest.csv").write_text("mine")
    assert "exists already" in errors("data", "init", takes)[0]
    assert (takes / "manifest.csv").read_text() == "mine"
    succeed("data", "init", takes, "--force", "--group", r"/(\d)")
    assert len({row["group"] for row in rows(takes / "manifest.csv")}) == 6


def test_a_faulty_folder_is_told_whole_and_nothing_is_written(takes):
    (takes / "anna" / "0.csv").write_text("onset_time,offset_time,technique\nx,1,a\n1,0,a\n")
    told = errors("data", "init", takes)
    assert [line.split(": ")[0].rpartition("/")[2] for line in told] == ["0.csv:2", "0.csv:3"]
    assert not (takes / "manifest.csv").exists()
    assert errors("data", "init", takes / "nothing")[0].startswith(f"{takes / 'nothing'}: no such folder")


def test_a_folder_is_trained_on_checked_and_judged_as_it_is(takes):
    succeed("data", "check", takes)
    succeed("train", takes, *TINY, "--out", "out", "--run", "run")
    assert yaml.safe_load(Path("out/recipe.yaml").read_text())["name"] == "my-takes"
    assert "6 recordings" in succeed("eval", "out", takes)
    assert not (takes / "manifest.csv").exists()


def test_pitches_alone_train_notes(takes):
    for path in takes.rglob("*.csv"):
        path.write_text("onset_time,offset_time,technique,pitch\n0,.5,,40\n1,1.5,,42\n")
    code, _, err = adapt("train", takes, *TINY, "--out", "out", "--run", "run")
    assert code == 0, err
    assert "notice: " in err
    assert "all are learned as 'note'" in err


def test_notes_without_pitches_get_a_head_without_pitch(takes):
    for path in takes.rglob("*.csv"):
        path.write_text("onset_time,offset_time,technique\n0,.5,arco\n1,1.5,pizz\n")
    succeed("data", "init", takes)
    assert not load_recipe("my-takes.yaml").heads.technique.pitch


@pytest.mark.parametrize(("names", "label"), [(("arco", "pizz"), "technique"), (("Alto flute", "oboe-solo"), "instrument")])
def test_folders_of_notes_get_a_table_and_a_head_for_tags(tmp_path, monkeypatch, names, label):
    monkeypatch.chdir(tmp_path)
    for name in names:
        for pitch in "CDEFGAB":
            audio(tmp_path / "notes" / name / f"{pitch}3.wav", 0.3, seed=ord(pitch))
    out = succeed("data", "init", "notes")
    assert "notes/notes.csv" in out
    found = rows(tmp_path / "notes" / "notes.csv")
    assert {row[label] for row in found} == set(names)
    assert {row["midi"] for row in found} == {"48", "50", "52", "53", "55", "57", "59"}
    recipe = load_recipe("notes.yaml")
    assert list(type(recipe.heads).model_fields) == ["tags"]
    assert recipe.data.label == label
    assert build_dataset(recipe).check()[1] == []


def test_recordings_with_tags_get_a_head_that_fits(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in "abcdef":
        audio(tmp_path / "clips" / f"{name}.wav", seed=ord(name))
    text = "".join(
        f"{name}.wav,{split},{tags}\n"
        for name, split, tags in (
            ("a", "train", "x"),
            ("b", "train", "x;y"),
            ("c", "validation", "y"),
            ("d", "validation", "-"),
            ("e", "test", "x"),
        )
    )
    (tmp_path / "clips" / "manifest.csv").write_text("audio,split,tags\n" + text)
    recipe = load_recipe("clips")
    assert recipe.heads.tags.activation == "sigmoid"
    (tmp_path / "clips" / "manifest.csv").write_text("audio,split,tags\n" + text.replace("x;y", "y").replace("-", "x"))
    assert load_recipe("clips").heads.tags.activation == "softmax"


def test_folders_of_notes_are_split_by_what_a_pattern_finds(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names = [f"{name}/{player}_{take}.wav" for name in ("arco", "pizz") for player in ("anna", "ben", "cleo") for take in "123"]
    for seed, name in enumerate(names):
        audio(tmp_path / "notes" / name, 0.3, seed=seed)
    succeed("data", "init", "notes", "--group", "/([a-z]+)_")
    found = {(row["group"], row["split"]) for row in rows(tmp_path / "notes" / "notes.csv")}
    assert {group for group, _ in found} == {"anna", "ben", "cleo"}
    assert len(found) == 3


def test_a_folder_that_is_judged_is_judged_as_a_whole(tmp_path):
    names = [f"{name}/{take}.wav" for name in ("arco", "pizz") for take in range(4)]
    for seed, name in enumerate(names):
        audio(tmp_path / "notes" / name, 0.3, seed=seed)
        audio(tmp_path / "takes" / f"{seed}.wav", 1.0, seed=seed)
        (tmp_path / "takes" / f"{seed}.csv").write_text("onset_time,offset_time,technique\n0,.5,arco\n")
    notes = named_dataset(str(tmp_path / "notes"), classes={"tags": ("pizz", "arco")})
    assert len(notes.tracks("test")) == 8
    assert notes.classes["tags"] == ("pizz", "arco")
    takes = named_dataset(str(tmp_path / "takes"), classes={"notes": ("pizz", "arco")})
    assert len(takes.tracks("test")) == 8
    assert takes.classes["notes"] == ("pizz", "arco")
