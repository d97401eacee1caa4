"""`adapt pretrain` with sines for SoundFonts: it learns, resumes exactly, and leaves a backbone that `mert` loads; and losses
against torch's own, the spectrum against librosa, its surroundings against a loop.
"""

import json
from dataclasses import fields

import librosa
import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch.nn import functional as F
from transformers import HubertModel
from typer.testing import CliRunner

from etude.adapters.backbones._parts import weights as checkpoints
from etude.adapters.backbones.mert import Mert, MertConfig
from etude.adapters.errors import UserError
from etude.adapters.pretraining import clips, engine
from etude.adapters.pretraining.engine import Pretrainer, pretrain
from etude.adapters.pretraining.folder import write_backbone
from etude.adapters.pretraining.instruments import Instrument, RenderedNote
from etude.adapters.pretraining.objectives import OFFSETS, Objectives, around, soft_cross_entropy
from etude.adapters.pretraining.source_notes import SourceNote
from etude.adapters.pretraining.techniques import PLAYERS
from etude.adapters.recipe.pretraining import PretrainRecipe, load_pretrain_recipe
from etude.adapters.sound.synthesis import Preset
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
BATCH, FRAMES, HIDDEN, HOP, RATE = 2, 7, 8, 320, 24_000
CLASSES = {"instrument": 5, "technique": 3, "pitch": 6}
TARGETS = ("instrument", "technique", "pitch", "onset", "spectrum", "context", "timbre", "motion")
STATES = 3


class Sines:
    """Stands in for SoundFonts."""

    def __init__(self, paths, sample_rate):
        self.instruments = tuple(Instrument(name, (Preset(0),)) for name in ("low", "high"))
        self.shares, self.sample_rate = np.array([0.5, 0.5]), sample_rate

    def draw(self, instrument, plain, longest, rng):
        pitch = rng.uniform(40, 50) + 30 * (instrument.name == "high")
        times = np.arange(round(longest * self.sample_rate)) / self.sample_rate
        samples = np.sin(2 * np.pi * 440 * 2 ** ((pitch - 69) / 12) * times).astype(np.float32)
        return RenderedNote(samples, pitch, "plain", PLAYERS["plain"](longest, rng))


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


def objectives(**targets):
    """Of every target unless told otherwise."""
    shape = {
        "hidden_size": HIDDEN,
        "num_attention_heads": 1,
        "num_conv_pos_embedding_groups": 1,
        "num_hidden_layers": STATES - 1,
    }
    recipe = PretrainRecipe(
        task="pretraining",
        name="toy",
        soundfonts=({"path": "x.sf2", "title": "x", "licence": "mit"},),
        shape=shape,
        targets={"context": {}, "timbre": {}, "motion": {}} | targets,
        train={"label_smoothing": 0.1},
    )
    torch.manual_seed(0)
    return Objectives(recipe, *CLASSES.values())


def standardised(state):
    """Each vector of ``state`` with mean 0 and variance 1."""
    centred = state - state.mean(-1, keepdim=True)
    return centred / (centred.square().mean(-1, keepdim=True) + 1e-5).sqrt()


@pytest.fixture
def example():
    """All states, clips, and targets."""
    generator = torch.Generator().manual_seed(1)
    targets = {
        name: F.one_hot(torch.randint(size, (BATCH, FRAMES), generator=generator), size).float()
        for name, size in CLASSES.items()
    }
    targets["pitch_mask"] = torch.ones(BATCH, FRAMES, 1)
    targets["onset"] = (torch.rand(BATCH, FRAMES, 1, generator=generator) < 0.3).float()
    for name, size in (("timbre", 8), ("motion", 2)):
        targets[name] = 2 * torch.randn(BATCH, FRAMES, size, generator=generator)
        targets[f"{name}_mask"] = (torch.rand(BATCH, FRAMES, 1, generator=generator) < 0.5).float()
    states = tuple(3 + 2 * torch.randn(BATCH, FRAMES, HIDDEN, generator=generator) for _ in range(STATES))
    return states, torch.randn(BATCH, FRAMES * HOP, generator=generator), targets


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_cross_entropy_is_torchs_for_hard_and_soft_labels(smoothing):
    logits, labels = torch.randn(3, 4, 5), torch.randint(5, (3, 4))
    ours = soft_cross_entropy(logits, F.one_hot(labels, 5).float(), smoothing)
    assert ours.item() == pytest.approx(
        F.cross_entropy(logits.flatten(0, 1), labels.flatten(), label_smoothing=smoothing).item()
    )
    soft = torch.rand(3, 4, 5).softmax(-1)
    theirs = F.cross_entropy(logits.flatten(0, 1), soft.flatten(0, 1), label_smoothing=smoothing)
    assert soft_cross_entropy(logits, soft, smoothing).item() == pytest.approx(theirs.item(), rel=1e-5)


