"""Several data sets as one: what each of them does not know is never taken for negatives, and every command works on them."""

import json
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
import soundfile
from huggingface_hub import ModelCard
from typer.testing import CliRunner

from etude.adapters import artifact
from etude.adapters.annotations import Annotation, Layer
from etude.adapters.annotations.notes import Note
from etude.adapters.annotations.tags import Tag
from etude.adapters.datasets import Dataset, DatasetConfig, Track
from etude.adapters.datasets._parts.mixture import Mixture
from etude.adapters.errors import Problem, UserError
from etude.adapters.model.build import build_dataset
from etude.adapters.recipe.schema import parse_recipe
from etude.adapters.sound.audio import AudioInfo
from etude.cli.app import app

RATE = 16000


def track(name, split="train", annotation=None, folder="audio", weight=1.0):
    return Track(name, Path(folder) / name, AudioInfo(RATE, RATE, 1), split, annotation or Annotation(), weight)


@dataclass
class Fake:
    """What a data set finds; the data set itself is made of it."""

    name: str
    tracks: list = field(default_factory=list)
    classes: dict = field(default_factory=dict)
    problems: list = field(default_factory=list)
    notices: list = field(default_factory=list)
    licence: str = "MIT"
    weight: float = 1.0

    def made(self):
        fake = self

        class Made(Dataset):
            Config = DatasetConfig
            licence = "not yet known"
            classes = fake.classes

            def scan(self):
                self.licence, self.notices = fake.licence, fake.notices
                return fake.tracks, fake.problems

        return Made(DatasetConfig(name=fake.name, weight=fake.weight))


def mixture(*fakes):
    return Mixture([fake.made() for fake in fakes])


def by_id(dataset):
    return {track.id: track for track in dataset.check()[0]}


def test_classes_are_those_of_all_in_order_of_first_appearance():
    one = Fake("one", classes={"notes": ("trill", "bend"), "tags": ()})
    two = Fake("two", classes={"tags": ("oboe",), "notes": ("slide", "bend")})
    assert mixture(one, two).classes == {"notes": ("trill", "bend", "slide"), "tags": ("oboe",)}


def test_tracks_are_those_of_all_and_names_are_told_apart_where_they_clash():
    one = Fake("a", [track("x"), track("y")])
    two = Fake("b", [track("x", folder="other"), track("z", "test")])
    three = Fake("b", [track("x", folder="third")])
    dataset = mixture(one, two, three)
    assert dataset.config.name == "a + b + b-2"
    assert [item.id for item in dataset.tracks("train")] == ["a/x", "y", "b/x", "b-2/x"]
    assert [item.id for item in dataset.tracks("test")] == ["z"], "a split may be missing in some"
    with pytest.raises(UserError, match=r"^data set 'a \+ b \+ b-2': no recording in the split 'validation'"):
        dataset.tracks("validation")


def test_what_a_member_does_not_name_is_unjudged_and_a_kind_it_does_not_annotate_is_unknown():
    """The first knows some techniques, the second others and tags, the third other tags alone."""
    note, span = Note(0, 0.5, 60, "bend"), ((0.0, 1.0),)
    one = Fake("one", [track("x", annotation=Annotation(notes=[note]))], {"notes": ("bend", "trill")})
    two = Fake(
        "two",
        [
            track("y", annotation=Annotation(notes=Layer((note,), span), tags=Layer((Tag("oboe"),), unjudged=("harp",)))),
            track("z", annotation=Annotation(tags=[])),
            track("u", annotation=Annotation(notes=Layer((note,), known=()))),
        ],
        {"notes": ("bend", "slide", "roll"), "tags": ("harp", "oboe")},
    )
    silent = Annotation(notes=[Note(0, 0.5, 60)], tags=[Tag("cello", 0.5)])
    three = Fake("three", [track("w", annotation=silent)], {"tags": ("cello",), "notes": ()})
    found = {name: item.annotation for name, item in by_id(mixture(one, two, three)).items()}
    assert found["x"] == Annotation(notes=Layer((note,), unjudged=("roll", "slide")))
    assert found["y"] == Annotation(
        notes=Layer((note,), span, ("trill",)), tags=Layer((Tag("oboe"),), unjudged=("cello", "harp"))
    )
    assert found["z"] == Annotation(tags=Layer((), unjudged=("cello",)))
    assert found["u"] == Annotation(notes=Layer((note,), known=()))
    assert found["w"] == Annotation(tags=Layer((Tag("cello", 0.5),), unjudged=("harp", "oboe")))
    alone = Fake("one", one.tracks, one.classes)
    assert by_id(mixture(alone))["x"].annotation == one.tracks[0].annotation


