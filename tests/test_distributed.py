"""Training on several processes: together they do what one does, each its share; one of them writes, and one speaks."""

import json
import os
import re
import shutil
import signal
import time
from itertools import chain
from pathlib import Path

import pytest
import soundfile
import torch
from accelerate.state import AcceleratorState
from filelock import FileLock
from processes import STEPS_PER_EPOCH, STOPPED_AFTER, command, did, launch, outcome, start, together, work
from typer.testing import CliRunner

from etude.adapters import artifact
from etude.adapters.training.evaluation import flatten
from etude.cli.app import app

# Every frame of these data is labelled, so that the mean of the processes' means is the mean of all. No refinement of onsets:
# the bias of its keys has no gradient but rounding, which Adam makes as large as any.
SETTINGS = (
    "method={name: lora, blocks: last 1}",
    "heads.technique={hidden: 32, dropout: 0, onset: false}",
    "train={epochs: 4, batch_size: 6, lr: 5.0e-3, overlap: 0.5, precision: fp32, dtype: float32}",
)
COUNTS = {"one": 1, "two": 2, "three": 3}
PRETRAINING = """
task: pretraining
name: toy
soundfonts: [{path: /srv/any.sf2, title: Any GM, licence: mit}]
shape:
  {conv_dim: [8, 8, 8, 8, 8, 8, 8], hidden_size: 16, num_hidden_layers: 1, num_attention_heads: 2, intermediate_size: 32,
   num_conv_pos_embeddings: 8, num_conv_pos_embedding_groups: 4}
clips: {seconds: 0.3}
effects: null
mixup: null
targets: {instrument: null, technique: null, pitch: null, onset: null, spectrum: {layer: 0}, context: {}}
train: {steps: 4, batch_size: 4, lr: 5.0e-3, save_every: 2}
"""


# the runs that the tests look at


@pytest.fixture(scope="module")
def recipe_file(toy_root, toy_recipe, tmp_path_factory):
    """Six recordings of two windows each to train on, three to validate and one to test on.

    Not all can be shared evenly, and one that counts thrice makes the shares of a batch weigh differently.
    """
    folder = tmp_path_factory.mktemp("distributed")
    rows = ["audio,events,split,weight"]
    rows += [f"{toy_root}/train{i}.wav,{toy_root}/train{i}.csv,train,{3 if i == 2 else 1}" for i in range(6)]
    for name, split in (
        ("validation0", "validation"),
        ("test0", "validation"),
        ("validation1", "validation"),
        ("test1", "test"),
    ):
        rows.append(f"{toy_root}/{name}.wav,{toy_root}/{name}.csv,{split},1")
    (folder / "manifest.csv").write_text("\n".join(rows) + "\n")
    of_group = ["group", *"aaabbb", *"aabc"]
    (folder / "grouped.csv").write_text("\n".join(map(",".join, zip(rows, of_group, strict=True))) + "\n")
    path = folder / "toy.yaml"
    path.write_text(toy_recipe(*SETTINGS, f"data.root={folder}").dump())
    (folder / "pretraining.yaml").write_text(PRETRAINING)
    return path


@pytest.fixture(scope="module")
def runs(recipe_file):
    """The folder with runs on two, three and one process: two of them fill the store, and one run they leave unfinished."""
    folder = recipe_file.parent
    together(2, folder, "two", "stopped", "batch-norm", "grouped", "pretrained-two", "left")
    for name in ("stopped-three", "stopped-one"):
        shutil.copytree(folder / "stopped", folder / name)
    together(3, folder, "three", "stopped-three")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ETUDE_CACHE", str(folder / "cache"))
        work(folder, "one", "stopped-one", "grouped-one", "pretrained-one")
    return folder


def history(run):
    return [json.loads(line) for line in (run / "history.jsonl").read_text().splitlines()]


