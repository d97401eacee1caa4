"""`adapt train` as a new user with bad luck calls it."""

import errno
import json
import os
import re
import shutil
import signal
import subprocess
import sys

import pytest
from calls import adapt, errors, files_below, succeed

from etude.adapters import artifact


def test_training_prints_plain_lines_and_scores_that_fit_80_columns(trained):
    _, run, out, err = trained
    assert re.fullmatch(r"(epoch +\d+  loss \d\.\d+  technique\.event_macro_f1 \d\.\d{3}\n){3}", err)
    assert all(len(line) <= 80 for line in out.splitlines() if not line.startswith("adapter: "))
    assert "precision" in out
    assert "…" not in out
    assert out.splitlines()[-1].endswith(f"run: {run}")


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        (["trian.lr=1"], [r"trian: unknown key 'trian' \(did you mean 'train'\?\)"]),
        (["train.lr=abc", "train.epochs=0"], ["train.epochs: ", "train.lr: .*number.*'abc'"]),
        (["train.lr"], ["'train.lr' is not an override"]),
        (["method.name=lorra"], ["unknown method 'lorra' .*'lora'"]),
        (["train.metric=technique.event_macro_f"], [r"train.metric: no score .*did you mean 'technique.event_macro_f1'\?"]),
        (["data.root=/no/such/folder"], ["/no/such/folder.*No such file or directory"]),
        (["backbone.window=0.33"], ["backbone.window: .*use 0.3"]),
        (["mix.layers=[9]"], ["mix.layers: .*layers are 0 to 2"]),
        (["backbone.weights=random:huge"], ["unknown size 'huge'"]),
    ],
)
def test_mistakes_in_a_recipe_are_found_before_anything_is_written(recipe_file, tmp_path, overrides, expected):
    run, out = tmp_path / "run", tmp_path / "adapter"
    lines = errors("train", recipe_file, *overrides, "--run", run, "--out", out)
    assert len(lines) == len(expected)
    for pattern in expected:
        assert any(re.search(pattern, line) for line in lines), lines
    assert files_below(tmp_path) == []
    assert not run.exists()