def test_recordings_that_share_an_annotation_share_it_still():
    """Hundreds of thousands of tagged clips do."""
    shared = Annotation(tags=[Tag("oboe")])
    one = Fake("a", [track("x", annotation=shared), track("y", annotation=shared)], {"tags": ("oboe",)})
    found = by_id(mixture(one, Fake("b", classes={"tags": ("harp",)})))
    assert found["x"].annotation is found["y"].annotation


def test_weights_of_data_sets_multiply_those_of_their_recordings():
    one, two = Fake("a", [track("x"), track("y", weight=0.5)], weight=3.0), Fake("b", [track("z")])
    assert {name: item.weight for name, item in by_id(mixture(one, two)).items()} == {"x": 3.0, "y": 1.5, "z": 1.0}


def test_the_licence_is_all_of_theirs_each_once_and_final_after_the_check():
    one, two = Fake("a", licence="MIT AND CC0-1.0"), Fake("b", licence="CC-BY-4.0 AND MIT")
    dataset = mixture(one, two)
    dataset.check()
    assert dataset.licence == "MIT AND CC0-1.0 AND CC-BY-4.0"


def test_problems_and_notices_of_all_come_at_once_with_their_place():
    one = Fake("a", problems=[Problem("is odd", "file.csv:3"), Problem("is missing")])
    two = Fake("b", problems=[Problem("is even", fix="count")], notices=[Problem("is old")])
    dataset = mixture(one, two)
    with pytest.raises(UserError) as caught:
        dataset.tracks("train")
    lines = ["file.csv:3: is odd", "data set 'a': is missing", "data set 'b': is even (count)"]
    assert str(caught.value).splitlines() == lines
    assert list(map(str, dataset.notices)) == ["data set 'b': is old"]


def test_one_file_in_two_splits_is_a_leak_and_in_one_split_is_none(tmp_path):
    (tmp_path / "x").write_bytes(b"")
    (tmp_path / "link").symlink_to(tmp_path / "x")
    here, there = track("x", folder=tmp_path), track("link", "test", folder=tmp_path)
    dataset = mixture(Fake("a", [here]), Fake("b", [there]))
    assert dataset.check()[1] == []
    with pytest.raises(UserError) as caught:
        dataset.tracks("train")
    what = f"{tmp_path}/link: is the same recording as {tmp_path}/x in the split 'train' (keep it in one split only)"
    assert str(caught.value) == what
    same = mixture(Fake("a", [here]), Fake("b", [track("x", "test", folder=tmp_path)]))
    assert [problem.what for problem in same.leaks()] == ["is in the split 'test' and in 'train'"]
    assert mixture(Fake("a", [here]), Fake("b", [track("link", folder=tmp_path)])).leaks() == []


# In recipes and commands.


def adapt(*arguments):
    result = CliRunner().invoke(app, list(map(str, arguments)), catch_exceptions=False)
    return result.exit_code, result.stdout, result.stderr


def succeed(*arguments):
    code, out, err = adapt(*arguments)
    assert code == 0, err
    return out


RECIPE = """
name: mixed
data:
  - {{name: manifest, root: {toy}, licence: CC0-1.0, weight: 2.0}}
  - {{name: notes, notes: {table}}}
backbone: {{name: whisper, weights: "random:tiny", window: 2.0}}
method: {{name: heads_only}}
heads: {{technique: {{hidden: 16}}, tags: {{activation: softmax, hidden: 16}}}}
train: {{epochs: 2, batch_size: 4, lr: 5.0e-3, precision: fp32}}
"""


@pytest.fixture(scope="module")
def recipe(toy_root, tmp_path_factory):
    """Phrases with the techniques buzz and tone, and single notes of two instruments with the techniques tone and roll."""
    root, rng = tmp_path_factory.mktemp("mixed"), np.random.default_rng(0)
    lines = ["path,source,instrument,technique,midi,split,licence"]
    for number, split in enumerate(["train"] * 4 + ["validation"] * 2):
        for name, technique in (("tuba", "tone"), ("cymbal", "roll")):
            wave = np.sin(2 * np.pi * (80 + 10 * number) * np.arange(RATE) / RATE)
            soundfile.write(root / f"{name}{number}.wav", 0.3 * (wave if name == "tuba" else rng.normal(0, 0.5, RATE)), RATE)
            lines.append(f"{name}{number}.wav,s,{name},{technique},40,{split},MIT")
    (root / "notes.csv").write_text("\n".join(lines) + "\n")
    (root / "recipe.yaml").write_text(RECIPE.format(toy=toy_root, table=root / "notes.csv"))
    return root / "recipe.yaml"


