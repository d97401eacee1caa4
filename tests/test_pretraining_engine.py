"""`adapt pretrain` with sines for SoundFonts: it learns, resumes exactly, and leaves a backbone that `mert` loads."""

import json
from dataclasses import fields

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from toy_pretraining import TARGETS, Sines
from transformers import HubertModel
from typer.testing import CliRunner

from etude.adapters.backbones._parts import weights as checkpoints
from etude.adapters.backbones.mert import Mert, MertConfig
from etude.adapters.errors import UserError
from etude.adapters.pretraining import clips, engine
from etude.adapters.pretraining.engine import Pretrainer, pretrain
from etude.adapters.pretraining.folder import write_backbone
from etude.adapters.pretraining.objectives import Objectives
from etude.adapters.pretraining.source_notes import SourceNote
from etude.adapters.recipe.pretraining import load_pretrain_recipe
from etude.adapters.training.interrupt import Interruption
from etude.cli.app import app

RECIPE = """
task: pretraining
name: toy
soundfonts: [{path: /srv/any.sf2, title: Any GM, licence: mit}]
shape:
  {conv_dim: [8, 8, 8, 8, 8, 8, 8], hidden_size: 16, num_hidden_layers: 1, num_attention_heads: 2, intermediate_size: 32,
   num_conv_pos_embeddings: 8, num_conv_pos_embedding_groups: 4}
clips: {seconds: 0.3}
effects: null
targets: {spectrum: {layer: 0}, context: {weight: 2.0}, timbre: {weight: 0.1}, motion: {}}
train: {steps: 6, batch_size: 2, lr: 5.0e-3, save_every: 2}
"""


@pytest.fixture(scope="module", autouse=True)
def sines():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(clips, "SampledInstruments", Sines)
        yield


@pytest.fixture(scope="module")
def recipe_file(tmp_path_factory):
    path = tmp_path_factory.mktemp("recipe") / "toy.yaml"
    path.write_text(RECIPE)
    return path


@pytest.fixture(scope="module")
def load(recipe_file):
    """A function from overrides to the recipe."""
    return lambda *overrides: load_pretrain_recipe(recipe_file, overrides)


@pytest.fixture(scope="module")
def whole(load, tmp_path_factory):
    """The folder of an uninterrupted run (``run``) and its backbone (``out``)."""
    folder = tmp_path_factory.mktemp("whole")
    assert pretrain(load(), folder / "run", folder / "out") == folder / "out"
    return folder


def history(folder):
    return [json.loads(line) for line in (folder / "run" / "history.jsonl").read_text().splitlines()]


def trained(folder):
    """All trained tensors of a run, objectives included."""
    return torch.load(folder / "run" / "checkpoint.pt", weights_only=True)["state"]


def same(one, other):
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def interrupt(recipe, folder, monkeypatch, after):
    """Run until Ctrl-C is seen after ``after`` steps."""
    seen = []
    monkeypatch.setattr(Interruption, "requested", lambda self: seen.append(1) or len(seen) == after)
    with pytest.raises(KeyboardInterrupt):
        pretrain(recipe, folder / "run", folder / "out")
    monkeypatch.undo()


