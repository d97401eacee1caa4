"""`adapt train|eval|predict|inspect|data` as a new user with bad luck calls them."""

import csv
import errno
import json
import os
import re
import resource
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import mir_eval
import numpy as np
import pytest
import soundfile
from typer.testing import CliRunner

import etude
from etude.adapters import artifact
from etude.adapters.annotations.notes import Notes
from etude.cli.app import app
from etude.cli.predict import result_names
from etude.cli.progress import progress

RATE = 16000
LABELS = ("buzz", "tone")


def adapt(*arguments):
    """Run ``adapt ARGUMENTS`` in this process: exit code, stdout, stderr. A traceback fails the test that calls it."""
    result = CliRunner().invoke(app, list(map(str, arguments)), catch_exceptions=False)
    return result.exit_code, result.stdout, result.stderr


def errors(*arguments):
    """The lines on stderr of a call that must end with exit code 2, print nothing else, and say 'error' in every line."""
    code, out, err = adapt(*arguments)
    assert (code, out) == (2, ""), (code, out, err)
    assert all(re.match("(error|notice): ", line) for line in err.splitlines()), err
    return [line.removeprefix("error: ") for line in err.splitlines() if line.startswith("error: ")]


def succeed(*arguments):
    code, out, err = adapt(*arguments)
    assert code == 0, err
    return out


