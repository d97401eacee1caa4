"""`adapt data convert`: any data set as a folder that is read as a manifest, with the same recordings, labels and splits."""

import itertools
import json
from typing import ClassVar

import numpy as np
import pytest
import soundfile
import yaml
from calls import adapt, errors, files_below, succeed
from made_datasets import audio
from made_guzheng import write_hub
from made_openmic import write_release

from etude.adapters.annotations import Annotation, Layer
from etude.adapters.annotations.notes import Note
from etude.adapters.annotations.tags import Tag
from etude.adapters.datasets import Dataset, DatasetConfig, Track
from etude.adapters.datasets._parts.manifest_writer import write_manifest
from etude.adapters.errors import UserError
from etude.adapters.model.build import build_dataset, named_dataset
from etude.adapters.recipe.schema import load_recipe
from etude.adapters.sound.audio import probe


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("ETUDE_CACHE", str(tmp_path / "cache"))


def content(dataset):
    """What recordings hold, and what is said of them."""
    tracks, problems = dataset.check()
    assert problems == []
    found = [
        (track.split, track.group, track.weight, track.audio.read_bytes(), track.annotation.notes, track.truth.tags)
        for track in tracks
    ]
    return sorted(found, key=lambda item: (item[0], item[3]))


def converted(out, recipe):
    """The data set of the recipe with the section that was printed."""
    section = yaml.safe_load(out.partition("\n")[2])["data"]
    return build_dataset(load_recipe(recipe, [f"data={json.dumps(section)}"]))


def test_the_hubs_tables_become_files(tmp_path):
    data = write_hub(tmp_path / "hub")
    out = succeed("data", "convert", "guzheng", tmp_path / "files", f"data.root={tmp_path}/hub")
    assert out.startswith(f"{tmp_path}/files: 9 recordings; licence: CC-BY-NC-ND-4.0\n")
    found = converted(out, "guzheng")
    assert content(found) == content(data)
    assert (found.classes, found.licence) == (data.classes, data.licence)
    assert files_below(tmp_path / "files")[:3] == ["manifest.csv", "test/test_0.csv", "test/test_0.flac"]
    assert not list(tmp_path.glob(".files*"))
    assert "no problems found" in succeed("data", "check", tmp_path / "files")


def test_tags_groups_and_weights_are_kept(tmp_path):
    for number, (split, genre) in enumerate(itertools.product(("train", "valid", "test"), ("blues", "rock"))):
        audio(tmp_path / f"genres/{genre}/{genre}.0000{number}.wav", seed=number)
        with (tmp_path / f"{split}_filtered.txt").open("a") as file:
            file.write(f"{genre}/{genre}.0000{number}.wav\n")
    settings = [f"data.root={tmp_path}", "data.weight=0.5"]
    out = succeed("data", "convert", "gtzan-nmr-film", tmp_path / "out", *settings, "--link")
    data = named_dataset("gtzan-nmr-film", settings)
    found = converted(out, "gtzan-nmr-film")
    assert content(found) == content(data)
    assert found.classes == data.classes
    assert all(track.audio.is_symlink() for track in found.check()[0])
    again = succeed("data", "convert", tmp_path / "out/manifest.csv", tmp_path / "again")
    assert content(named_dataset(str(tmp_path / "again/manifest.csv"))) == content(found)
    assert "6 recordings" in again


class Made(Dataset):
    """What it is given."""

    Config = DatasetConfig
    licence = "MIT"
    classes: ClassVar = {"tags": ("a",)}

    def __init__(self, *tracks):
        super().__init__(DatasetConfig(name="made"))
        self.found = list(tracks)

    def scan(self):
        return self.found, []


def made(tmp_path, name, annotation, number=0, **fields):
    path = tmp_path / f"{number}.wav"
    soundfile.write(path, np.random.default_rng(number).uniform(-0.5, 0.5, 800), 8000)
    return Track(name, path, probe(path), "train", annotation, **fields)


def test_names_are_such_that_no_recording_replaces_another(tmp_path):
    names = ("a", "A", "a-2", "../a", "/etc/x", "train/a", "x.wav", "ü é", "..", "a:b?", "a_b_")
    tracks = [made(tmp_path, name, Annotation(tags=[Tag("a")]), number) for number, name in enumerate(names)]
    assert list(write_manifest(Made(*tracks), tmp_path / "out")) == tracks
    data = named_dataset(str(tmp_path / "out/manifest.csv"))
    assert content(data) == content(Made(*tracks))
    written = files_below(tmp_path / "out")
    assert len({name.lower() for name in written}) == len(names) + 1
    assert {name.partition("/")[0] for name in written} == {"train", "manifest.csv"}
    assert "train/ü é.wav" in written


def test_a_recording_without_tags_and_one_that_nobody_tagged_stay_different(tmp_path):
    notes = [Note(0.01, 0.05, 60, "a", confidence=0.5)]
    layers = [{"tags": [], "notes": notes}, {"notes": []}, {"tags": [Tag("a"), Tag("b")]}]
    tracks = [made(tmp_path, str(number), Annotation(own), number, group="g") for number, own in enumerate(layers)]
    list(write_manifest(Made(*tracks), tmp_path / "out"))
    found = named_dataset(str(tmp_path / "out/manifest.csv")).check()[0]
    assert [(track.annotation, track.group) for track in found] == [(track.annotation, "g") for track in tracks]


@pytest.mark.parametrize(
    ("annotation", "what"),
    [
        (Annotation(tags=Layer((Tag("a"),), unjudged=("b",))), "are annotated in part: of the rest, nobody said anything"),
        (Annotation(notes=Layer((), known=((0.5, 1.0),))), "are annotated in part: of the rest, nobody said anything"),
        (Annotation(tags=[Tag("a;b")]), "have a tag with a ';' in it, or called '-'"),
        (Annotation(tags=[Tag("-")]), "have a tag with a ';' in it, or called '-'"),
        (Annotation(), "are annotated neither with notes nor with tags"),
    ],
)
def test_what_a_manifest_cannot_hold_is_refused(tmp_path, annotation, what):
    tracks = [made(tmp_path, "x", annotation), made(tmp_path, "y", Annotation(tags=[Tag("a")]), 1)]
    with pytest.raises(UserError) as caught:
        list(write_manifest(Made(*tracks), tmp_path / "out"))
    line = f"1 recordings {what}, which a manifest cannot hold (train on the data set as it is)"
    assert str(caught.value) == line
    assert not (tmp_path / "out").exists()


def test_mistakes_are_told_and_leave_nothing_behind(tmp_path):
    (tmp_path / "there").mkdir()
    recipe = ["guzheng", f"data.root={tmp_path}/none"]
    assert errors("data", "convert", recipe[0], tmp_path / "there", recipe[1])[0].startswith(
        f"{tmp_path}/there: exists already"
    )
    assert "no such folder" in errors("data", "convert", recipe[0], tmp_path / "new", recipe[1])[0]
    write_release(tmp_path / "openmic")
    (line,) = errors("data", "convert", "openmic-probe", tmp_path / "new", f"data.root={tmp_path}/openmic")
    assert "are annotated in part" in line
    assert {path.name for path in tmp_path.iterdir()} == {"there", "openmic"}
    assert adapt("data", "convert", "--help")[0] == 0
