"""Training on a share of the data, and from a trained adapter."""

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from etude.adapters import artifact
from etude.adapters.annotations import Annotation
from etude.adapters.annotations.tags import Tag
from etude.adapters.datasets import Track
from etude.adapters.errors import UserError
from etude.adapters.model.build import build_dataset
from etude.adapters.recipe.schema import parse_recipe
from etude.adapters.sound.audio import AudioInfo
from etude.adapters.training import engine
from etude.adapters.training.engine import train, untrained_model
from etude.adapters.training.share import share_of
from etude.adapters.training.starting_point import start_from

RATE = 16000
COLUMNS = "path,source,instrument,technique,midi,split,licence"
RECIPE = """
name: first
seed: 1
data: {{name: notes, notes: {table}}}
backbone: {{name: whisper, weights: "random:tiny", window: 2.0}}
method: {{name: lora, rank: 2, alpha: 4, sites: [attn.q], blocks: last 1}}
heads: {{tags: {{activation: softmax, hidden: 8}}}}
train: {{epochs: 1, batch_size: 4, lr: 5.0e-3, precision: fp32, metric: tags.lrap}}
"""


def track(number, *tags, known=True):
    annotation = Annotation(tags=map(Tag, tags)) if known else Annotation()
    return Track(str(number), Path(f"{number}.wav"), AudioInfo(1, 1, 1), "train", annotation)


# share


def test_a_share_keeps_its_part_of_every_tag():
    tracks = [track(i, "a") for i in range(100)] + [track(i + 100, "b") for i in range(20)] + [track(120, "c")]
    chosen = share_of(tracks, 0.25, seed=3)
    assert Counter(item.annotation.tags[0].name for item in chosen) == {"a": 25, "b": 5, "c": 1}
    assert chosen == sorted(chosen, key=lambda item: int(item.id))


def test_a_share_is_drawn_by_the_seed_and_grows_without_change():
    tracks = [track(i, "ab"[i % 2]) for i in range(60)]
    small, large = ({item.id for item in share_of(tracks, share, 0)} for share in (0.1, 0.5))
    assert small < large
    assert (len(small), len(large)) == (6, 30)
    assert {item.id for item in share_of(tracks, 0.1, 0)} == small
    assert {item.id for item in share_of(tracks, 0.1, 1)} != small
    assert share_of(tracks, 1.0, 0) == tracks


@pytest.mark.parametrize("seed", range(20))
def test_every_tag_of_many_keeps_a_track(seed):
    rng = np.random.default_rng(seed)
    names = np.array(["a", "b", "c", "d", "rare"])
    tracks = [track(i, *names[rng.random(5) < (0.6, 0.5, 0.3, 0.1, 0.02)]) for i in range(80)]
    present = {tag for item in tracks for tag in item.annotation.tags}
    chosen = share_of(tracks, 0.02, seed)
    assert {tag for item in chosen for tag in item.annotation.tags} == present
    assert len(chosen) <= 10


def test_untagged_tracks_are_one_group():
    tracks = [track(i, known=False) for i in range(30)]
    assert len(share_of(tracks, 0.1, 0)) == 3
    assert len(share_of(tracks, 0.001, 0)) == 1


# starting from an adapter


def collection(folder, instruments=("low", "high")):
    folder.mkdir(parents=True, exist_ok=True)
    lines, rng = [COLUMNS], np.random.default_rng(0)
    for name in instruments:
        frequency = 200 * 2 ** instruments.index(name)
        for number, split in enumerate(("train", "train", "train", "validation", "test")):
            wave = np.sin(2 * np.pi * (frequency + number) * np.arange(RATE) / RATE) + rng.normal(0, 0.01, RATE)
            soundfile.write(folder / f"{name}{number}.wav", 0.3 * wave, RATE)
            lines.append(f"{name}{number}.wav,s,{name},plain,60,{split},CC-BY-4.0")
    (folder / "notes.csv").write_text("\n".join(lines) + "\n")
    return folder / "notes.csv"


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    return collection(tmp_path_factory.mktemp("notes"))


