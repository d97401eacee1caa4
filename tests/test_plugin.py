"""A package of somebody else's adds a kind of annotation, a data set and a head, and every command takes them."""

import json
import os
import subprocess
import sys
from pathlib import Path

import jams
import numpy as np
import pytest
import soundfile
import torch
from PIL import Image

from etude.adapters import artifact, registry

PLUGIN = Path(__file__).parent / "plugin"
RATE = 16000
RECIPE = """
# Clicks.
name: clicks
seed: 1
data: {{name: clicks, root: {root}}}
backbone: {{name: mert, weights: "random:tiny", window: 1.0}}
method: {{name: lora, rank: 2, blocks: last 1}}
heads: {{point_finder: {{hidden: 24}}}}
train: {{epochs: 12, batch_size: 4, lr: 1.0e-2, overlap: 0.4, precision: fp32, evaluate_every: 3,
  metric: point_finder.point_f1}}
"""
WALK = """
import json, sys
from typer.testing import CliRunner
from etude.cli.app import app
from etude.adapters.training.interrupt import Interruption

results = []
def adapt(*arguments):
    result = CliRunner().invoke(app, list(map(str, arguments)))
    results.append([list(map(str, arguments)), result.exit_code, result.stdout, result.stderr])

calls, real = [], Interruption.requested
def interrupt(self):
    calls.append(1)
    return len(calls) == 17 or real(self)
Interruption.requested = interrupt

recording, out = sys.argv[1:]
adapt("recipes", "check", "clicks.yaml")
adapt("data", "check", "clicks.yaml")
adapt("train", "clicks.yaml")
adapt("train", "clicks.yaml")
adapt("train", "clicks.yaml", "--run", "runs/whole", "--out", "whole-adapter")
adapt("eval", "clicks-adapter", "--json")
for format in ("csv", "jams", "audacity", "json", "listing", "midi"):
    adapt("predict", "clicks-adapter", recording, "--to", format, "--out", out, *(["--plot"] if format == "csv" else []))
adapt("inspect", "clicks-adapter")
adapt("data", "check", "clicks.yaml", "data.root=nowhere")
print(json.dumps(results))
"""


def write_clicks(folder, count, seed):
    rng = np.random.default_rng(seed)
    folder.mkdir(parents=True)
    for index in range(count):
        seconds = rng.uniform(4, 7)
        audio, lines, time = rng.normal(0, 1e-3, int(seconds * RATE)), ["time,label"], rng.uniform(0.2, 0.5)
        while time < seconds - 0.2:
            label, pitch = (("low", 300), ("high", 2500))[int(rng.integers(2))]
            t = np.arange(int(0.1 * RATE)) / RATE
            audio[int(time * RATE) :][: len(t)] += (np.sin(2 * np.pi * pitch * t) * np.exp(-30 * t))[
                : len(audio) - int(time * RATE)
            ]
            lines.append(f"{time:.4f},{label}")
            time += rng.uniform(0.25, 0.6)
        soundfile.write(folder / f"{index}.wav", audio, RATE)
        (folder / f"{index}.csv").write_text("\n".join(lines) + "\n")


