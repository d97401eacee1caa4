"""What other distributions add works in every command, and what is wrong with it spoils nothing else."""

import csv
import json
import re
import subprocess
import sys
from pathlib import Path

import jams
import numpy as np
import pytest
from huggingface_hub import ModelCard
from PIL import Image
from typer.testing import CliRunner

import etude
from etude.adapters import registry
from etude.adapters.annotations import Annotation, kind_of
from etude.cli.app import app

TESTS = Path(__file__).parent
RECIPE = """
name: clicks
data: {{name: clicks, root: {root}}}
backbone: {{name: whisper, weights: "random:tiny", window: 2.0}}
method: {{name: heads_only}}
heads: {{pointer: {{}}}}
train: {{epochs: 12, batch_size: 4, lr: 0.03, overlap: 0.5, precision: fp32, metric: pointer.point_micro_f1}}
"""


def forget():
    for known in (registry._plugins, registry.find, kind_of):
        known.cache_clear()


def install(folder, distribution, points):
    """A distribution in ``folder``, which is put on the path: ``points`` are (folder of etude, name, value)."""
    place = folder / f"{distribution}-0.1.dist-info"
    place.mkdir(parents=True)
    (place / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {distribution}\nVersion: 0.1\n")
    (place / "entry_points.txt").write_text("".join(f"[etude.{group}]\n{name} = {value}\n" for group, name, value in points))


@pytest.fixture(scope="module")
def third(tmp_path_factory):
    """The distribution of ``third_kind``."""
    from third_kind import NAMES

    folder = tmp_path_factory.mktemp("third")
    install(folder, "third", [(group, name, "third_kind") for group, name in NAMES.items()])
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(folder))
        forget()
        yield folder
    forget()


@pytest.fixture
def plugin(tmp_path, monkeypatch):
    """Install further ones for a single test."""

    def add(distribution, *points, **modules):
        folder = tmp_path / distribution
        install(folder, distribution, points)
        for name, source in modules.items():
            (folder / f"{name}.py").write_text(source)
        monkeypatch.syspath_prepend(str(folder))
        forget()

    yield add
    monkeypatch.undo()
    forget()


def succeed(*arguments):
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    assert result.exit_code == 0, result.output
    return result.output


@pytest.fixture(scope="module")
def recipe(third, toy_root, tmp_path_factory):
    path = tmp_path_factory.mktemp("recipe") / "clicks.yaml"
    path.write_text(RECIPE.format(root=toy_root))
    return path


@pytest.fixture(scope="module")
def adapter(recipe):
    folder = recipe.with_name("adapter")
    succeed("train", recipe, "--out", folder, "--run", recipe.with_name("run"))
    return folder


def test_its_data_set_is_checked(recipe, toy_root, monkeypatch):
    monkeypatch.setenv("COLUMNS", "160")
    rows = [row for path in toy_root.glob("test*.csv") for row in csv.DictReader(path.open())]
    buzz = sum(row["technique"] == "buzz" for row in rows)
    out = succeed("data", "check", recipe)
    assert re.search(r"recordings +minutes +points +points by sort", out)
    assert re.search(rf"test +2 +0\.1 +{len(rows)} +buzz {buzz}, tone {len(rows) - buzz}", out)


def test_its_head_is_trained_scored_and_shown(adapter, recipe, toy_root):
    own = json.loads((adapter / "metrics.json").read_text())["test"]["pointer"]
    assert own["point_micro_f1"] > 0
    row = own["per_class"]["buzz"]["point"]
    for out in (succeed("inspect", adapter), succeed("eval", adapter), succeed("eval", adapter, recipe)):
        assert re.search(r"point F1 micro +macro", out)
        assert f"{own['point_micro_f1']:.3f}" in out
        assert re.search(r"class +point F1 +points +found", out)
        assert re.search(rf"buzz +{row['f1']:.3f} +{row['ref']} +{row['est']}", out)
    curves = [json.loads(line) for line in recipe.with_name("run").joinpath("history.jsonl").read_text().splitlines()]
    assert set(curves[-1]["per_class_f1"]) == {"buzz", "tone"}


