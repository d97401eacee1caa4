"""`adapt eval` and `adapt inspect`; scores are those that mir_eval gives."""

import csv
import json
import shutil

import mir_eval
import numpy as np
import pytest
import soundfile
from calls import LABELS, RATE, errors, succeed

from etude.adapters import artifact


def test_eval_prints_tables_or_one_json_object(adapter, toy_root):
    assert "toy on its own data, test, 2 recordings (technique)" in succeed("eval", adapter)
    own = json.loads(succeed("eval", adapter, "--json"))
    manifest = json.loads(succeed("eval", adapter, toy_root / "manifest.csv", "--json"))
    assert own == manifest
    assert (own["split"], own["recordings"]) == ("test", 2)
    assert artifact.plain(own["scores"]) == artifact.read_header(adapter).metrics["test"]  # those of training
    validation = json.loads(succeed("eval", adapter, "--split", "validation", "--json"))
    assert validation["scores"] == artifact.read_header(adapter).metrics["validation"]


def test_of_several_processes_only_the_first_prints(adapter, monkeypatch):
    for option in ((), ("--json",)):
        monkeypatch.setenv("RANK", "1")
        assert succeed("eval", adapter, *option) == ""
        monkeypatch.setenv("RANK", "0")
        assert succeed("eval", adapter, *option) != ""


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
    counts, ends = {label: np.zeros(3) for label in LABELS}, np.zeros(3)
    frames_true, frames_found = [], []
    for name in recordings:
        true, found = read_csv(toy_root / f"{name}.csv"), read_csv(tmp_path / "out" / f"{name}.csv")
        for label in LABELS:
            pair = [np.array([e[:2] for e in events if e[2] == label]).reshape(-1, 2) for events in (true, found)]
            precision, _, _ = mir_eval.transcription.onset_precision_recall_f1(*pair, onset_tolerance=0.05)
            counts[label] += round(precision * len(pair[1])), len(pair[0]), len(pair[1])
        intervals = [np.array([e[:2] for e in events]) for events in (true, found)]
        matches = mir_eval.transcription.match_notes(intervals[0], np.ones(len(true)), intervals[1], np.ones(len(found)))
        ends += len(matches), len(true), len(found)
        frames = soundfile.info(toy_root / f"{name}.wav").frames * 50 // RATE
        frames_true += draw(true, frames)
        frames_found += draw(found, frames)

    def f1(hits, true, found):
        return 2 * hits / (true + found)

    assert sum(row[0] for row in counts.values()) > 0
    assert scores["event_micro_f1"] == pytest.approx(f1(*sum(counts.values())), abs=1e-9)
    assert scores["event_macro_f1"] == pytest.approx(np.mean([f1(*counts[label]) for label in LABELS]), abs=1e-9)
    assert scores["note_offset_f1"] == pytest.approx(f1(*ends), abs=1e-9)
    assert 0 < scores["note_all_f1"] <= scores["note_offset_f1"] <= scores["note_onset_f1"]
    times = np.arange(len(frames_true)) / 50
    precision, recall, *_ = mir_eval.multipitch.metrics(times, frames_true, times, frames_found)
    assert scores["frame_micro_f1"] == pytest.approx(2 * precision * recall / (precision + recall), abs=1e-9)