@pytest.fixture(scope="module")
def walk(tmp_path_factory):
    """What every command printed, and the folder that they worked in."""
    place = tmp_path_factory.mktemp("plugin")
    command = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--no-build-isolation", "--no-index"]
    source = place / "source"
    source.mkdir()
    for path in [PLUGIN / "pyproject.toml", *(PLUGIN / "etude_points").glob("*.py")]:  # a build leaves files where it reads
        target = source / path.relative_to(PLUGIN)
        target.parent.mkdir(exist_ok=True)
        target.write_bytes(path.read_bytes())
    subprocess.run([*command, "--target", str(place / "installed"), str(source)], check=True, capture_output=True)
    for split, count, seed in (("train", 12, 1), ("validation", 4, 2), ("test", 4, 3)):
        write_clicks(place / "clicks" / split, count, seed)
    (place / "clicks.yaml").write_text(RECIPE.format(root=place / "clicks"))
    recording = place / "clicks" / "test" / "0.wav"
    paths = os.pathsep.join([str(place / "installed"), *filter(None, [os.environ.get("PYTHONPATH")])])
    done = subprocess.run(
        [sys.executable, "-c", WALK, str(recording), str(place / "found")],
        cwd=place,
        env=os.environ | {"PYTHONPATH": paths, "COLUMNS": "200"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return place, json.loads(done.stdout.splitlines()[-1])


def of(walk, *words):
    """Exit code and what was printed, of every call that began with these words."""
    return [result[1:] for result in walk[1] if result[0][: len(words)] == list(words)]


def test_etude_itself_knows_nothing_of_it():
    assert "points" not in registry.names("annotations")
    assert "clicks" not in registry.names("datasets")


def test_recipes_and_data_are_checked(walk):
    ((code, out, err),) = of(walk, "recipes", "check")
    assert (code, err) == (0, "")
    assert "seconds: 3.0" in out
    (code, out, err), (missing, _, line) = of(walk, "data", "check")
    assert (code, err) == (0, "")
    assert "points by label" in out
    assert "no problems found" in out
    assert missing == 2
    assert line.startswith("error: nowhere: no such folder (check data.root)")


def test_it_trains_is_interrupted_and_goes_on_to_the_same_adapter(walk):
    place = walk[0]
    (interrupted, _, said), (code, out, _), (whole, _, _) = of(walk, "train")
    assert (interrupted, code, whole) == (130, 0, 0)
    assert "give the same command again to continue" in said
    assert "F1" in out
    one, other = (artifact.load(place / name).tensors for name in ("clicks-adapter", "whole-adapter"))
    histories = [(place / "runs" / name / "history.jsonl").read_text() for name in ("clicks", "whole")]
    assert histories[0] == histories[1]
    assert one.keys() == other.keys()
    assert all(torch.equal(tensor, other[name]) for name, tensor in one.items())


def test_it_finds_most_points_of_recordings_that_it_has_not_heard(walk):
    """With a span of several windows it is right across their borders, too; evaluation and the artifact agree."""
    ((code, out, _),) = of(walk, "eval")
    assert code == 0
    scores = json.loads(out)["scores"]["point_finder"]
    assert scores["point_f1"] > 0.7
    metrics = json.loads((walk[0] / "clicks-adapter" / "metrics.json").read_text())
    assert metrics["test"]["point_finder"]["point_f1"] == scores["point_f1"]


def test_predictions_are_written_to_every_format_that_fits(walk):
    place, results = walk
    by_format = {result[0][4]: result[1:] for result in results if result[0][0] == "predict"}
    for name in ("csv", "jams", "audacity", "json", "listing"):
        code, out, err = by_format[name]
        assert (code, err) == (0, ""), name
        assert " points -> " in out
    found = json.loads((place / "found" / "0.json").read_text())["points"]
    rows = (place / "found" / "0.csv").read_text().splitlines()
    assert rows[0] == "time,label,confidence"
    assert len(rows) - 1 == len(found) > 5
    assert len((place / "found" / "0.txt").read_text().splitlines()) == len(found)
    (annotation,) = jams.load(str(place / "found" / "0.jams")).annotations
    assert [observation.value for observation in annotation.data] == [point["label"] for point in found]
    assert len((place / "found" / "0.lst").read_text().splitlines()) == len(found)
    code, out, err = by_format["midi"]
    assert (code, out) == (2, "")
    assert (
        "finds points, which midi cannot hold (choose another format: audacity, csv, elan, jams, json, listing, textgrid)"
        in err
    )


def test_what_it_finds_is_drawn(walk):
    """A line through the spectrogram and a box in a lane for each point, in the two colours of its labels."""
    picture = np.asarray(Image.open(walk[0] / "found" / "0.png").convert("RGB"), np.int16)
    coloured = np.abs(picture[:, :, None] - np.array([(0, 114, 178), (213, 94, 0)])).max(axis=3).min(axis=2) < 3
    above, below = coloured[60:500, 250:], coloured[600:, 250:]
    assert above.sum(axis=0).max() > 300
    assert below.sum(axis=1).max() > 10


def test_found_points_are_the_annotated_ones(walk):
    place, _ = walk
    reference = [line.split(",") for line in (place / "clicks" / "test" / "0.csv").read_text().splitlines()[1:]]
    found = json.loads((place / "found" / "0.json").read_text())["points"]
    right = sum(
        any(abs(float(time) - point["time"]) < 0.07 and label == point["label"] for point in found) for time, label in reference
    )
    assert right > 0.6 * len(reference)


def test_inspect_and_the_card_speak_of_it(walk):
    place, _ = walk
    ((code, out, _),) = of(walk, "inspect")
    assert code == 0
    assert "labels (point_finder)" in out
    assert "low" in out
    card = (place / "clicks-adapter" / "README.md").read_text()
    for words in (
        "which find points in time",
        "for point in annotation.points:",
        "Point F1, macro",
        "| low |",
        "point-detection",
    ):
        assert words in card, words