@pytest.mark.parametrize("name", ["two", "three"])
def test_the_processes_share_the_batches_of_a_single_run(runs, name):
    [alone], shares = did(runs, "one", 1), [own["trained on"] for own in did(runs, name, COUNTS[name])]
    assert len(alone["trained on"]) == 4 * STEPS_PER_EPOCH
    for batch, *parts in zip(alone["trained on"], *shares, strict=True):
        assert [len(part) for part in parts] == [6 // COUNTS[name]] * COUNTS[name]
        assert [*chain(*parts)] == batch


@pytest.mark.parametrize("name", ["two", "three"])
def test_the_processes_learn_what_one_learns(runs, name):
    for ours, theirs in zip(history(runs / name), history(runs / "one"), strict=True):
        assert ours["train_loss"] == pytest.approx(theirs["train_loss"], rel=1e-5)
    ours, theirs = (artifact.load(runs / f"{run}-adapter") for run in (name, "one"))
    assert any("lora" in key for key in theirs.tensors)
    for key, tensor in theirs.tensors.items():
        torch.testing.assert_close(ours.tensors[key], tensor, rtol=1e-4, atol=1e-5, msg=key)


@pytest.mark.parametrize("name", ["two", "three"])
def test_every_recording_is_scored_once_whatever_the_number_of_processes(runs, name):
    ours, theirs = (artifact.load(runs / f"{run}-adapter").metrics for run in (name, "one"))
    for split in ("validation", "test"):
        assert flatten(ours[split]) == pytest.approx(flatten(theirs[split]), abs=0.01)


@pytest.mark.parametrize(("name", "count"), [("two", 2), ("three", 3), ("batch-norm", 2)])
def test_all_judge_the_same_model(runs, name, count):
    """Batch norm measures in each process another share of the batches."""
    first, *others = [own["judged"] for own in did(runs, name, count)]
    assert len(set(first)) > 2
    assert others == [first] * len(others)


def test_all_leave_the_same_groups_out(runs):
    (alone,), (first, second) = did(runs, "grouped-one", 1), did(runs, "grouped", 2)
    assert first["judged"] == second["judged"]
    assert len(set(first["judged"])) == 3
    assert len(first["judged"]) == len(alone["judged"]) == 3 + 2 * 3, "epoch, validation and test of the run and of two folds"
    assert second["written"] == alone["computed"] == []
    computed = [tuple(row) for row in first["computed"] + second["computed"]]
    assert sorted(computed) == [(6, row) for row in range(1, 18, 3)], "the windows that training, without overlap, has not"
    ours, theirs = (artifact.load(runs / f"{run}-adapter").metrics[artifact.HELD_OUT] for run in ("grouped", "grouped-one"))
    assert [fold["groups"] for fold in ours["folds"]] == [["a"], ["b"]]
    assert flatten(ours["mean"]) == pytest.approx(flatten(theirs["mean"]), abs=0.01)


def test_each_frozen_state_is_computed_once(runs):
    shares = [[tuple(row) for row in own["computed"]] for own in did(runs, "two", 2)]
    assert all(len(share) > 4 for share in shares)
    everything = sorted(shares[0] + shares[1])
    assert everything == sorted(set(everything)), "by one process"
    assert [row for tracks, row in everything if tracks == 6] == list(range(12))
    for later, count in (("three", 3), ("one", 1)):
        assert [own["computed"] for own in did(runs, later, count)] == [[]] * count


@pytest.mark.parametrize(("name", "last"), [("two", "two-adapter"), ("three", "three-adapter"), ("pretrained-two", None)])
def test_only_the_first_process_writes(runs, name, last):
    first, *others = did(runs, name, COUNTS[name.rpartition("-")[2]])
    assert (str(runs / last) if last else str(runs / name / "checkpoint.pt")) in first["written"]
    assert [own["written"] for own in others] == [[]] * len(others)


@pytest.mark.parametrize("name", ["two", "three"])
def test_a_run_leaves_one_log(runs, name):
    files = {".lock", "checkpoint.pt", "history.jsonl", "tensorboard", "training.png"}
    assert {path.name for path in (runs / name).iterdir()} == files
    assert len(list((runs / name / "tensorboard").iterdir())) == 1
    assert [row["epoch"] for row in history(runs / name)] == [1, 2, 3, 4]


def test_all_stop_where_one_is_interrupted(runs):
    first, second = did(runs, "stopped", 2)
    assert second["interrupted"] >= (runs / "stopped" / "checkpoint.pt").stat().st_mtime, "else a launcher would end the first"
    assert "interrupted" in first
    assert len(first["trained on"]) == len(second["trained on"]) == STOPPED_AFTER
    assert not (runs / "stopped-adapter").exists()


@pytest.mark.parametrize("name", ["one", "three"])
def test_a_run_continues_on_another_number_of_processes(runs, name):
    [alone], resumed = did(runs, "one", 1), [own["trained on"] for own in did(runs, f"stopped-{name}", COUNTS[name])]
    assert [[*chain(*parts)] for parts in zip(*resumed, strict=True)] == alone["trained on"][STOPPED_AFTER:]
    for ours, theirs in zip(history(runs / f"stopped-{name}"), history(runs / "one"), strict=True):
        assert ours["train_loss"] == pytest.approx(theirs["train_loss"], rel=1e-5)
    ours, theirs = (artifact.load(runs / f"{run}-adapter").tensors for run in (f"stopped-{name}", "one"))
    for key, tensor in theirs.items():
        torch.testing.assert_close(ours[key], tensor, rtol=1e-4, atol=1e-5, msg=key)


def test_an_interrupted_process_that_waits_for_one_that_has_left_leaves_too(runs):
    assert all("interrupted" in own for own in did(runs, "left", 2))


def test_pretraining_is_shared_too(runs):
    [alone], shares = did(runs, "pretrained-one", 1), [own["trained on"] for own in did(runs, "pretrained-two", 2)]
    assert [first + second for first, second in zip(*shares, strict=True)] == alone["trained on"]
    assert [len(share) for share in shares[0]] == [2] * 4
    for ours, theirs in zip(history(runs / "pretrained-two"), history(runs / "pretrained-one"), strict=True):
        assert ours["held_out"] == pytest.approx(theirs["held_out"], rel=1e-4)
    states = (torch.load(runs / f"pretrained-{n}" / "checkpoint.pt", weights_only=True)["state"] for n in ("two", "one"))
    differences = [(ours - theirs).abs().max() for ours, theirs in zip(*(state.values() for state in states), strict=True)]
    assert max(differences) < 1e-3


# what a user sees


def into(folder):
    """Options for a run and an adapter in ``folder``."""
    return "--run", str(folder / "run"), "--out", str(folder / "out")


def test_a_mistake_that_all_processes_meet_is_told_once(recipe_file, tmp_path):
    processes = start(3, tmp_path, command, "train", str(recipe_file), "train.batch_size=4", *into(tmp_path))
    first, *others = processes
    first.join(timeout=60)
    alive = [process.is_alive() for process in others]
    for process in others:  # as the launcher does when one has failed
        process.terminate()
        process.join(timeout=60)
    assert (first.exitcode, alive) == (2, [True, True])
    line = "error: train.batch_size: 4 windows cannot be split into 1 parts on 3 processes (choose a multiple of 3)\n"
    assert [(tmp_path / f"said.{rank}").read_text() for rank in range(3)] == [line, "", ""]


def test_ctrl_c_under_the_launcher_and_the_same_command_again(recipe_file, tmp_path):
    run = tmp_path / "run"
    arguments = [recipe_file, "train.epochs=40", "train.evaluate_every=40", *into(tmp_path)]
    process = launch(2, *arguments)
    while not (run / "history.jsonl").exists() and process.poll() is None:
        time.sleep(0.01)
    os.killpg(process.pid, signal.SIGINT)
    code, output, errors = outcome(process)
    assert code != 0
    assert output == ""
    assert errors.count("interrupted; give the same command again to continue") == 1, errors
    assert not (tmp_path / "out").exists()
    done = len(history(run))
    assert 0 < done < 40
    code, output, errors = outcome(launch(2, *arguments))
    assert code == 0, errors
    assert output.count("adapter: ") == 1
    assert re.findall(r"^epoch +(\d+)", errors, re.MULTILINE) == [str(epoch) for epoch in range(done + 1, 41)]
    assert [row["epoch"] for row in history(run)] == list(range(1, 41))


def test_a_mistake_that_one_process_meets_ends_all(recipe_file, tmp_path, monkeypatch):
    """The second of three batches of windows that are computed for the store is the second process's, and one is damaged."""
    monkeypatch.setenv("ETUDE_CACHE", str(tmp_path / "cache"))
    manifest = (recipe_file.parent / "manifest.csv").read_text()
    victim = Path(re.search(r"(.*train3\.wav),", manifest)[1])
    samples, rate = soundfile.read(victim, dtype="float32")
    samples[-1] = float("nan")
    soundfile.write(tmp_path / "damaged.wav", samples, rate, subtype="FLOAT")
    (tmp_path / "manifest.csv").write_text(manifest.replace(str(victim), "damaged.wav"))
    code, output, errors = outcome(launch(2, recipe_file, f"data.root={tmp_path}", *into(tmp_path)))
    assert (code, output) == (1, "")
    [line] = re.findall("^error: .*", errors, re.MULTILINE)
    assert line.startswith(f"error: {tmp_path}/damaged.wav: holds NaN")
    assert "failed (exitcode: 2) local_rank: 1" in errors
    assert "[rank" not in errors, "the first process, which lost the second, says nothing"
    assert errors.rstrip().rstrip("=").endswith(f"traceback : {line}\n"), "the launcher's report ends with it"


# what needs no second process


def error(*arguments):
    result = CliRunner().invoke(app, ["train", *map(str, arguments)], catch_exceptions=False)
    assert result.exit_code == 2, result.output
    return result.stderr.splitlines()


@pytest.fixture
def afresh():
    """What accelerate knows of processes is found out anew, whatever ran before in this one; and so it is afterwards."""
    AcceleratorState._reset_state(reset_partial_state=True)
    yield
    AcceleratorState._reset_state(reset_partial_state=True)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_processes_that_would_train_alone_do_not_start(recipe_file, tmp_path, monkeypatch, afresh):
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.delenv("ACCELERATE_USE_CPU", raising=False)
    told = "accelerate launch: 2 processes were started, but there is no GPU (set ACCELERATE_USE_CPU=true, or start one)"
    assert error(recipe_file, *into(tmp_path)) == [f"error: {told}"]
    assert not (tmp_path / "run").exists()


def test_two_runs_do_not_share_a_folder(recipe_file, tmp_path):
    arguments, run = [recipe_file, "train.epochs=1", *into(tmp_path)], tmp_path / "run"
    run.mkdir()
    with FileLock(run / ".lock"):
        assert error(*arguments) == [f"error: {run}: another run is at work there (wait for it, or name another with --run)"]
        assert [path.name for path in run.iterdir()] == [".lock"]
    assert CliRunner().invoke(app, ["train", *map(str, arguments)]).exit_code == 0
