"""Examples of the documents do what they say: sections of recipes, the files of 'Add to it', the notebook."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import typer
import yaml
from pages import DOCS, blocks, by_page
from typer.testing import CliRunner

from etude.adapters import registry
from etude.adapters.heads import Context
from etude.adapters.recipe.schema import parse_recipe
from etude.cli.app import app

WHOLE = """
name: whole
data: {name: manifest, root: DIR}
backbone: {name: mert, weights: etude-nano}
method: {name: heads_only}
heads: {technique: {}}
"""


@pytest.mark.parametrize("text", by_page(blocks("yaml")))
def test_a_section_of_a_recipe_is_accepted(text, plugged):
    parse_recipe(yaml.safe_dump({**yaml.safe_load(WHOLE), **yaml.safe_load(text)}))


def test_every_example_is_on_a_page():
    assert {path.name for path in (DOCS / "examples").glob("*.py")} == set(
        re.findall(r'"docs/examples/(\w+\.py)"', (DOCS / "extend.md").read_text())
    )


def test_examples_train_and_predict(plugged, toy_root, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("examples.yaml").write_text(f"""
name: examples
data: {{name: manifest, root: {toy_root}}}
backbone: {{name: random_filters, weights: none, window: 2.0}}
method: {{name: channel_gain}}
heads: {{technique: {{hidden: 16}}}}
regularizers: [{{name: smooth_mix, weight: 0.1}}]
train: {{epochs: 2, batch_size: 4, overlap: 0.5, precision: fp32}}
""")
    trained = CliRunner().invoke(app, ["train", "examples.yaml"])
    assert trained.exit_code == 0, trained.output
    found = CliRunner().invoke(app, ["predict", "examples-adapter", str(toy_root / "test0.wav"), "--to", "lab"])
    assert found.exit_code == 0, found.output
    events = int(re.search(r": (\d+) event", found.output)[1])
    lines = [line.split() for line in Path("test0.lab").read_text().splitlines()]
    assert len(lines) == events
    assert all(0 <= float(start) < float(end) and label in ("tone", "buzz") for start, end, label in lines)
    converted = CliRunner().invoke(app, ["convert", "test0.lab", "test0.csv"])
    assert converted.exit_code == 0, converted.output
    rows = [row.split(",") for row in Path("test0.csv").read_text().splitlines()[1:]]
    assert [row[:3] for row in rows] == lines
    Path("wrong.lab").write_text("0 1 tone\nx\n")
    wrong = CliRunner().invoke(app, ["convert", "wrong.lab", "wrong.csv"])
    assert (wrong.exit_code, wrong.stderr.startswith("error: wrong.lab:2: has no start, end and label")) == (2, True)

    from count import count

    counted = typer.Typer()
    counted.command()(count)
    assert f"notes: {events}\n" in CliRunner().invoke(counted, ["examples-adapter", str(toy_root / "test0.wav")]).output


def test_smooth_mix_is_computed_by_hand(plugged):
    kind = registry.find("regularizers", "smooth_mix")
    mixed = torch.tensor([[[0.0, 0.0], [1.0, 1.0], [9.0, 9.0]], [[2.0, 0.0], [2.0, 2.0], [2.0, 0.0]]])
    mask = torch.tensor([[1.0, 1.0, 0.0], [1.0, 1.0, 1.0]])
    loss = kind(kind.Config(), 2, {}).loss(Context(mixed), {}, mask)
    assert loss.item() == pytest.approx((1.0 + 2.0 + 2.0) / 3)


def test_the_notebook_runs(tmp_path):
    cells = json.loads((DOCS / "notebook.ipynb").read_text(encoding="utf-8"))["cells"]
    code = "\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "code")
    run = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, timeout=300)
    assert run.returncode == 0, run.stderr
    assert float(re.search(r"event_macro_f1 (\S+)\n$", run.stdout)[1]) > 0.9
    assert re.search(r"7 notes found, 7 played", run.stdout)
    written = "".join(line for cell in cells for output in cell.get("outputs", ()) for line in output["text"])
    assert [line.split()[:1] for line in written.splitlines()] == [line.split()[:1] for line in run.stdout.splitlines()]