def test_frames_without_a_target_count_for_nothing():
    logits, targets = torch.randn(2, 4, 5), F.one_hot(torch.randint(5, (2, 4)), 5).float()
    targets[:, 2:] = 0
    known = soft_cross_entropy(logits[:, :2], targets[:, :2], 0.1)
    assert soft_cross_entropy(logits, targets, 0.1).item() == pytest.approx(known.item(), rel=1e-6)
    assert soft_cross_entropy(logits, torch.zeros_like(targets), 0.1).item() == 0


def test_losses_are_those_of_torch_times_their_weights(example):
    states, audio, targets = example
    module = objectives(instrument={"weight": 2.0}, pitch={"weight": 0.5}, onset={"weight": 3.0}, context={"weight": 0.1})
    losses = module(states, audio, targets)
    assert set(losses) == set(TARGETS)
    outputs = {name: layer(standardised(states[-1])) for name, layer in module.layers.items()}

    def entropy(name, smoothing):
        return F.cross_entropy(outputs[name].flatten(0, 1), targets[name].flatten(0, 1), label_smoothing=smoothing).item()

    assert losses["instrument"].item() == pytest.approx(2 * entropy("instrument", 0.1), rel=1e-5)
    assert losses["technique"].item() == pytest.approx(entropy("technique", 0.0), rel=1e-5)
    pitch = F.binary_cross_entropy_with_logits(outputs["pitch"], targets["pitch"]).item() * CLASSES["pitch"]
    assert losses["pitch"].item() == pytest.approx(0.5 * pitch, rel=1e-5)
    onset = F.binary_cross_entropy_with_logits(outputs["onset"], targets["onset"]).item()
    assert losses["onset"].item() == pytest.approx(3 * onset, rel=1e-5)
    bands = module.spectrum(audio)
    assert losses["spectrum"].item() == pytest.approx(F.mse_loss(outputs["spectrum"], bands).item(), rel=1e-5)
    assert losses["context"].item() == pytest.approx(0.1 * F.mse_loss(outputs["context"], around(bands)).item(), rel=1e-5)


def test_only_the_linear_layers_are_trained_and_neither_scale_nor_mean_of_a_state_counts(example):
    states, audio, targets = example
    module = objectives()
    assert {name for name, _ in module.named_parameters()} == {
        f"layers.{name}.{p}" for name in TARGETS for p in ("weight", "bias")
    }
    assert module.state_dict().keys() == dict(module.named_parameters()).keys()
    before, after = module(states, audio, targets), module([1000 * state - 5 for state in states], audio, targets)
    for name in TARGETS:
        assert after[name].item() == pytest.approx(before[name].item(), rel=1e-4), name


@pytest.mark.parametrize("name", TARGETS)
@pytest.mark.parametrize("layer", [None, 0, 1, 2])
def test_a_target_is_predicted_from_its_state_and_no_other(example, name, layer):
    states, audio, targets = example
    states = [state.clone().requires_grad_() for state in states]
    objectives(**{name: {"layer": layer}})(states, audio, targets)[name].backward()
    assert [index for index, state in enumerate(states) if state.grad is not None] == [STATES - 1 if layer is None else layer]


@pytest.mark.parametrize("name", TARGETS)
def test_a_state_that_the_backbone_does_not_have_is_refused(name):
    objectives(**{name: {"layer": STATES - 1}})
    with pytest.raises(ValueError, match=rf"targets\.{name}\.layer must be at most 2, the number of blocks"):
        objectives(**{name: {"layer": STATES}})