def test_mert_loads_the_backbone_and_computes_what_was_trained(load, whole):
    recipe = load()
    model = Pretrainer(recipe, instruments=2)
    model.load_state_dict(trained(whole))
    mert = Mert(MertConfig(name="mert", weights=str(whole / "out"), window=1.0, normalize=False))
    assert (mert.sample_rate, mert.frame_rate, mert.num_blocks) == (24_000, 75, 1)
    audio = torch.randn(2, mert.window_samples, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        states = mert(mert.prepare(audio, torch.tensor([mert.window_samples] * 2)))
        padded = torch.nn.functional.pad(audio, (0, model.padding))
        expected = model.backbone.eval()(padded).last_hidden_state
        rounded = model.half().float().backbone(padded).last_hidden_state
    assert states[-1].shape == expected.shape == (2, 75, 16)
    torch.testing.assert_close(states[-1], expected, atol=0.02, rtol=0.02)
    torch.testing.assert_close(states[-1], rounded, atol=1e-5, rtol=1e-5)


def test_the_folder_says_where_it_comes_from(load, whole):
    out = whole / "out"
    assert {file.name for file in out.iterdir()} == {"config.json", "model.safetensors", "README.md"}
    tensors = load_file(out / "model.safetensors")
    assert {tensor.dtype for tensor in tensors.values()} == {torch.float16}
    assert tensors.keys() == Pretrainer(load(), instruments=2).backbone.state_dict().keys(), "and none of the objectives"
    card = (out / "README.md").read_text()
    assert "| Any GM | mit | SoundFont |" in card
    assert "2 instruments are told apart" in card
    first, last = history(whole)[0]["held_out"], history(whole)[-1]["held_out"]
    assert f"| context | {first['context']:.3f} | {last['context']:.3f} |" in card
    assert checkpoints.find_licence(str(out), None, {}) == "apache-2.0"


def test_the_run_holds_its_recipe(load, whole, tmp_path):
    assert load_pretrain_recipe(whole / "run" / "recipe.yaml") == load()
    pretrain(load("train.steps=1"), tmp_path / "run", tmp_path / "out")
    pretrain(load("train.steps=2"), tmp_path / "run", tmp_path / "out", fresh=True)
    assert load_pretrain_recipe(tmp_path / "run" / "recipe.yaml") == load("train.steps=2")


def test_only_the_main_process_writes(load, tmp_path, monkeypatch):
    monkeypatch.setattr(engine.Accelerator, "is_main_process", False)
    pretrain(load("train.steps=1"), tmp_path / "run", tmp_path / "out")
    assert not list(tmp_path.iterdir())


def test_a_card_has_the_recorded_sources_with_all_their_licences(load, whole, tmp_path):
    model, composer = Pretrainer(load(), instruments=2), clips.Composer(load())
    notes = (("theirs", "CC-BY-4.0"), ("own", "CC0-1.0"), ("theirs", "mit"), ("own", "CC0-1.0"))
    composer.recorded = [SourceNote(tmp_path / "a.flac", "lute", None, *note) for note in notes]
    write_backbone(tmp_path / "out", load(), composer, model.backbone, [])
    rows = [line for line in (tmp_path / "out" / "README.md").read_text().splitlines() if line.endswith("| recorded notes |")]
    assert rows == [f"| {source} | {licence} | recorded notes |" for source, licence in sorted(set(notes))]


@torch.no_grad()
def test_transformers_loads_the_backbone_without_a_word(load, whole):
    model = Pretrainer(load(), instruments=2)
    model.load_state_dict(trained(whole))
    peer, report = HubertModel.from_pretrained(whole / "out", output_loading_info=True)
    assert not any(report.values()), report
    audio = torch.randn(1, 24_080, generator=torch.Generator().manual_seed(0))
    expected = model.half().float().backbone.eval()(audio).last_hidden_state
    torch.testing.assert_close(peer(audio).last_hidden_state, expected, atol=1e-5, rtol=1e-5)


def test_a_target_trains_what_lies_below_its_state(load):
    others = ["targets.instrument=null", "targets.technique=null", "targets.pitch=null", "targets.onset=null"]
    others += ["targets.context=null", "targets.timbre=null", "targets.motion=null"]
    deep = ["shape.num_hidden_layers=2", *others]
    composer = clips.Composer(load())
    for layer, blocks in ((0, 0), (1, 1), (2, 2), ("null", 2)):
        model = Pretrainer(load(*deep, f"targets.spectrum.layer={layer}"), instruments=2)
        batch = composer.batch(0, range(2))
        values = {field.name: torch.from_numpy(getattr(batch, field.name)) for field in fields(batch)}
        (loss,) = model(values.pop("audio"), values).values()
        loss.backward()
        encoder = model.backbone.encoder
        trained_blocks = [any(p.grad is not None and p.grad.any() for p in block.parameters()) for block in encoder.layers]
        assert trained_blocks == [index < blocks for index in range(2)], layer
        assert model.backbone.feature_projection.projection.weight.grad.any()
        norm = encoder.layer_norm.bias.grad
        assert (norm is not None) == (blocks == 2), "the last state is after the final norm"


def test_it_learns_and_writes_its_history(load, tmp_path):
    easy = ("mixup=null", "concatenation=null", "train.batch_size=6", "train.lr=1e-2")
    names = set(TARGETS) - {"timbre", "motion"}
    easy += ("targets.timbre=null", "targets.motion=null")
    pretrain(load(*easy, "train.steps=60", "train.save_every=30"), tmp_path / "run", tmp_path / "out")
    first, last = history(tmp_path)
    assert (first["step"], last["step"]) == (30, 60)
    for part in ("train", "held_out"):
        assert set(first[part]) == set(last[part]) == names
        assert all(last[part][name] < first[part][name] for name in names - {"onset"})
        assert last[part]["spectrum"] < 0.8 * first[part]["spectrum"]
    assert last["held_out"]["instrument"] < 0.5 * np.log(2), "half of what guessing between two gives"


def test_it_learns_what_a_note_sounds_like_and_how_it_moves(load, tmp_path):
    easy = [f"targets.{name}=null" for name in set(TARGETS) - {"timbre", "motion"}]
    easy += ["mixup=null", "concatenation=null", "train.lr=1e-2", "train.steps=40", "train.save_every=20"]
    pretrain(load(*easy, "targets.timbre.weight=1"), tmp_path / "run", tmp_path / "out")
    first, last = (row["held_out"] for row in history(tmp_path))
    assert set(first) == set(last) == {"timbre", "motion"}
    assert last["timbre"] < 0.7 * first["timbre"]
    assert last["motion"] < 0.5 * first["motion"], "steady notes, so always 0"


@pytest.mark.parametrize("after", [1, 3, 4, 6])
def test_a_resumed_run_is_the_uninterrupted_one(load, whole, tmp_path, monkeypatch, after):
    interrupt(load(), tmp_path, monkeypatch, after)
    assert not (tmp_path / "out").exists()
    if after > 1:
        assert [row["step"] for row in history(tmp_path)] == [2, 4, 6][: after // 2]
    pretrain(load(), tmp_path / "run", tmp_path / "out")
    assert history(tmp_path) == history(whole)
    assert same(trained(tmp_path), trained(whole))
    assert same(*(load_file(folder / "out" / "model.safetensors") for folder in (tmp_path, whole)))


def test_another_seed_gives_another_backbone(load, whole, tmp_path):
    pretrain(load("seed=1"), tmp_path / "run", tmp_path / "out")
    assert not same(trained(tmp_path), trained(whole))


def test_validation_clips_are_never_trained_on_and_always_the_same(load, tmp_path, monkeypatch):
    steps, real = [], clips.Composer.batch
    monkeypatch.setattr(clips.Composer, "batch", lambda self, step, items: steps.append(step) or real(self, step, items))
    pretrain(load(), tmp_path / "run", tmp_path / "out")
    assert [step for step in steps if step < engine.HELD_OUT] == list(range(6))
    assert [step - engine.HELD_OUT for step in steps if step >= engine.HELD_OUT] == list(range(engine.VALIDATION_BATCHES))


def test_finished_and_foreign_runs_are_refused_and_fresh_replaces_them(load, whole, tmp_path, monkeypatch):
    interrupt(load(), tmp_path, monkeypatch, 3)
    with pytest.raises(UserError, match=r"run: holds a run of another recipe \(pass --fresh"):
        pretrain(load("train.lr=1e-3"), tmp_path / "run", tmp_path / "out")
    pretrain(load(), tmp_path / "run", tmp_path / "out")
    with pytest.raises(UserError, match=r"run: is a finished run of this recipe \(pass --fresh"):
        pretrain(load(), tmp_path / "run", tmp_path / "out")
    assert same(trained(tmp_path), trained(whole))
    pretrain(load("train.lr=1e-3"), tmp_path / "run", tmp_path / "out", fresh=True)
    assert not same(trained(tmp_path), trained(whole))
    assert len(history(tmp_path)) == 3

    def killed(self):
        raise KeyboardInterrupt

    monkeypatch.setattr(engine._Loop, "step", killed)
    with pytest.raises(KeyboardInterrupt):  # Ctrl-C twice, before anything is saved: nothing of the run before is taken up
        pretrain(load(), tmp_path / "run", tmp_path / "out", fresh=True)
    assert not (tmp_path / "run" / "checkpoint.pt").exists()


def test_a_loss_that_is_not_finite_stops_the_run(load, tmp_path, monkeypatch):
    monkeypatch.setattr(Objectives, "spectrum", lambda self, audio: torch.full((2, 22, 64), torch.nan))
    with pytest.raises(UserError, match=r"pretraining: the loss is not finite at step 0 \(lower train\.lr\)"):
        pretrain(load(), tmp_path / "run", tmp_path / "out")


def test_the_command_trains_and_says_how_to_use_the_backbone(recipe_file, whole, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(app, ["pretrain", str(recipe_file)], catch_exceptions=False)
    assert result.exit_code == 0, result.stderr
    out = tmp_path / "toy-backbone"
    size = sum(file.stat().st_size for file in out.iterdir()) / 1e6
    use = f"use it as 'backbone: {{name: mert, weights: {out}}}'"
    assert result.stdout == f"backbone: toy-backbone ({size:.2f} MB)   run: runs/toy   {use}\n"
    assert [line[:11] for line in result.stderr.splitlines()] == ["step      2", "step      4", "step      6"]
    assert same(load_file(out / "model.safetensors"), load_file(whole / "out" / "model.safetensors"))


def test_ctrl_c_leaves_with_130_and_says_how_to_continue(recipe_file, tmp_path, monkeypatch):
    monkeypatch.setattr(Interruption, "requested", lambda self: True)
    arguments = ["pretrain", str(recipe_file), "--run", str(tmp_path / "run"), "--out", str(tmp_path / "out")]
    result = CliRunner().invoke(app, arguments, catch_exceptions=False)
    assert (result.exit_code, result.stderr) == (130, "interrupted; give the same command again to continue\n")
    assert not (tmp_path / "out").exists()