def test_its_card(adapter):
    card = (adapter / "README.md").read_text()
    assert "which point at moments." in card
    assert "for point in annotation.points:\n    print(point.time, point.label)\n```" in card
    assert "--to json" in card
    assert re.search(r"\| Point F1, micro \| \d", card)
    assert "| Class | point F1 | point precision | point recall | points annotated | points found |" in card
    data = ModelCard(card).data
    assert "moment-detection" in data.tags
    assert {result.task_name for result in data.eval_results} == {"moment detection"}


def test_what_it_finds_is_written_in_every_format(adapter, toy_root, tmp_path):
    take, files = toy_root / "test0.wav", {}
    found = etude.Session(adapter)(take)
    assert list(found) == ["points"]
    points = found.points
    assert len(points) > 1
    for to, suffix in {"csv": "csv", "jams": "jams", "audacity": "txt", "json": "json", "listing": "lst"}.items():
        line = succeed("predict", adapter, take, "--to", to, "--out", tmp_path)
        files[to] = tmp_path / f"test0.{suffix}"
        assert line == f"{take}: {len(points)} points -> {files[to]}\n"
    rows = list(csv.DictReader(files["csv"].open()))
    assert [(float(row["time"]), row["sort"]) for row in rows] == [(pytest.approx(p.time, abs=1e-4), p.label) for p in points]
    [layer] = jams.load(str(files["jams"]), validate=True, strict=True).annotations
    assert [(o.time, o.duration, o.value) for o in layer] == [(p.time, 0, p.label) for p in points]
    labels = [line.split("\t") for line in files["audacity"].read_text().splitlines()]
    assert [(float(start), start == end, text) for start, end, text in labels] == [
        (pytest.approx(p.time, abs=1e-6), True, p.label) for p in points
    ]
    document = json.loads(files["json"].read_text())
    assert document["points"] == [{"time": p.time, "label": p.label, "confidence": p.confidence} for p in points]
    assert (document["notes"], document["tags"]) == ([], None)
    assert files["listing"].read_text().splitlines() == [str(point) for point in points]


def test_formats_that_cannot_hold_it_say_so(adapter, toy_root, tmp_path):
    result = CliRunner().invoke(
        app, ["predict", str(adapter), str(toy_root / "test0.wav"), "--to", "midi", "--out", str(tmp_path)]
    )
    fix = "choose another format: audacity, csv, jams, json, listing"
    assert (result.exit_code, result.stderr) == (2, f"error: clicks: finds points, which midi cannot hold ({fix})\n")


def test_what_it_finds_is_drawn(adapter, toy_root, tmp_path):
    succeed("predict", adapter, toy_root / "test0.wav", "--plot", "--out", tmp_path)
    picture = np.asarray(Image.open(tmp_path / "test0.png").convert("RGB"), np.int16)
    coloured = np.abs(picture[:, :, None] - np.array([(0, 114, 178), (213, 94, 0)])).max(axis=3).min(axis=2) < 3
    above, below = coloured[60:500, 250:], coloured[600:, 250:]
    assert above.sum(axis=0).max() > 300  # a line through the spectrogram
    assert below.sum(axis=1).max() > 10  # boxes of some width in the lanes


def test_a_class_that_the_adapter_lacks_is_told_in_its_words(third, toy_root):
    from etude.adapters.heads._parts.labels import check_labels

    dataset = registry.find("datasets", "clicks")
    dataset = dataset(dataset.Config(name="clicks", root=str(toy_root)))
    annotations = [track.annotation for track in dataset.tracks("test")]
    with pytest.raises(etude.UserError, match="data: sort 'buzz' is not a class of the adapter"):
        check_labels({"pointer": ("tone",)}, dataset, annotations, "data")
    with pytest.raises(etude.UserError, match=r"'clicks' has no tags, .*heads for this data set: pointer"):
        check_labels({"tags": ("tone",)}, dataset, annotations, "data")