def test_surroundings_are_the_bands_of_the_frames_around_and_the_edges_repeat():
    frames, bands = 40, torch.randn(2, 40, 64, generator=torch.Generator().manual_seed(0))
    found = around(bands)
    assert found.shape == (2, frames, 64 * len(OFFSETS))
    for frame in range(frames):
        for place, offset in enumerate(OFFSETS):
            expected = bands[:, min(max(frame + offset, 0), frames - 1)]
            assert torch.equal(found[:, frame, 64 * place : 64 * (place + 1)], expected), (frame, offset)
    assert [round(offset * HOP / RATE, 2) for offset in (OFFSETS[0], OFFSETS[-1])] == [-0.12, 0.2], "as the recipe says"


def test_frames_of_unknown_pitch_have_no_influence_on_the_pitch_loss(example):
    states, audio, targets = example
    module = objectives()
    targets["pitch_mask"][0, 3:] = 0
    before = module(states, audio, targets)
    targets["pitch"][0, 3:] = 1 - targets["pitch"][0, 3:]
    states = [state.clone() for state in states]
    states[-1][0, 3:] *= torch.arange(HIDDEN)
    after = module(states, audio, targets)
    assert after["pitch"].item() == before["pitch"].item()
    assert after["onset"].item() != before["onset"].item()
    targets["pitch"][0, 0] = 1 - targets["pitch"][0, 0]
    assert module(states, audio, targets)["pitch"].item() != before["pitch"].item()
    targets["pitch_mask"][:] = 0
    assert module(states, audio, targets)["pitch"].item() == 0


@pytest.mark.parametrize("name", ["timbre", "motion"])
def test_timbre_and_motion_are_mean_squared_errors_of_the_frames_that_know_them(example, name):
    states, audio, targets = example
    module = objectives(**{name: {"weight": 0.7, "layer": 1}})
    output = module.layers[name](standardised(states[1])).tolist()
    truth, mask = targets[name].tolist(), targets[f"{name}_mask"].tolist()
    errors = []
    for clip in range(BATCH):
        for frame in range(FRAMES):
            if mask[clip][frame] == [1.0]:
                errors += [(a - b) ** 2 for a, b in zip(output[clip][frame], truth[clip][frame], strict=True)]
    assert 0 < len(errors) < targets[name].numel(), "some are known, others not"
    assert module(states, audio, targets)[name].item() == pytest.approx(0.7 * sum(errors) / len(errors), rel=1e-5)
    targets[name] = targets[name] + 1e3 * (1 - targets[f"{name}_mask"])
    assert module(states, audio, targets)[name].item() == pytest.approx(0.7 * sum(errors) / len(errors), rel=1e-5)
    targets[f"{name}_mask"] = torch.zeros(BATCH, FRAMES, 1)
    assert module(states, audio, targets)[name].item() == 0


@pytest.mark.parametrize("name", TARGETS)
def test_null_leaves_a_target_out(example, name):
    module = objectives(**{name: None})
    assert set(module(*example)) == set(TARGETS) - {name}
    assert not [parameter for parameter, _ in module.named_parameters() if name in parameter]


def test_the_spectrum_is_librosas():
    generator = np.random.default_rng(0)
    audio = generator.standard_normal(20 * HOP).astype(np.float32)
    audio[8 * HOP : 14 * HOP] = 0
    ours = objectives().spectrum(torch.from_numpy(audio)[None])[0].numpy()
    assert ours.shape == (20, 64)
    filters = librosa.filters.mel(sr=RATE, n_fft=1024, n_mels=64, fmin=20, fmax=RATE / 2, htk=True, norm="slaney")
    padded = np.pad(audio, (0, 1024 - HOP))
    spectra = librosa.stft(padded, n_fft=1024, win_length=720, hop_length=HOP, window="hann", center=False)
    bands = (np.log(filters @ np.abs(spectra) ** 2 / 1024 + 1e-6) + 8) / 4
    for frame in (0, 3, 8, 10, 19):
        assert ours[frame] == pytest.approx(bands[:, frame], abs=1e-4), frame
    assert np.ptp(ours[10]) < 1e-6 < np.ptp(ours[3]), "silence is flat"