def files_below(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    """Threads that wait for each other on busy cores cost more than they give to such small models."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def recipe_file(toy_recipe, tmp_path_factory):
    path = tmp_path_factory.mktemp("recipe") / "toy.yaml"
    path.write_text(toy_recipe().dump())
    return path


@pytest.fixture(scope="session")
def trained(recipe_file, tmp_path_factory):
    """An adapter, its run folder, and what training printed."""
    folder = tmp_path_factory.mktemp("trained")
    code, out, err = adapt("train", recipe_file, "--out", folder / "adapter", "--run", folder / "run")
    assert code == 0, err
    return folder / "adapter", folder / "run", out, err


@pytest.fixture(scope="session")
def adapter(trained):
    return trained[0]


@pytest.fixture
def take(tmp_path):
    """Write a recording below ``tmp_path``: name, seconds, sample rate, channels -> its path."""

    def write(name="take.wav", seconds=1.0, rate=RATE, channels=1):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(path, np.random.default_rng(0).normal(0, 0.1, (round(seconds * rate), channels)), rate)
        return path

    return write


@pytest.fixture
def full_disk():
    """Let no file of this process grow beyond a number of bytes, as on a disk that is nearly full."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    yield lambda size: resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


# --- the command itself


def test_help_imports_nothing_heavy():
    code = (
        "import sys; from etude.cli.app import app\n"
        "app(['--help'], standalone_mode=False)\n"
        "print([m for m in ('torch', 'transformers', 'numpy', 'pydantic', 'matplotlib') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"
    assert "predict" in done.stdout


def test_version():
    assert succeed("--version") == f"etude {etude.__version__}\n"


@pytest.mark.parametrize("arguments", [("frobnicate",), ("predict", "a", "b.wav", "--bogus"), ("eval",), ("data", "chekc")])
def test_unknown_commands_and_options_leave_with_2(arguments):
    code, out, err = adapt(*arguments)
    assert (code, out) == (2, "")
    assert "Usage: adapt" in err


def test_ctrl_c_and_a_full_disk_end_any_command_without_a_traceback(adapter, take, tmp_path, monkeypatch):
    def stop(error):
        def session(self, path):
            raise error

        monkeypatch.setattr("etude.adapters.inference.session.Session.all", session)
        return adapt("predict", adapter, take(), "--out", tmp_path / "out")

    assert stop(KeyboardInterrupt()) == (130, "", "interrupted\n")
    code, out, err = stop(OSError(errno.ENOSPC, "No space left on device", "/disk/file"))
    assert (code, out) == (2, "")
    assert err == "error: /disk/file: No space left on device (free some space or name another place)\n"
    with pytest.raises(FileNotFoundError):  # not a user's mistake: a bug must stay visible
        stop(FileNotFoundError(errno.ENOENT, "No such file", "x"))


# --- train


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


@pytest.mark.parametrize("name", ["nope.yaml", "."])
def test_a_recipe_that_does_not_exist(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert re.match(r".*: no such recipe \(known: .*demo", errors("train", name)[0])
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
    assert [name for name in files_below(tmp_path) if "tensorboard" not in name] == []

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


# --- predict


@pytest.mark.parametrize("rate", [8000, 11025, 44100, 96000])
@pytest.mark.parametrize("channels", [1, 2])
def test_any_sample_rate_and_channel_count_works(adapter, take, tmp_path, rate, channels):
    path = take(seconds=2.5, rate=rate, channels=channels)
    assert succeed("predict", adapter, path, "--out", tmp_path / "out").startswith(f"{path}: ")


@pytest.mark.parametrize(
    ("seconds", "to"),
    [(1 / RATE, "json"), (0.005, "midi"), (0.05, "csv"), (0.05, "jams"), (0.05, "audacity"), (11.03, "csv")],
)
def test_any_length_works_in_every_format(adapter, take, tmp_path, seconds, to):
    succeed("predict", adapter, take(seconds=seconds), "--out", tmp_path / "new" / "folder", "--to", to)
    assert len(files_below(tmp_path / "new")) == 1


def test_good_files_are_written_though_bad_ones_are_among_them(adapter, take, tmp_path):
    take("in/good.wav"), take("in/also.good.wav")
    (tmp_path / "in/empty.wav").write_bytes(b"")
    (tmp_path / "in/text.wav").write_text("not audio")
    soundfile.write(tmp_path / "in/silent.wav", np.zeros(0), RATE)
    soundfile.write(tmp_path / "in/nan.wav", np.array([0.1, np.nan] * 500), RATE, subtype="FLOAT")
    (tmp_path / "in/notes.txt").write_text("no recording, and not meant to be one")
    code, out, err = adapt("predict", adapter, tmp_path / "in", tmp_path / "missing.wav", "--out", tmp_path / "out", "--plot")
    assert code == 2
    assert files_below(tmp_path / "out") == ["also.good.csv", "also.good.png", "good.csv", "good.png"]
    assert len(out.splitlines()) == 2
    places = [Path(line.removeprefix("error: ").split(":")[0]).name for line in err.splitlines()]
    assert places == ["empty.wav", "nan.wav", "silent.wav", "text.wav", "missing.wav"]


def test_folders_globs_and_repeated_names(adapter, take, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    take("in/take.1.wav"), take("in/take.2.wav"), take("in/.hidden.wav")
    Path("in/take.1.csv").write_text("labels")
    succeed("predict", adapter, "in", "in/take.*", tmp_path / "in/take.1.wav", "./in/take.1.wav", "--out", "out")
    assert files_below(tmp_path / "out") == ["take.1.csv", "take.2.csv"]
    with (tmp_path / "out/take.1.csv").open(newline="") as file:
        assert tuple(next(csv.reader(file))[:4]) == Notes.columns


@pytest.mark.parametrize(
    ("files", "names"),
    [
        (["a/take.1.wav", "b/take.2.wav"], ["take.1", "take.2"]),
        (["a/x.wav", "b/x.wav", "b/y.wav"], ["a/x", "b/x", "b/y"]),
        (["p/d/x.wav", "q/d/x.wav"], ["p/d/x", "q/d/x"]),
        (["a/x.wav", "a/X.wav"], ["x.wav", "X.wav"]),
        (["a/x.wav", "a/x.flac", "b/y.wav"], ["a/x.wav", "a/x.flac", "b/y.wav"]),
        (["../x.wav", "x.wav"], ["x", "{here}/x"]),
    ],
)
def test_results_never_share_a_name(files, names, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert result_names(list(map(Path, files))) == [name.format(here=tmp_path.name) for name in names]


def test_existing_files_are_replaced_only_by_force(adapter, take, tmp_path):
    path = take()
    labels = path.with_suffix(".csv")
    labels.write_text("an afternoon of annotating")
    line = errors("predict", adapter, path, "--out", tmp_path)[0]
    assert re.fullmatch(r".*take.csv: exists already \(pass --force to replace, or name another folder with --out\)", line)
    assert labels.read_text() == "an afternoon of annotating"
    path.with_suffix(".png").write_text("a photograph")
    assert "and so do 1 more" in errors("predict", adapter, path, take("b.wav"), "--out", tmp_path, "--plot")[0]
    assert not (tmp_path / "b.csv").exists()
    succeed("predict", adapter, path, "--out", tmp_path, "--force")
    assert labels.read_text().startswith("onset_time")


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["{wav}", "--to", "cvs"], r"--to: unknown format 'cvs' \(did you mean 'csv'\?\)"),
        (["nothing-*.wav"], r"nothing-\*.wav: no recording found \(audio files end in .*\.wav"),
        (["{empty}"], "empty: no recording found"),
        (["missing.wav"], "missing.wav: no such audio file"),
        (["{wav}", "--out", "{wav}"], "--out .*take.wav: is a file, not a folder"),
        (["{wav}", "--device", "abacus"], "device: there is no device 'abacus'.*use cpu"),
        (["{wav}", "--weights", "random:huge"], "unknown size 'huge'"),
    ],
)
def test_mistakes_in_predicting(adapter, take, tmp_path, monkeypatch, arguments, expected):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    wav = take()
    names = [argument.format(wav=wav, empty="empty") for argument in arguments]
    (line,) = errors("predict", adapter, *names)
    assert re.search(expected, line), line
    assert files_below(tmp_path) == ["take.wav"]


def test_a_full_disk_while_predicting_spoils_only_that_file(adapter, take, tmp_path, full_disk):
    path, other = take(), take("other.wav")
    full_disk(4000)  # enough for the events, not for the picture
    code, out, err = adapt("predict", adapter, path, other, "--out", tmp_path / "out", "--plot")
    full_disk(-1)
    assert (code, len(out.splitlines()), len(err.splitlines())) == (2, 2, 2)
    assert "take.png: cannot be written: File too large" in err
    assert files_below(tmp_path / "out") == ["other.csv", "take.csv"]


# --- adapters that are not what they should be


def _cut(path):
    path.write_bytes(path.read_bytes()[:-100])


def _flip(path):
    content = bytearray(path.read_bytes())
    content[-3] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize(
    ("damage", "name", "expected"),
    [
        (Path.unlink, artifact.MANIFEST, "is not a complete adapter: lacks adapter.json"),
        (Path.unlink, artifact.TENSORS, "is not a complete adapter: lacks adapter.safetensors"),
        (_cut, artifact.TENSORS, "adapter.safetensors: is truncated"),
        (_flip, artifact.TENSORS, "adapter.safetensors: holds tensors that were altered"),
        (_flip, artifact.RECIPE, "recipe.yaml: was altered"),
        (_cut, artifact.METRICS, "metrics.json: was altered"),
    ],
)
def test_damaged_adapters(adapter, take, tmp_path, damage, name, expected):
    broken = tmp_path / "broken"
    shutil.copytree(adapter, broken)
    damage(broken / name)
    for command in (["inspect", broken], ["eval", broken], ["predict", broken, take(), "--out", tmp_path / "out"]):
        (line,) = errors(*command)
        assert expected in line
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("command", [["inspect"], ["eval"], ["predict", "x.wav"]])
def test_adapters_that_do_not_exist(command, tmp_path):
    command = [command[0], str(tmp_path / "nope"), *command[1:]]
    (line,) = errors(*command)
    assert line.endswith("nope: no such adapter folder (check the path, or download the adapter first)")


def test_only_the_very_weights_of_training_are_accepted(adapter, take, tmp_path):
    import torch
    from safetensors.torch import save_file

    from etude.adapters.backbones.whisper import Whisper, WhisperConfig

    encoder = Whisper(WhisperConfig(name="whisper", weights="random:tiny")).model
    for name, change in (("same", 0.0), ("other: one", 1e-3)):
        with torch.no_grad():
            encoder.conv1.bias += change
        (tmp_path / name).mkdir()
        save_file(
            {key: value.contiguous() for key, value in encoder.state_dict().items()}, tmp_path / name / "model.safetensors"
        )
        (tmp_path / name / "config.json").write_text(json.dumps({"model_type": "whisper", "encoder_attention_heads": 2}))
    succeed("predict", adapter, take(), "--out", tmp_path, "--weights", tmp_path / "same")
    (line,) = errors("predict", adapter, take(), "--out", tmp_path / "out", "--weights", tmp_path / "other: one")
    assert re.search(r"was made for random:tiny .*the weights at .*other: one are others", line)


# --- eval and inspect


def test_eval_prints_tables_or_one_json_object(adapter, toy_root):
    assert "toy on its own data, test, 2 recordings (technique)" in succeed("eval", adapter)
    own = json.loads(succeed("eval", adapter, "--json"))
    manifest = json.loads(succeed("eval", adapter, toy_root / "manifest.csv", "--json"))
    assert own == manifest
    assert (own["split"], own["recordings"]) == ("test", 2)
    assert artifact.plain(own["scores"]) == artifact.read_header(adapter).metrics["test"]  # those of training
    validation = json.loads(succeed("eval", adapter, "--split", "validation", "--json"))
    assert validation["scores"] == artifact.read_header(adapter).metrics["validation"]


def test_mistakes_in_evaluating(adapter, toy_root, tmp_path):
    assert "split: unknown split 'tst' (did you mean 'test'?)" in errors("eval", adapter, "--split", "tst")
    assert "no such recipe" in errors("eval", adapter, "nope")[0]
    assert "cannot be read: No such file" in errors("eval", adapter, tmp_path / "nope.csv")[0]
    shutil.copytree(toy_root, tmp_path / "data")
    events = tmp_path / "data/test0.csv"
    events.write_text(events.read_text().replace("buzz", "buz"))
    (line, *_) = errors("eval", adapter, tmp_path / "data/manifest.csv")
    assert "unknown technique 'buz' (did you mean 'buzz'?)" in line
    recipe = tmp_path / "other.yaml"
    recipe.write_text((adapter / "recipe.yaml").read_text().replace(str(toy_root), str(tmp_path / "data")))
    train = tmp_path / "data/train0.csv"
    train.write_text(train.read_text().replace("buzz", "buz"))
    assert "technique 'buz' is not a class of the adapter (did you mean 'buzz'?)" in errors("eval", adapter, recipe)[0]


def test_inspect_as_table_and_as_json(adapter):
    out = succeed("inspect", adapter)
    header = json.loads(succeed("inspect", adapter, "--json"))
    assert all(len(line) <= 80 for line in out.splitlines())
    assert header["backbone"]["fingerprint"] in out.replace("\n", "").replace(" ", "")
    assert header["labels"] == {"technique": list(LABELS)}
    assert "heads.technique.plane.0.weight" in out


def read_csv(path):
    with path.open(newline="") as file:
        return [(float(row["onset_time"]), float(row["offset_time"]), row["technique"]) for row in csv.DictReader(file)]


def draw(events, frames, rate=50):
    """Active (class + 60) per frame in Hz, as mir_eval.multipitch takes it."""
    rows = [set() for _ in range(frames)]
    for onset, offset, technique in events:
        first = round(onset * rate)
        for frame in range(first, max(first + 1, round(offset * rate))):
            if frame < frames:
                rows[frame].add(440 * 2 ** ((60 + 3 * LABELS.index(technique) - 69) / 12))
    return [np.array(sorted(row)) for row in rows]


@pytest.mark.parametrize("overrides", [(), ("train.overlap=0", "backbone.window=1.5", "train.epochs=1")])
def test_scores_are_those_that_mir_eval_gives_the_exported_files(adapter, recipe_file, toy_root, tmp_path, overrides):
    if overrides:
        adapter = tmp_path / "adapter"
        succeed("train", recipe_file, *overrides, "--out", adapter, "--run", tmp_path / "run")
    scores = json.loads(succeed("eval", adapter, "--json"))["scores"]["technique"]
    recordings = ["test0", "test1"]
    succeed("predict", adapter, *(toy_root / f"{name}.wav" for name in recordings), "--out", tmp_path / "out")
    counts = {label: np.zeros(3) for label in LABELS}
    frames_true, frames_found = [], []
    for name in recordings:
        true, found = read_csv(toy_root / f"{name}.csv"), read_csv(tmp_path / "out" / f"{name}.csv")
        for label in LABELS:
            pair = [np.array([e[:2] for e in events if e[2] == label]).reshape(-1, 2) for events in (true, found)]
            precision, _, _ = mir_eval.transcription.onset_precision_recall_f1(*pair, onset_tolerance=0.05)
            counts[label] += round(precision * len(pair[1])), len(pair[0]), len(pair[1])
        frames = soundfile.info(toy_root / f"{name}.wav").frames * 50 // RATE
        frames_true += draw(true, frames)
        frames_found += draw(found, frames)

    def f1(hits, true, found):
        return 2 * hits / (true + found)

    assert sum(row[0] for row in counts.values()) > 0
    assert scores["event_micro_f1"] == pytest.approx(f1(*sum(counts.values())), abs=1e-9)
    assert scores["event_macro_f1"] == pytest.approx(np.mean([f1(*counts[label]) for label in LABELS]), abs=1e-9)
    times = np.arange(len(frames_true)) / 50
    precision, recall, *_ = mir_eval.multipitch.metrics(times, frames_true, times, frames_found)
    assert scores["frame_micro_f1"] == pytest.approx(2 * precision * recall / (precision + recall), abs=1e-9)


# --- data


def test_data_check_describes_a_sound_data_set(toy_root, recipe_file):
    for name in (toy_root / "manifest.csv", recipe_file):
        out = succeed("data", "check", name)
        assert re.search(r"train +6 +0\.4 +\d+ +buzz \d+, tone \d+", out)
        assert out.splitlines()[-1].endswith("no problems found")


def test_a_technique_that_training_never_names(toy_root, tmp_path):
    shutil.copytree(toy_root, tmp_path / "data")
    (tmp_path / "data/test0.csv").write_text("onset_time,offset_time,technique,pitch\n1,2,tune,60\n")
    (line,) = errors("data", "check", tmp_path / "data/manifest.csv")
    assert line.endswith("test0.csv:2: unknown technique 'tune' (did you mean 'tone'?)")


def test_data_check_lists_every_problem_at_once(toy_root, tmp_path):
    root = tmp_path / "data"
    shutil.copytree(toy_root, root)
    rows = ["missing.wav,missing.csv,train", "train1.wav,,train", ",train1.csv,train", "train0.wav,train0.csv,tset"]
    with (root / "manifest.csv").open("a") as file:
        file.write("\n".join(rows) + "\n")
    (root / "train2.wav").write_bytes(b"")
    soundfile.write(root / "train3.wav", np.full(4 * RATE, np.nan, np.float32), RATE, subtype="FLOAT")
    events = ["1,1,tone,60", "2,1,tone,60", "1,99,tone,60", "x,2,tone,60", "1,2,tone,200", "-1,2,tone,60"]
    (root / "train4.csv").write_text("\n".join(["onset_time,offset_time,technique,pitch", *events]) + "\n")
    (root / "train5.csv").write_text("onset_time,offset_time,technique,pitch\n1,2,tone,60\n1.5,2.5,tone,60\n")
    (root / "test1.csv").write_text("onset_time,offset_time\n1,2\n")
    (root / "validation0.csv").unlink()
    soundfile.write(root / "forgotten.wav", np.zeros(100), RATE)
    lines = errors("data", "check", root / "manifest.csv")
    expected = [
        "missing.wav: no such audio file",
        "missing.csv: cannot be read: No such file",
        "manifest.csv:13: names no event file",
        "manifest.csv:14: names no recording",
        r"manifest.csv:15: unknown split 'tset' \(did you mean 'test'\?\)",
        "manifest.csv:15: train0.wav is listed before",
        "train2.wav: cannot be read as audio",
        "train3.wav: holds NaN or infinite samples at 0.00 s",
        "train4.csv:2: event at 1 s has zero length",
        "train4.csv:3: event at 2 s has offset before its onset",
        "train4.csv:4: event 1-99 s is outside the recording of 4.00 s",
        "train4.csv:5: onset_time is 'x', not a number",
        "train4.csv:6: pitch 200 is not a MIDI number",
        "train4.csv:7: onset -1 s is before the recording starts",
        "test1.csv:1: lacks the column 'technique'",
        "validation0.csv: cannot be read: No such file",
    ]
    for pattern in expected:
        assert sum(bool(re.search(pattern, line)) for line in lines) == 1, pattern
    assert len(lines) == len(expected)
    notices = [line for line in adapt("data", "check", root / "manifest.csv")[2].splitlines() if line.startswith("notice")]
    assert any("forgotten.wav: is not listed" in line for line in notices)
    assert any("train5.wav" in line and "overlap" in line for line in notices)


# --- progress


def test_progress_is_drawn_on_terminals_only_and_leaves_stdout_alone(monkeypatch, capfd):
    master, slave = os.openpty()
    with os.fdopen(slave, "w") as terminal, monkeypatch.context() as patch:
        patch.setenv("TERM", "xterm")
        patch.setattr("sys.stderr", terminal)
        with progress("predicting", 2) as advance:
            advance(1)
            print("result")
    drawn = os.read(master, 100_000).decode()
    os.close(master)
    assert "predicting" in drawn
    assert "result" not in drawn
    with progress("predicting", 2) as advance:
        advance(2)
    assert capfd.readouterr() == ("result\n", "")
