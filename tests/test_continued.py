"""`adapt train DATA --from ADAPTER`: a few recordings of what an adapter knows, and a recipe that starts from one."""

import numpy as np
import pytest
import soundfile
import torch
from calls import errors, succeed
from conftest import write_toy_dataset

from etude.adapters import artifact
from etude.adapters.errors import UserError
from etude.adapters.model.build import build_dataset
from etude.adapters.training.continued import continued
from etude.adapters.training.engine import train, untrained_model
from etude.adapters.training.evaluation import evaluate
from etude.adapters.training.starting_point import start_from

RATE = 16000
RECIPE = """
name: first
seed: 1
data: {{name: notes, notes: {root}, label: technique, classes: [low, high, mid]}}
backbone: {{name: whisper, weights: "random:tiny", window: 2.0}}
method: {{name: heads_only}}
heads: {{tags: {{activation: softmax, clip_seconds: 2.0}}}}
train: {{precision: fp32, metric: tags.accuracy, share: 0.9}}
"""
FREQUENCIES = {"low": 200, "mid": 700, "high": 2500, "other": 1200}


def collection(root, *names, count=6, seed=0):
    """A folder of notes for each of ``names``; returns ``root``."""
    rng = np.random.default_rng(seed)
    for name in names:
        (root / name).mkdir(parents=True)
        for number in range(count):
            times = np.arange(RATE // 2) / RATE
            wave = np.sin(2 * np.pi * (FREQUENCIES[name] + 9 * number) * times) + rng.normal(0, 0.05, len(times))
            soundfile.write(root / name / f"{number}.wav", 0.3 * wave, RATE)
    return root


@pytest.fixture(scope="module")
def first(tmp_path_factory):
    root = tmp_path_factory.mktemp("continued")
    recipe = root / "first.yaml"
    recipe.write_text(RECIPE.format(root=collection(root / "all", *("low", "mid", "high"))))
    succeed("train", recipe, "--out", root / "adapter", "--run", root / "run")
    return root / "adapter"


def test_a_folder_with_some_of_the_classes(first, tmp_path, monkeypatch):
    collection(tmp_path / "my notes", "high", "low", seed=1)
    monkeypatch.chdir(tmp_path)
    succeed("train", "my notes", "--from", first, "train.metric=tags.f1_macro")
    old, new = artifact.load(first), artifact.load(tmp_path / "my-notes-adapter")
    assert new.manifest.labels == {"tags": ("low", "high", "mid")}
    assert new.manifest.backbone == old.manifest.backbone
    assert new.manifest.metric == "tags.f1_macro"
    assert new.manifest.statistics["tags"]["panel"]["prior"] == old.manifest.statistics["tags"]["panel"]
    assert new.manifest.statistics["tags"]["panel"]["lacking"] == [2]
    for name, tensor in old.tensors.items():
        own = name.replace("heads.tags.panel.", "heads.tags.panel.prior.")
        assert torch.equal(new.tensors[own], tensor), own
    assert artifact.plain(evaluate(new.folder).scores) == new.metrics["test"]
    assert evaluate(new.folder, tmp_path / "my notes").scores["tags"]["accuracy"] == 1


def test_the_rest_is_as_in_the_recipe_of_the_adapter(first, tmp_path):
    recipe = continued(str(collection(tmp_path / "few", "low", "mid", seed=1)), first, ["seed=7"])
    assert (recipe.name, recipe.seed, recipe.init_from) == ("few", 7, str(first))
    assert (recipe.backbone.weights, recipe.backbone.window) == ("random:tiny", 2.0)
    assert recipe.heads.tags.clip_seconds == 2
    assert recipe.train.share == 1  # what was a part of the adapter's data is all of these


def test_relative_data_is_found_wherever_the_adapter_was_made(first, tmp_path, monkeypatch):
    monkeypatch.chdir(first.parent)
    collection(tmp_path / "few", "low", "mid")
    succeed("train", "first.yaml", "--out", "here/adapter", "--run", "here/run")
    monkeypatch.chdir(tmp_path)
    assert continued("few", first.parent / "here/adapter").data.notes == str(tmp_path / "few")


def test_a_recipe_starts_from_it(first, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    out = tmp_path / "second"
    succeed("train", first.parent / "first.yaml", "--from", first, "--out", out, "--run", tmp_path / "run")
    assert artifact.load(out).manifest.statistics["tags"]["panel"]["prior"]
    assert f"init_from: {first}" in artifact.load(out).recipe


def test_a_manifest_and_a_head_that_is_trained_and_fitted(toy_recipe, tmp_path):
    """The range of pitches is that of the adapter: fewer notes would give a smaller one, and so a new head."""
    start = train(toy_recipe("train.epochs=1", "heads.technique.judge=notes"), tmp_path / "run", tmp_path / "adapter")
    table = write_toy_dataset(tmp_path / "few", {"train": 1, "validation": 1}, seconds=2.0)
    recipe = continued(str(table), start)
    dataset = build_dataset(recipe)
    old, model = artifact.load(start), untrained_model(recipe, dataset, dataset.tracks("train"))
    _, text = start_from(model, recipe, start)
    assert recipe.heads.technique.pitch_range == tuple(old.manifest.statistics["technique"]["pitch_range"])
    assert text.endswith("the layer mix, the head 'technique'")
    assert torch.equal(model.heads.technique.plane[0].weight, old.tensors["heads.technique.plane.0.weight"].float())
    assert model.heads.technique.panel.prior.statistics == old.manifest.statistics["technique"]["panel"]


def test_new_classes_are_named_in_one_line(first, tmp_path):
    collection(tmp_path / "mine", "low", "other")
    (line,) = errors("train", tmp_path / "mine", "--from", first, "--out", tmp_path / "out")
    what = f"has the tag 'other', which {first} does not know (leave out what is new, or train without --from)"
    assert line == f"{tmp_path / 'mine'}: {what}"
    assert not (tmp_path / "out").exists()


def test_mistakes(first, tmp_path):
    (line,) = errors("train", tmp_path, "--from", first)
    assert line.startswith(f"{tmp_path}: holds no recording")
    assert "no such adapter folder" in errors("train", "demo", "--from", tmp_path / "nowhere")[0]
    with pytest.raises(UserError, match="no such recipe"):
        continued("nowhere", first)
