"""Adapters that tag whole recordings, alone and beside events, through every command."""

import csv
import json
import re

import jams
import numpy as np
import pytest
import soundfile
from huggingface_hub import ModelCard
from PIL import Image
from sklearn import metrics
from typer.testing import CliRunner

import etude
from etude.adapters import artifact
from etude.cli.app import app

RATE = 16000
COLUMNS = "path,source,instrument,technique,midi,split,licence"
RECIPE = """
name: {name}
data: {{name: notes, notes: {table}}}
backbone: {{name: whisper, weights: "random:tiny", window: 2.0}}
method: {{name: heads_only}}
heads: {{{heads}}}
train: {{epochs: 4, batch_size: 4, lr: 1.0e-2, precision: fp32, metric: {metric}}}
"""
TAGS = "tags: {activation: softmax, hidden: 16}"


def adapt(*arguments):
    """Run ``adapt ARGUMENTS`` in this process: exit code, stdout, stderr. A traceback fails the test that calls it."""
    result = CliRunner().invoke(app, list(map(str, arguments)), catch_exceptions=False)
    return result.exit_code, result.stdout, result.stderr


def succeed(*arguments):
    code, out, err = adapt(*arguments)
    assert code == 0, err
    return out


def errors(*arguments):
    code, out, err = adapt(*arguments)
    assert (code, out) == (2, ""), (code, out, err)
    return [line.removeprefix("error: ") for line in err.splitlines()]


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    """Low tones and high noises."""
    root, rng, lines = tmp_path_factory.mktemp("notes"), np.random.default_rng(0), [COLUMNS]
    for number, split in enumerate(["train"] * 6 + ["validation"] * 2 + ["test"] * 2):
        for name in ("tuba", "cymbal"):
            tone = np.sin(2 * np.pi * (80 + 10 * number) * np.arange(RATE) / RATE)
            soundfile.write(root / f"{name}{number}.wav", 0.3 * (tone if name == "tuba" else rng.normal(0, 0.5, RATE)), RATE)
            lines.append(f"{name}{number}.wav,s,{name},{'long' if name == 'tuba' else 'short'},40,{split},CC0-1.0")
    (root / "notes.csv").write_text("\n".join(lines) + "\n")
    return root / "notes.csv"


def trained(tmp_path_factory, table, name, heads, metric):
    root = tmp_path_factory.mktemp(name)
    (root / "recipe.yaml").write_text(RECIPE.format(name=name, table=table, heads=heads, metric=metric))
    out = succeed("train", root / "recipe.yaml", "--run", root / "run", "--out", root / name)
    assert re.search(r"F1 micro +F1 macro +LRAP +mAP +ROC AUC +accuracy", out)
    return root / name


@pytest.fixture(scope="module")
def tagger(tmp_path_factory, table):
    return trained(tmp_path_factory, table, "tagger", TAGS, "tags.f1_macro")


@pytest.fixture(scope="module")
def both(tmp_path_factory, table):
    return trained(tmp_path_factory, table, "both", f"technique: {{hidden: 16}}, {TAGS}", "technique.frame_macro_f1")


def test_it_learns_and_says_so_everywhere(tagger, table):
    scores = artifact.read_header(tagger).metrics["test"]["tags"]
    assert (scores["accuracy"], scores["lrap"], scores["f1_macro"]) == (1, 1, 1)
    found = json.loads(succeed("eval", tagger, "--json"))
    assert found["scores"]["tags"] == scores
    out = succeed("eval", tagger)
    assert re.search(r"tuba +1\.000 +1\.000 +1\.000 +2 +2 +2", out)
    assert "labels (tags)" in succeed("inspect", tagger)


def test_scores_are_scikit_learns_of_what_a_session_finds(both, table):
    session = etude.Session(both)
    with table.open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["split"] == "test"]
    found = [[tag.name for tag in session(table.parent / row["path"]).tags] for row in rows]
    scores = artifact.read_header(both).metrics["test"]["tags"]
    assert scores["accuracy"] == pytest.approx(metrics.accuracy_score([[row["instrument"]] for row in rows], found))
    assert all(len(tags) == 1 for tags in found)


def test_data_check_counts_tags(tagger, monkeypatch):
    monkeypatch.setenv("COLUMNS", "160")
    out = succeed("data", "check", tagger / "recipe.yaml")
    assert re.search(r"train +12 +0\.2 +12 +long 6, short 6 +cymbal 6, tuba 6", out)


