"""Weights of recordings in a loss: masks carry them, and parts of a batch count by them."""

import json
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from etude.adapters.model.build import build_dataset
from etude.adapters.states.window_set import WindowSet
from etude.adapters.training import engine
from etude.adapters.training.engine import untrained_model
from etude.adapters.training.loop import Loop

WEIGHTS = {"train0": 4, "train1": 0.5, "train2": 1e-3}


@pytest.fixture
def weigh(toy_root, toy_recipe, tmp_path):
    """A function from weights by recording, 1 where there is none, to a recipe for the toy data."""

    def recipe(weights, *overrides):
        header, *rows = (toy_root / "manifest.csv").read_text().splitlines()
        weighted = [f"{toy_root / row.replace(',', f',{toy_root}/', 1)},{weights.get(row[:6], 1)}" for row in rows]
        file = tmp_path / f"{len(list(tmp_path.glob('*.csv')))}.csv"
        file.write_text("\n".join([f"{header},weight", *weighted]))
        return toy_recipe(f"data.root={tmp_path}", f"data.file={file.name}", *overrides)

    return recipe


def windows_of(recipe):
    dataset = build_dataset(recipe)
    model = untrained_model(recipe, dataset, dataset.tracks("train"))
    return WindowSet(dataset.tracks("train"), model.backbone, None), dict(model.heads)


def test_masks_hold_the_weight_of_the_recording_and_targets_do_not(weigh):
    weighted, heads = windows_of(weigh(WEIGHTS))
    plain, _ = windows_of(weigh({}))
    positions = range(len(plain))
    found, expected = (item.targets([positions], heads)["technique"] for item in (weighted, plain))
    names = [track.id.split("/")[-1][:6] for track in plain.tracks]
    factors = torch.tensor([WEIGHTS.get(names[index], 1.0) for index, _ in plain.windows])
    for key, values in expected.items():
        assert values.dtype == found[key].dtype == torch.float32
        torch.testing.assert_close(found[key], values * factors[:, None, None] if key.endswith("_mask") else values)
    assert weighted.weight([range(2), range(1), range(len(plain) - 1, len(plain))]) == 9, "a run counts once"


@pytest.mark.parametrize("part_size", [1, 2, 4])
@pytest.mark.parametrize("processes", [1, 2])
def test_parts_of_a_step_count_by_their_weight(processes, part_size):
    weights = np.array([4, 0.5, 1e-3, 1, 1, 2, 0.25, 1])
    order, values = torch.tensor([3, 1, 0, 7, 6, 2, 5, 4]), np.arange(8.0) ** 2

    def mean_of(weights):
        totals = []
        for process in range(processes):
            loop = SimpleNamespace(
                config=SimpleNamespace(batch_size=8),
                accelerator=SimpleNamespace(num_processes=processes, process_index=process),
                part_size=part_size,
                runs=range(8),
                train_windows=SimpleNamespace(weight=lambda runs: weights[list(runs)].sum()),
            )
            loop._batch = lambda order, step, loop=loop: Loop._batch(loop, order, step)
            parts = Loop._parts(loop, order, 0)
            divisors = [Loop._divisor(loop, order, 0, part) for part in parts]
            if (weights == 1).all():
                assert divisors == [len(parts)] * len(parts), "exactly, for sums must not move"
            means = [np.average(values[part], weights=weights[part]) for part in parts]
            totals.append(sum(mean / divisor for mean, divisor in zip(means, divisors, strict=True)))
        return np.mean(totals)

    assert mean_of(weights) == pytest.approx(np.average(values, weights=weights))
    assert mean_of(np.ones(8)) == pytest.approx(values.mean())


def test_training_does_not_depend_on_the_parts_of_a_batch_but_on_the_weights(weigh, tmp_path):
    common = ["heads.technique.dropout=0", "train.epochs=2", "train.evaluate_every=2"]
    losses = {}
    for name, weights, parts in (("whole", WEIGHTS, 1), ("parts", WEIGHTS, 4), ("plain", {}, 1)):
        engine.train(weigh(weights, *common, f"train.accumulate={parts}"), tmp_path / name, tmp_path / f"{name}-adapter")
        rows = map(json.loads, (tmp_path / name / "history.jsonl").read_text().splitlines())
        losses[name] = [row["train_loss"] for row in rows]
    assert losses["parts"] == pytest.approx(losses["whole"], rel=1e-5)
    assert losses["plain"] != pytest.approx(losses["whole"], rel=0.005)
