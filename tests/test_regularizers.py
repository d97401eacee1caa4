"""Regularizers of another distribution: what they are shown, what they change, and what is left of them (nothing)."""

import json
from contextlib import suppress

import pytest
import torch

import etude
from etude.adapters import artifact, registry
from etude.adapters.errors import UserError
from etude.adapters.heads import Head
from etude.adapters.model.build import build_dataset, build_regularizers
from etude.adapters.recipe.schema import parse_recipe
from etude.adapters.states.window_set import WindowSet
from etude.adapters.training import engine
from etude.adapters.training.engine import untrained_model
from etude.adapters.training.evaluation import evaluate
from etude.adapters.training.interrupt import Interruption
from etude.adapters.training.objective import Objective

PULL = '''
"""Pulls a projection of the mix, or of one state, to a value."""

import torch
from torch import nn

from etude.adapters.regularizers import Regularizer, RegularizerConfig


class PullConfig(RegularizerConfig):
    to: float = 1.0
    stage: int | None = None


class Pull(Regularizer):
    Config = PullConfig

    def __init__(self, config, hidden_size, teachers):
        super().__init__(config, hidden_size, teachers)
        self.project = nn.Linear(hidden_size, 1)
        self.register_buffer("calls", torch.zeros(()))

    @property
    def reads(self):
        return () if self.config.stage is None else (self.config.stage,)

    def loss(self, context, teachers, mask):
        assert teachers == {}
        self.calls += self.training
        read = context.mixed if self.config.stage is None else context.states[self.config.stage]
        return ((self.project(read)[..., 0] - self.config.to).square() * mask).sum() / mask.sum()
'''
LORA = "method={name: lora, blocks: last 1}"


def forget():
    for known in (registry.own_names, registry._plugins, registry.find):
        known.cache_clear()


@pytest.fixture
def pull(tmp_path_factory, monkeypatch):
    """The regularizer ``pull``, installed by an entry point for the length of a test."""
    root = tmp_path_factory.mktemp("installed")
    (root / "pulling.py").write_text(PULL)
    about = root / "pulling-1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: pulling\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text("[etude.regularizers]\npull = pulling\n")
    monkeypatch.syspath_prepend(root)
    forget()
    yield
    monkeypatch.undo()
    forget()


# Recipes.


def problem(toy_recipe, *overrides):
    with pytest.raises(UserError) as caught:
        toy_recipe(*overrides)
    return str(caught.value)


def test_a_recipe_has_none_unless_it_names_some(toy_recipe):
    assert toy_recipe().regularizers == ()
    if not registry.names("regularizers"):
        message = problem(toy_recipe, "regularizers=[{name: east}]")
        assert message == "recipe: regularizers.0.name: unknown regularizer 'east' (none are known)"


def test_recipes_with_regularizers(toy_recipe, pull):
    recipe = toy_recipe("regularizers=[{name: pull, weight: 0.5}, {name: pull, stage: 1}]", "regularizers.1.to=3")
    assert [(item.weight, item.to, item.stage) for item in recipe.regularizers] == [(0.5, 1.0, None), (1.0, 3.0, 1)]
    assert parse_recipe(recipe.dump()) == recipe
    assert list(build_regularizers(recipe, 4)) == ["pull", "pull-2"]


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("[{name: pul}]", "regularizers.0.name: unknown regularizer 'pul' (did you mean 'pull'?)"),
        ("[{}]", "regularizers.0.name: is missing (one of pull)"),
        ("[{name: pull, weight: 0}]", "regularizers.0.weight: should be greater than 0, got 0"),
        ("[{name: pull}, {name: pull, stag: 1}]", "regularizers.1.stag: unknown key 'stag' (did you mean 'stage'?)"),
        ("[pull]", "regularizers.0: should be a section of 'key: value' lines, got 'pull'"),
        ("{name: pull}", "regularizers: should be a list, got {'name': 'pull'}"),
        ("null", "regularizers: is empty, should be a list"),
    ],
)
def test_what_is_wrong_with_regularizers_is_told_with_its_place(toy_recipe, pull, value, message):
    assert problem(toy_recipe, f"regularizers={value}") == f"recipe: {message}"


# What they are shown.


def objective_of(recipe):
    dataset = build_dataset(recipe)
    model = untrained_model(recipe, dataset, dataset.tracks("train"))
    return Objective(model, build_regularizers(recipe, model.backbone.hidden_size))


def inputs(objective, recipe):
    """Frozen states of a padded window and a full one, and their weights per frame."""
    windows = WindowSet(build_dataset(recipe).tracks("train"), objective.model.backbone, None)
    runs = [range(1, 2), range(0, 1)]
    rows = [position for run in runs for position in run]
    audio, lengths = windows.audio(rows)
    return audio, lengths, objective.model.frozen_states(audio, lengths), windows.frame_weights(runs)


def test_the_loss_is_of_the_mix_and_of_the_states_by_hand(toy_recipe, pull):
    """The states are computed block by block here, from the audio."""
    recipe = toy_recipe(
        LORA, "mix.layers=[2]", "backbone.window=3", "regularizers=[{name: pull, weight: 3}, {name: pull, stage: 1, to: 2}]"
    )
    objective = objective_of(recipe).eval()
    audio, lengths, stored, mask = inputs(objective, recipe)
    assert mask.sum(dim=1).tolist() == [50, 150], "4 s in windows of 3 s at 50 Hz"
    backbone = objective.model.backbone
    states = {-1: backbone.prepare(audio, lengths)}
    for index in range(-1, 2):
        states[index + 1] = backbone.next_state(index, states[index])
    logits, terms = objective(stored, None, mask)
    assert set(terms) == {"pull_regularizer", "pull-2_regularizer"}
    for name, stage, weight, to in (("pull", 2, 3, 1), ("pull-2", 1, 1, 2)):
        project = objective.regularizers[name].project
        values = (backbone.readout(states[stage]) @ project.weight[0] + project.bias - to) ** 2
        expected = weight * torch.cat([values[0, :50], values[1, :150]]).mean()
        torch.testing.assert_close(terms[f"{name}_regularizer"], expected)
    torch.testing.assert_close(logits["technique"]["technique"], objective.model(stored).logits["technique"]["technique"])


