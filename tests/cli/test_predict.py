"""`adapt predict` as a new user with bad luck calls it."""

import csv
import re
from pathlib import Path

import numpy as np
import pytest
import soundfile
from calls import RATE, adapt, errors, files_below, succeed

from etude.adapters.annotations.notes import Notes
from etude.cli.recordings import result_names


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
    assert code == 3
    assert files_below(tmp_path / "out") == ["also.good.csv", "also.good.png", "errors.csv", "good.csv", "good.png"]
    assert len(out.splitlines()) == 2
    places = [Path(line.removeprefix("error: ").split(":")[0]).name for line in err.splitlines()]
    assert places == ["empty.wav", "nan.wav", "silent.wav", "text.wav", "missing.wav"]
    with (tmp_path / "out/errors.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [Path(row["file"]).name for row in rows] == places
    assert rows[-1] == {"file": f"{tmp_path / 'missing.wav'}", "problem": "no such audio file", "fix": "check the path"}


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
    assert re.fullmatch(r".*take.csv: exists already \(pass --force to replace, --skip-existing to go on, or .*--out\)", line)
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
    assert files_below(tmp_path / "out") == ["errors.csv", "other.csv", "take.csv"]