def test_an_installed_kind_changes_no_result_without_it(third, tmp_path):
    from etude.adapters.formats import export

    export(Annotation(), tmp_path / "a.json", "json", duration=1.0, source=tmp_path / "a.wav")
    assert list(json.loads((tmp_path / "a.json").read_text())) == ["recording", "duration", "adapter", "notes", "tags"]


# what is wrong with a plug-in


def test_names_import_nothing(plugin):
    plugin("lurking", ("heads", "lurks", "never_imported"), never_imported="raise RuntimeError")
    assert "lurks" in registry.names("heads")
    assert "never_imported" not in sys.modules


@pytest.mark.parametrize(
    ("source", "what"),
    [
        ("import nowhere_to_be_found", "ModuleNotFoundError: No module named 'nowhere_to_be_found'"),
        ("raise RuntimeError('two\\nlines')", "RuntimeError: two lines"),
        ("x = 1", "TypeError: broken_module must define exactly one Head, found 0"),
    ],
)
def test_a_broken_one_breaks_its_own_name_only(plugin, source, what, tmp_path):
    from etude.adapters.datasets.irmas import Irmas
    from etude.adapters.heads._parts.labels import head_labels

    sys.modules.pop("broken_module", None)
    plugin("faulty", ("heads", "broken", "broken_module"), broken_module=source)
    with pytest.raises(etude.UserError) as caught:
        registry.find("heads", "broken")
    assert str(caught.value) == f"the head 'broken' of faulty cannot be loaded: {what} (update or uninstall faulty)"
    assert registry.find("heads", "tags").kind == "tags"
    assert "broken" not in registry.usable("heads")
    with pytest.raises(etude.UserError, match=r"heads for this data set: mapped_tags, tags\)"):
        head_labels("technique", Irmas(Irmas.Config(name="irmas", root=str(tmp_path))))


def test_a_class_of_another_contract_is_told(plugin):
    plugin("confused", ("heads", "odd", "odd_module:Odd"), odd_module="class Odd: pass")
    with pytest.raises(etude.UserError, match="'odd' of confused cannot be loaded: TypeError: odd_module:Odd is no Head"):
        registry.find("heads", "odd")


def test_a_name_that_two_distributions_use_is_told(plugin):
    plugin("greedy", ("backbones", "mert", "mine"), ("heads", "twice", "mine"))
    plugin("also", ("heads", "twice", "mine"))
    with pytest.raises(etude.UserError, match=r"^the backbone 'mert' is in etude and in greedy \(uninstall greedy\)$"):
        registry.find("backbones", "mert")
    with pytest.raises(etude.UserError, match=r"the head 'twice' is in (also and in greedy|greedy and in also)"):
        registry.find("heads", "twice")
    assert registry.find("backbones", "whisper")


def test_the_command_line_starts_with_broken_ones(plugin, tmp_path):
    plugin("faulty", *((group, "broken", "nowhere") for group in registry.CONTRACTS))
    run = "import sys; sys.path.insert(0, sys.argv.pop(1)); from etude.cli.app import main; main()"
    for arguments in (["--help"], ["recipes", "check", "demo"]):
        done = subprocess.run(
            [sys.executable, "-c", run, str(tmp_path / "faulty"), *arguments], capture_output=True, text=True, check=False
        )
        assert (done.returncode, done.stderr) == (0, "")


def test_a_folder_that_is_not_there_has_nothing(monkeypatch):
    assert registry.own_names("no_such_folder") == ()
    with pytest.raises(etude.UserError, match=r"unknown no_such_folder 'x' \(none are known\)"):
        registry.find("no_such_folder", "x")