@pytest.fixture(scope="module")
def first(table, tmp_path_factory):
    root = tmp_path_factory.mktemp("first")
    return train(parse_recipe(RECIPE.format(table=table)), root / "run", root / "adapter")


def second(table, first, *overrides):
    return parse_recipe(RECIPE.format(table=table), ["name=second", f"init_from={first}", *overrides])


def model_of(recipe):
    dataset = build_dataset(recipe)
    return untrained_model(recipe, dataset, dataset.tracks("train"))


def test_method_mix_and_head_are_taken_over(table, first):
    recipe = second(table, first, "backbone.window=1.0", "seed=5", "heads.tags.label_smoothing=0.1")
    model = model_of(recipe)
    before = model.trainable_state()
    _, text = start_from(model, recipe, first)
    stored = artifact.load(first).tensors
    after = model.trainable_state()
    assert after.keys() == stored.keys()
    assert all(torch.equal(after[name], stored[name].float()) for name in stored)
    assert not all(torch.equal(after[name], before[name]) for name in stored)
    assert text.endswith("adapter: the method, the layer mix, the head 'tags'")


def test_a_head_for_other_labels_or_of_another_size_starts_anew(table, first, tmp_path):
    other = collection(tmp_path, ("low", "other"))
    for recipe in (second(other, first), second(table, first, "heads.tags.hidden=4")):
        model = model_of(recipe)
        before = model.trainable_state()
        _, text = start_from(model, recipe, first)
        after, stored = model.trainable_state(), artifact.load(first).tensors
        heads = [name for name in after if name.startswith("heads.")]
        assert all(torch.equal(after[name], before[name]) for name in heads)
        assert all(torch.equal(after[name], stored[name].float()) for name in stored if not name.startswith("heads."))
        assert text.endswith("the method, the layer mix; the head 'tags' is new")


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("method.rank=4", "was trained with method.rank = 2, this recipe has 4 .*use the section 'method' of"),
        ("method={name: heads_only}", "was trained with method.name = 'lora', this recipe has 'heads_only'"),
        ("method.sites=[attn.v]", r"was trained with method.sites = \['attn.q'\], this recipe has \['attn.v'\]"),
        ("mix.layers=[2]", "mixes other layers than this recipe"),
        ("backbone.weights='random:small'", "was made for .*the weights at .* are others"),
        ("init_from=nowhere", "nowhere: no such adapter folder"),
    ],
)
def test_what_does_not_fit_is_refused_before_anything_is_written(table, first, tmp_path, override, message):
    with pytest.raises(UserError, match=message) as caught:
        train(second(table, first, override), tmp_path / "run", tmp_path / "out")
    assert len(caught.value.problems) == 1
    assert list(tmp_path.iterdir()) == []


def test_a_run_says_what_it_starts_from_and_inherits_the_licence(table, first, tmp_path, monkeypatch, capsys):
    other = collection(tmp_path / "more")
    text = other.read_text().replace("CC-BY-4.0", "CC-BY-SA-3.0")
    other.write_text(text)
    starts = []
    step = engine.Loop.step
    monkeypatch.setattr(
        engine.Loop, "step", lambda loop, order: starts.append(loop.model.trainable_state()) or step(loop, order)
    )
    out = train(second(other, first), tmp_path / "run", tmp_path / "out")
    stored = artifact.load(first).tensors
    assert all(torch.equal(starts[0][name], stored[name].float()) for name in stored)
    assert f"starts from {first}" in capsys.readouterr().err
    assert artifact.read_header(out).manifest.data_licence == "CC-BY-SA-3.0 AND CC-BY-4.0"


def test_training_sees_the_share_only(table, tmp_path, monkeypatch):
    seen = []
    original = engine.Loop.__init__

    def spy(self, recipe, model, tracks, *rest):
        seen.append({split: len(items) for split, items in tracks.items()})
        original(self, recipe, model, tracks, *rest)

    monkeypatch.setattr(engine.Loop, "__init__", spy)
    train(parse_recipe(RECIPE.format(table=table), ["train.share=0.34"]), tmp_path / "run", tmp_path / "out")
    assert seen == [{"train": 2, "validation": 2}]