def test_a_window_counts_by_the_weight_of_its_recording(toy_recipe, pull):
    recipe = toy_recipe("data.weight=0.25")
    windows = WindowSet(build_dataset(recipe).tracks("train"), objective_of(recipe).model.backbone, None)
    assert windows.frame_weights([range(2)]).unique().tolist() == [0.25]


def test_gradients_reach_the_adapter_and_the_regularizer_and_not_the_heads(toy_recipe, pull):
    recipe = toy_recipe(LORA, "regularizers=[{name: pull}]")
    objective = objective_of(recipe)
    objective.train()
    _, _, stored, mask = inputs(objective, recipe)
    with torch.no_grad():
        for name, parameter in objective.model.named_trainable():
            if "lora_B" in name:
                parameter += 0.1
    _, terms = objective(stored, None, mask)
    terms["pull_regularizer"].backward()
    moved = {name for name, value in objective.model.named_trainable() if value.grad is not None and value.grad.any()}
    assert any("lora_A" in name for name in moved)
    assert any("lora_B" in name for name in moved)
    assert "mix.weights" in moved
    assert not any(name.startswith("heads.") for name in moved)
    assert objective.regularizers["pull"].project.weight.grad.any()
    assert set(map(id, objective.regularizers.parameters())) <= set(map(id, objective.trained()))
    frozen = [parameter for parameter in objective.model.backbone.parameters() if not parameter.requires_grad]
    assert frozen
    assert all(parameter.grad is None for parameter in frozen)


def test_what_is_not_there_cannot_be_read(toy_recipe, pull, monkeypatch):
    for stage in (-1, 3):
        with pytest.raises(UserError, match=rf"^regularizers: .* has no state {stage} \(states are 0 to 2\)$"):
            objective_of(toy_recipe(f"regularizers=[{{name: pull, stage: {stage}}}]"))
    monkeypatch.setattr(Head, "span", "recording")
    with pytest.raises(UserError, match="regularizers read single windows, and the head 'technique' is shown several"):
        objective_of(toy_recipe("regularizers=[{name: pull}]", "heads.technique.judge=frames"))


# What they change.


def history(run):
    return [json.loads(line) for line in (run / "history.jsonl").read_text().splitlines()]


def test_a_run_with_a_regularizer(toy_recipe, pull, tmp_path, monkeypatch):
    """It is in the loss and in the history, is resumed where it stopped, and the adapter needs nothing of it."""
    overrides = [LORA, "train.epochs=3", "regularizers=[{name: pull, weight: 2, to: 5}]"]
    engine.train(toy_recipe(LORA, "train.epochs=3"), tmp_path / "plain", tmp_path / "plain-adapter")
    engine.train(toy_recipe(*overrides), tmp_path / "whole", tmp_path / "whole-adapter")
    rows, plain = history(tmp_path / "whole"), history(tmp_path / "plain")
    pulls = [row["train_pull_regularizer"] for row in rows]
    assert pulls[-1] < 0.9 * pulls[0], "it is minimised"
    for row in rows:
        terms = [value for name, value in row.items() if name.startswith("train_") and name != "train_loss"]
        assert row["train_loss"] == pytest.approx(sum(terms))
    assert set(rows[0]) - set(plain[0]) == {"train_pull_regularizer"}

    calls = []
    monkeypatch.setattr(Interruption, "requested", lambda self: calls.append(1) or len(calls) == 5)
    with suppress(KeyboardInterrupt):
        engine.train(toy_recipe(*overrides), tmp_path / "halves", tmp_path / "halves-adapter")
    kept = torch.load(tmp_path / "halves" / "checkpoint.pt", weights_only=True)["state"]
    assert kept["regularizers.pull.calls"] == 5
    assert not (tmp_path / "halves-adapter").exists()
    engine.train(toy_recipe(*overrides), tmp_path / "halves", tmp_path / "halves-adapter")
    for ours, theirs in zip(history(tmp_path / "halves"), rows, strict=True):
        assert ours["train_pull_regularizer"] == pytest.approx(theirs["train_pull_regularizer"], rel=1e-5)
        assert ours["train_loss"] == pytest.approx(theirs["train_loss"], rel=1e-5)

    with_it, without = (artifact.load(tmp_path / f"{name}-adapter") for name in ("whole", "plain"))
    assert with_it.tensors.keys() == without.tensors.keys()
    assert with_it.manifest.trainable == without.manifest.trainable
    assert any(not torch.equal(with_it.tensors[name], without.tensors[name]) for name in without.tensors if "lora" in name)

    monkeypatch.undo()
    forget()
    assert registry.names("regularizers") == registry.own_names("regularizers")
    etude.Session(tmp_path / "whole-adapter")(next(iter(build_dataset(toy_recipe()).tracks("test"))).audio)
    assert evaluate(tmp_path / "whole-adapter").scores["technique"]["frame_micro_f1"] == pytest.approx(
        with_it.metrics["test"]["technique"]["frame_micro_f1"], abs=0.02
    )