@pytest.fixture(scope="module")
def adapter(recipe):
    succeed("train", recipe, "--run", recipe.parent / "run", "--out", recipe.parent / "adapter")
    return recipe.parent / "adapter"


def test_an_adapter_of_several_data_sets_names_all_of_them(adapter):
    header = artifact.read_header(adapter)
    assert header.manifest.dataset == "manifest + notes"
    assert header.manifest.data_licence == "CC0-1.0 AND MIT"
    assert header.manifest.labels == {"technique": ("buzz", "tone", "roll"), "tags": ("cymbal", "tuba")}
    assert set(header.metrics) == {"validation", "test"}, "the test split is the first one's alone"
    card = ModelCard(header.folder.joinpath("README.md").read_text())
    assert "trained on `manifest + notes`" in card.text
    assert {result.dataset_name for result in card.data.eval_results} == {"manifest + notes"}
    assert "manifest + notes" in succeed("inspect", adapter)


def test_data_check_shows_what_all_hold(recipe, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    out = succeed("data", "check", recipe)
    assert "licence: CC0-1.0 AND MIT; no problems found" in out
    rows = {line.split()[0]: line.split() for line in out.splitlines() if line.strip()}
    assert [rows[split][1] for split in ("train", "validation", "test")] == ["14", "6", "2"]
    assert "(unlabelled) 6, cymbal 4, tuba 4" in out
    (line,) = adapt("data", "check", recipe, "data.1.notes=gone.csv")[2].splitlines()
    assert line.startswith("error: gone.csv: cannot be read")


def test_eval_judges_each_recording_by_what_its_data_set_knows(adapter):
    result = json.loads(succeed("eval", adapter, "--split", "validation", "--json"))
    assert result["recordings"] == 6
    per_class = result["scores"]["tags"]["per_class"]
    assert sum(row["clip"]["ref"] for row in per_class.values()) == 4
    assert sum(row["clip"]["est"] for row in per_class.values()) == 4, "the phrases have no tags, right or wrong"


def test_overrides_reach_into_the_list(recipe, toy_root):
    text = recipe.read_text()
    changed = parse_recipe(text, [f"data.0.root={toy_root.parent}", "data.1.weight=0.5"])
    assert [item.weight for item in changed.data] == [2.0, 0.5]
    assert changed.data[0].root == str(toy_root.parent)
    assert parse_recipe(changed.dump()) == changed
    alone = parse_recipe(text, [f"data=[{{name: manifest, root: {toy_root}}}]"])
    assert len(build_dataset(alone).tracks("train")) == 6


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("data.root=x", "override 'data.root=x': 'data' is a list of 2 (name one of data.0, data.1)"),
        ("data.2.root=x", "override 'data.2.root=x': 'data' is a list of 2 (name one of data.0, data.1)"),
        ("data.-1.root=x", "override 'data.-1.root=x': 'data' is a list of 2 (name one of data.0, data.1)"),
        ("data.0.root.x=3", "override 'data.0.root.x=3': 'root' is not a section"),
        ("data.1.nots=x", "recipe: data.1.nots: unknown key 'nots' (did you mean 'notes'?)"),
        ("data.1.name=nots", "recipe: data.1.name: unknown dataset 'nots' (did you mean 'notes'?)"),
        ("data.1={name: manifest}", "recipe: data.1.root: is missing (add 'root:')"),
        ("data.1=notes", "recipe: data.1: should be a section of 'key: value' lines, got 'notes'"),
        ("data.1=null", "recipe: data.1: is empty, should be a section of 'key: value' lines"),
        ("data.1.weight=0", "recipe: data.1.weight: should be greater than 0, got 0"),
    ],
)
def test_errors_carry_their_place_in_the_list(recipe, override, message):
    with pytest.raises(UserError) as caught:
        parse_recipe(recipe.read_text(), [override])
    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("data=[]", "recipe: data: names no data set (known: cbf, "),
        ("data=[{}]", "recipe: data.0.name: is missing (one of cbf, "),
    ],
)
def test_lists_without_a_data_set(recipe, override, message):
    with pytest.raises(UserError) as caught:
        parse_recipe(recipe.read_text(), [override])
    assert str(caught.value).startswith(message)
    assert len(caught.value.problems) == 1
