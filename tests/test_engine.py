"""The training loop: it learns, repeats itself, resumes, stops early and stays small in memory."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from etude.adapters import artifact
from etude.adapters.errors import UserError
from etude.adapters.training import engine, loop
from etude.adapters.training.interrupt import Interruption

LORA = "method={name: lora, blocks: last 1, dropout: 0.1}"
ADAPT = [sys.executable, "-c", "from etude.cli.app import main; main()"]


def history(run):
    return [json.loads(line) for line in (run / "history.jsonl").read_text().splitlines()]


@pytest.fixture(scope="module")
def uninterrupted(toy_recipe, tmp_path_factory):
    folder = tmp_path_factory.mktemp("uninterrupted")
    engine.train(toy_recipe(LORA, "train.epochs=4"), folder / "run", folder / "adapter")
    return folder


def test_a_run_learns_and_leaves_what_it_promises(uninterrupted):
    rows = history(uninterrupted / "run")
    assert rows[-1]["train_loss"] < 0.8 * rows[0]["train_loss"]
    assert [row["epoch"] for row in rows] == [1, 2, 3, 4]
    assert (uninterrupted / "run" / "training.png").stat().st_size > 10_000
    assert list((uninterrupted / "run" / "tensorboard").glob("events*"))
    loaded = artifact.load(uninterrupted / "adapter")
    assert set(loaded.metrics) == {"validation", "test"}
    assert loaded.manifest.metric == "technique.event_macro_f1"
    best = max(row["metric"] for row in rows)
    assert loaded.metrics["validation"]["technique"]["event_macro_f1"] == pytest.approx(best, abs=0.05)


def test_the_same_seed_gives_the_same_run_and_another_does_not(uninterrupted, toy_recipe, tmp_path):
    for seed, name in ((1, "same"), (2, "other")):
        engine.train(toy_recipe(LORA, "train.epochs=2", f"seed={seed}"), tmp_path / name, tmp_path / f"{name}-adapter")
    same, other = history(tmp_path / "same"), history(tmp_path / "other")
    engine.train(toy_recipe(LORA, "train.epochs=2"), tmp_path / "again", tmp_path / "again-adapter")
    assert history(tmp_path / "again") == same
    assert other[0]["train_loss"] != same[0]["train_loss"]


@pytest.mark.parametrize("stop_at", [1, 2, 5])
def test_an_interrupted_run_continues_with_the_same_losses(uninterrupted, toy_recipe, tmp_path, monkeypatch, stop_at):
    recipe, calls = toy_recipe(LORA, "train.epochs=4"), []

    def requested(self):
        calls.append(1)
        return len(calls) == stop_at

    monkeypatch.setattr(Interruption, "requested", requested)
    with pytest.raises(KeyboardInterrupt):
        engine.train(recipe, tmp_path / "run", tmp_path / "adapter")
    assert not (tmp_path / "adapter").exists()
    engine.train(recipe, tmp_path / "run", tmp_path / "adapter")
    resumed, whole = history(tmp_path / "run"), history(uninterrupted / "run")
    for ours, theirs in zip(resumed, whole, strict=True):
        assert ours["train_loss"] == pytest.approx(theirs["train_loss"], rel=1e-5)
        assert ours["metric"] == pytest.approx(theirs["metric"], abs=1e-6)
    one, other = artifact.load(tmp_path / "adapter").tensors, artifact.load(uninterrupted / "adapter").tensors
    assert all(torch.allclose(one[name].float(), other[name].float(), atol=1e-3) for name in other)


def test_stored_states_change_nothing_but_rounding(uninterrupted, toy_recipe, tmp_path):
    engine.train(toy_recipe(LORA, "train.epochs=4"), tmp_path / "run", tmp_path / "adapter", cache=False)
    for ours, theirs in zip(history(tmp_path / "run"), history(uninterrupted / "run"), strict=True):
        assert ours["train_loss"] == pytest.approx(theirs["train_loss"], rel=5e-3)


def test_accumulation_gives_the_gradient_of_the_whole_batch(toy_recipe, tmp_path):
    plain, parts = (
        ["heads.technique.dropout=0", "train.epochs=2", "train.evaluate_every=2", f"train.accumulate={n}"] for n in (1, 4)
    )
    engine.train(toy_recipe(*plain), tmp_path / "a", tmp_path / "a-adapter")
    engine.train(toy_recipe(*parts), tmp_path / "b", tmp_path / "b-adapter")
    for ours, theirs in zip(history(tmp_path / "a"), history(tmp_path / "b"), strict=True):
        # Means over labelled frames: parts with more padding weigh a little more than their frames.
        assert ours["train_loss"] == pytest.approx(theirs["train_loss"], rel=0.02)
    with pytest.raises(UserError, match="choose a multiple of 3"):
        engine.train(toy_recipe("train.accumulate=3"), tmp_path / "c", tmp_path / "c-adapter")


def test_early_stopping_counts_validations_without_improvement(toy_recipe, tmp_path, monkeypatch):
    real, scores = loop.flatten, iter([0.3, 0.5, 0.4, 0.5, 0.1, 0.9, 0.9])

    def flat(values):
        found = real(values)
        return found | {"technique.event_macro_f1": next(scores)} if values["technique"].get("event_micro_recall") else found

    monkeypatch.setattr(loop, "flatten", flat)
    recipe = toy_recipe("train.epochs=20", "train.patience=2")
    engine.train(recipe, tmp_path / "run", tmp_path / "adapter")
    assert [row["metric"] for row in history(tmp_path / "run")] == [0.3, 0.5, 0.4, 0.5]


def test_peak_memory_does_not_grow_with_the_data(toy_root, tmp_path):
    """The same training set once and then ten times over, one epoch each, in a process of their own."""
    for times in (1, 10):
        root = tmp_path / f"x{times}"
        root.mkdir()
        rows = ["audio,events,split"]
        for split, count in (("train", 6), ("validation", 2)):
            for copy in range(times):
                for index in range(count):
                    name = f"{split}{index}-{copy}"
                    for suffix in (".wav", ".csv"):
                        shutil.copyfile(toy_root / f"{split}{index}{suffix}", root / f"{name}{suffix}")
                    rows.append(f"{name}.wav,{name}.csv,{split}")
        (root / "manifest.csv").write_text("\n".join(rows) + "\n")
    once, tenfold = peak_megabytes(tmp_path / "x1", tmp_path / "x10")
    assert tenfold < 1.05 * once + 5


def peak_megabytes(*roots: Path) -> list[float]:
    code = (
        "import resource, sys; sys.path.insert(0, sys.argv.pop(1))\n"
        "from conftest import RECIPE\n"
        "from pathlib import Path\n"
        "from etude.adapters.training.engine import train\n"
        "from etude.adapters.recipe.schema import parse_recipe\n"
        "for root in map(Path, sys.argv[1:]):\n"
        "    train(parse_recipe(RECIPE.format(root=root), ['train.epochs=1']), root / 'run', root / 'adapter')\n"
        "    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)\n"
    )
    command = [sys.executable, "-c", code, str(Path(__file__).parent), *map(str, roots)]
    return [float(line) for line in subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()]


def test_an_epoch_takes_the_next_view_of_every_window(toy_recipe, tmp_path, monkeypatch):
    taken, real = [], loop.Loop._rows

    def rows(self, positions):
        found = real(self, positions)
        taken.extend((self.progress.epoch, row) for row in found)
        return found

    monkeypatch.setattr(loop.Loop, "_rows", rows)
    recipe = toy_recipe("train.epochs=3", "train.evaluate_every=3", "train.augment={views: 3, tilt_db: [-6, 6]}")
    engine.train(recipe, tmp_path / "run", tmp_path / "adapter")
    views = {}
    for epoch, row in taken:
        views.setdefault(row // 3, {}).setdefault(epoch, set()).add(row % 3)
    assert len(views) == 12
    for by_epoch in views.values():
        assert [len(view) for view in by_epoch.values()] == [1, 1, 1]
        assert set().union(*by_epoch.values()) == {0, 1, 2}
    assert len({next(iter(by_epoch[0])) for by_epoch in views.values()}) == 3, "not all windows are in the same view at once"


def test_mixed_precision_trains_as_single_precision_does(toy_recipe, tmp_path, monkeypatch):
    """Frozen states are computed in it as well, and kept apart from the others."""
    monkeypatch.setenv("ETUDE_CACHE", str(tmp_path / "cache"))
    recipes = {name: toy_recipe(LORA, f"train.precision={name}", "train.epochs=2") for name in ("fp32", "bf16")}
    engine.train(recipes["fp32"], tmp_path / "fp32", tmp_path / "fp32-adapter")
    # Accelerate knows one precision per process.
    (tmp_path / "bf16.yaml").write_text(recipes["bf16"].dump())
    arguments = ["train", tmp_path / "bf16.yaml", "--run", tmp_path / "bf16", "--out", tmp_path / "bf16-adapter"]
    done = subprocess.run([*ADAPT, *map(str, arguments)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    losses = {name: [row["train_loss"] for row in history(tmp_path / name)] for name in recipes}
    assert losses["bf16"] == pytest.approx(losses["fp32"], rel=0.02)
    assert losses["bf16"] != losses["fp32"]
    assert len(list((tmp_path / "cache" / "features").glob("*/about.json"))) == 3, "both read the same frozen states"