def test_predicted_files(tagger, both, table, tmp_path):
    take = table.parent / "tuba9.wav"
    line = succeed("predict", tagger, take, "--to", "json", "--out", tmp_path)
    assert re.search(r"tuba9\.wav: tuba [01]\.\d\d -> ", line)
    document = json.loads((tmp_path / "tuba9.json").read_text())
    assert document["notes"] == []
    [tag] = document["tags"]
    assert tag["tag"] == "tuba"
    assert 0.5 < tag["confidence"] <= 1
    succeed("predict", tagger, take, "--to", "jams", "--out", tmp_path)
    loaded = jams.load(str(tmp_path / "tuba9.jams"), validate=True, strict=True)
    [layer] = loaded.annotations
    assert layer.namespace == "tag_open"
    assert [(o.time, o.duration, o.value) for o in layer] == [(0, 1, "tuba")]
    succeed("predict", tagger, take, "--to", "audacity", "--out", tmp_path, "--plot")
    assert (tmp_path / "tuba9.txt").read_text() == "0.000000\t1.000000\ttags: tuba\n"
    assert Image.open(tmp_path / "tuba9.png").size == (1600, 900)
    succeed("predict", both, take, "--to", "json", "--out", tmp_path, "--force")
    assert json.loads((tmp_path / "tuba9.json").read_text())["tags"][0]["tag"] == "tuba"


def test_a_format_of_notes_refuses_an_adapter_that_finds_none(tagger, both, table, tmp_path):
    take = table.parent / "tuba9.wav"
    what = (
        "tagger: finds tags of whole recordings, which midi cannot hold "
        "(choose another format: audacity, elan, jams, json, textgrid)"
    )
    assert errors("predict", tagger, take, table.parent, "--to", "midi", "--out", tmp_path) == [what]
    assert list(tmp_path.iterdir()) == []
    code, out, err = adapt("predict", both, take, "--to", "midi", "--out", tmp_path)
    assert (code, err) == (0, "notice: both: midi holds no tags; only events are written\n")
    assert re.search(r"\d events?; tuba [01]\.\d\d -> ", out)


def test_exporting_tags_alone_to_a_format_of_notes(tmp_path):
    from etude.adapters.annotations import Annotation
    from etude.adapters.annotations.tags import Tag
    from etude.adapters.formats import export

    where = {"duration": 2.0, "source": tmp_path / "a b.wav"}
    with pytest.raises(etude.UserError, match="finds tags of whole recordings, which midi cannot hold"):
        export(Annotation(tags=[Tag("x")]), tmp_path / "out.mid", "midi", **where)
    export(Annotation(tags=()), tmp_path / "out.csv", "csv", **where)
    export(Annotation(tags=[Tag("b\tc"), Tag("a")]), tmp_path / "out.txt", "audacity", **where)
    assert (tmp_path / "out.txt").read_text() == "0.000000\t2.000000\ttags: a\n0.000000\t2.000000\ttags: b c\n"
    export(Annotation(tags=[Tag("a")]), tmp_path / "out.json", "json", **where)
    assert json.loads((tmp_path / "out.json").read_text())["tags"] == [{"tag": "a", "confidence": None}]


def test_cards_say_what_the_heads_do(tagger, both):
    card = (tagger / "README.md").read_text()
    assert "playing technique" not in card
    assert "which tag audio recordings as a whole" in card
    assert "print(tag.name, tag.confidence)" in card
    assert "note.onset" not in card
    assert "--to midi" not in card
    data = ModelCard(card).data
    assert "music-tagging" in data.tags
    assert (
        {result.metric_type for result in data.eval_results}
        == {"f1", "lrap", "map", "roc_auc", "accuracy"}
        == set(data.metrics)
    )
    assert {result.task_name for result in data.eval_results} == {"music tagging"}
    assert re.search(r"\| tuba \| 1\.000 \| 1\.000 \| 1\.000 \| 2 \| 2 \|", card)
    assert "find playing techniques in audio recordings and tag audio recordings as a whole" in (both / "README.md").read_text()


def test_data_without_tags_is_told(tagger, toy_root, table, tmp_path):
    manifest = toy_root / "manifest.csv"
    lacking = (
        "heads.tags: the data set 'manifest' has no tags, which the head 'tags' reads (heads for this data set: technique)"
    )
    assert errors("eval", tagger, manifest) == [lacking]
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(RECIPE.format(name="x", table=table, heads=TAGS, metric="tags.lrap"))
    folders = ("--run", tmp_path / "run", "--out", tmp_path / "out")
    assert errors("train", recipe, f"data={{name: manifest, root: {toy_root}}}", *folders) == [lacking]
    other = table.with_name("other.csv")
    other.write_text(table.read_text().replace(",tuba,", ",tubo,"))
    recipe.write_text((tagger / "recipe.yaml").read_text().replace(str(table), str(other)))
    assert errors("eval", tagger, recipe) == [f"{recipe}: tag 'tubo' is not a class of the adapter (did you mean 'tuba'?)"]


def test_techniques_for_data_without_any_are_told(table, tmp_path):
    from etude.adapters.datasets.irmas import Irmas
    from etude.adapters.heads._parts.labels import head_labels

    dataset = Irmas(Irmas.Config(name="irmas", root=str(tmp_path)))
    with pytest.raises(
        etude.UserError, match=r"'irmas' has no techniques, which the head 'technique' reads .*: mapped_tags, tags\)"
    ):
        head_labels("technique", dataset)