@pytest.mark.parametrize(("name", "expected"), [("nope.yaml", r"no such recipe \(known: .*demo"), (".", "holds no recording")])
def test_a_recipe_that_does_not_exist(name, expected, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert re.match(f".*: {expected}", errors("train", name)[0])
    assert list(tmp_path.iterdir()) == []


def test_folders_that_cannot_be_written_are_found_before_training(recipe_file, tmp_path):
    (tmp_path / "file").write_text("mine")
    for option in ("--out", "--run"):
        other = ("--run", tmp_path / "run") if option == "--out" else ("--out", tmp_path / "out")
        for path in (tmp_path / "file", tmp_path / "file" / "below"):
            assert re.match(rf"{option} .*file: is a file, not a folder", errors("train", recipe_file, option, path, *other)[0])
    assert files_below(tmp_path) == ["file"]
    if os.geteuid():  # root may write anywhere
        (tmp_path / "closed").mkdir(mode=0o500)
        assert "cannot be written to" in errors("train", recipe_file, "--out", tmp_path / "closed" / "a")[0]


def test_a_finished_run_another_recipe_and_a_trained_adapter_are_never_lost(recipe_file, trained, tmp_path):
    adapter, run, *_ = trained
    before = (adapter / artifact.TENSORS).read_bytes(), (run / "checkpoint.pt").read_bytes()
    places = ("--out", adapter, "--run", run)
    assert "is a finished run of this recipe (pass --fresh" in errors("train", recipe_file, *places)[0]
    assert "holds a run of another recipe (pass --fresh" in errors("train", recipe_file, "train.lr=1", *places)[0]
    assert "--out" in errors("train", recipe_file, "seed=2", "--out", adapter, "--run", tmp_path / "new")[0]
    assert "unknown key" in errors("train", recipe_file, "sead=2", "--fresh", *places)[0]
    assert "No such file" in errors("train", recipe_file, "data.root=/nope", "--fresh", *places)[0]
    assert before == ((adapter / artifact.TENSORS).read_bytes(), (run / "checkpoint.pt").read_bytes())


def test_fresh_replaces_the_run_and_the_adapter(recipe_file, trained, tmp_path):
    out, run = tmp_path / "a", tmp_path / "r"
    shutil.copytree(trained[0], out), shutil.copytree(trained[1], run)
    (out / "notes.txt").write_text("mine")
    succeed("train", recipe_file, "seed=7", "train.epochs=1", "--fresh", "--out", out, "--run", run)
    assert artifact.read_header(out).manifest.seed == 7
    assert len((run / "history.jsonl").read_text().splitlines()) == 1
    assert (out / "notes.txt").read_text() == "mine"


def test_a_damaged_checkpoint_is_reported(recipe_file, trained, tmp_path):
    whole = (trained[1] / "checkpoint.pt").read_bytes()
    (tmp_path / "checkpoint.pt").write_bytes(whole[: len(whole) // 2])
    line = errors("train", recipe_file, "--run", tmp_path, "--out", tmp_path / "a")[0]
    assert re.search(r"checkpoint.pt: is damaged .*--fresh", line)


def test_divergence_leaves_no_adapter(recipe_file, tmp_path):
    line = errors("train", recipe_file, "train.lr=1e30", "--run", tmp_path / "r", "--out", tmp_path / "a")[-1]
    assert re.match(r"training: the loss is not finite .*lower train.lr", line)
    assert not (tmp_path / "a").exists()


def test_a_full_disk_in_training(recipe_file, tmp_path, full_disk, monkeypatch, tmp_path_factory):
    run, out = tmp_path / "r", tmp_path / "a"
    full_disk(100_000)
    with monkeypatch.context() as patch:
        patch.setenv("ETUDE_CACHE", str(tmp_path_factory.mktemp("cache")))
        lines = errors("train", recipe_file, "--run", run, "--out", out)
    assert re.search(r"features/.*: cannot be written: File too large .*--no-cache", lines[0])
    full_disk(60_000)
    lines = errors("train", recipe_file, "--run", run, "--out", out, "--no-cache")
    assert re.search(r"checkpoint.pt: cannot be written: File too large", lines[0])
    full_disk(-1)
    assert [name for name in files_below(tmp_path) if "tensorboard" not in name] == ["r/.lock"]

    def fsync(file):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:  # only the adapter itself is synced
        patch.setattr("os.fsync", fsync)
        code, _, err = adapt("train", recipe_file, "--run", run, "--out", out, "train.epochs=1")
        assert code == 2
        assert re.match(r"error: .*/a: cannot be written: No space left on device; it needs", err.splitlines()[-1])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["r"]
    code, _, err = adapt("train", recipe_file, "--run", run, "--out", out, "train.epochs=1")
    assert (code, err) == (0, "")  # continues at the end: nothing is trained twice
    assert artifact.load(out)


def test_ctrl_c_leaves_a_checkpoint_from_which_the_same_command_repeats_the_uninterrupted_run(recipe_file, tmp_path):
    def command(name):
        more = ["train.epochs=5", "train.evaluate_every=5", "method={name: lora}"]
        return ["train", str(recipe_file), *more, "--out", str(tmp_path / f"{name}-adapter"), "--run", str(tmp_path / name)]

    succeed(*command("whole"))
    code = "import sys; from etude.cli.app import main; main()"
    with subprocess.Popen(
        [sys.executable, "-c", code, *command("cut")],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    ) as process:
        first = process.stderr.readline()
        process.send_signal(signal.SIGINT)
        out, rest = process.communicate(timeout=60)
    lines = [first, *rest.splitlines(keepends=True)]
    assert process.returncode == 130
    assert out == ""
    assert lines[-1] == "interrupted; give the same command again to continue\n"
    assert all(line.startswith("epoch ") for line in lines[:-1])  # and no warnings of the libraries
    assert 1 <= len(lines) - 1 < 5
    assert (tmp_path / "cut" / "checkpoint.pt").exists()
    assert not (tmp_path / "cut-adapter").exists()
    _, _, err = adapt(*command("cut"))
    assert len(err.splitlines()) == 5 - (len(lines) - 1)
    whole, cut = (
        [json.loads(line) for line in (tmp_path / name / "history.jsonl").read_text().splitlines()] for name in ("whole", "cut")
    )
    assert [row["epoch"] for row in cut] == [1, 2, 3, 4, 5]
    for a, b in zip(whole, cut, strict=True):
        assert a["train_loss"] == pytest.approx(b["train_loss"], rel=1e-5)
    assert whole[-1]["metric"] == pytest.approx(cut[-1]["metric"], abs=1e-6)
