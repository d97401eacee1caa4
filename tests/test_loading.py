"""Adapters of earlier versions load and say what they said; loading asks for nothing that only training needs."""

import hashlib
import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
from safetensors import safe_open
from safetensors.numpy import load_file
from typer.testing import CliRunner

from etude.adapters import artifact
from etude.adapters.errors import UserError
from etude.adapters.inference.session import Session
from etude.adapters.model.build import build_trained
from etude.cli.app import app

FORMATS = sorted(path for path in (Path(__file__).parent / "fixtures").iterdir() if path.name.startswith("format-"))


def adapters_of(folder):
    return sorted(path.parent for path in folder.glob("*/adapter.json"))


@pytest.mark.parametrize("folder", FORMATS, ids=lambda folder: folder.name)
def test_adapters_of_every_format_say_what_they_said_when_they_were_saved(folder):
    """Made by the first version that wrote the format: two adapters on etude-nano, and all that they said of a recording."""
    session, recording = Session(*adapters_of(folder)), folder / "recording.flac"
    said, expected = load_file(folder / "activations.safetensors"), json.loads((folder / "expected.json").read_text())
    found = {
        f"{name}/{head}/{output}": values
        for name in session.adapters
        for head, outputs in session.activations(recording, name).items()
        for output, values in outputs.items()
    }
    assert found.keys() == said.keys()
    for name, values in found.items():
        np.testing.assert_allclose(values.astype(float), said[name].astype(float), atol=4e-3, err_msg=name)
    for name, annotation in session.all(recording).items():
        events = [[n.onset, n.offset, n.pitch, n.technique, pytest.approx(n.confidence, abs=2e-3)] for n in annotation.notes]
        assert events == expected[name]["notes"]
        tags = {tag.name: pytest.approx(tag.confidence, abs=2e-3) for tag in annotation.tags}
        assert tags == (expected[name]["tags"] or {})


@pytest.mark.parametrize("folder", FORMATS, ids=lambda folder: folder.name)
def test_commands_take_them(folder, tmp_path):
    for adapter in adapters_of(folder):
        for command in (
            ["inspect", adapter],
            ["predict", adapter, folder / "recording.flac", "--to", "json", "--out", tmp_path],
        ):
            result = CliRunner().invoke(app, [*map(str, command), *(["--force"] if "predict" in command else [])])
            assert result.exit_code == 0, result.output


def with_recipe(folder, target, change):
    """A copy of an artifact with another recipe, and a header that says so."""
    shutil.copytree(folder, target)
    (target / artifact.RECIPE).write_text(change((target / artifact.RECIPE).read_text()))
    with safe_open(target / artifact.TENSORS, framework="pt") as file:
        tensors, metadata = {name: file.get_tensor(name) for name in file.keys()}, dict(file.metadata())  # noqa: SIM118
    metadata["recipe_sha256"] = hashlib.sha256((target / artifact.RECIPE).read_bytes()).hexdigest()
    metadata["header_sha256"] = artifact._metadata_sha256(metadata)
    safetensors.torch.save_file(tensors, target / artifact.TENSORS, metadata)
    return target


@pytest.fixture
def plain(folders):
    return folders("plain", method="lora-last")


CHANGES = {
    "a data set that is not installed": lambda text: text.replace("name: manifest", "name: of_another_package\n  secret: 3"),
    "a list of data": lambda text: text.replace("data:\n", "data:\n- 1\n- name: x\nold_data:\n"),
    "no data": lambda text: text.replace("data:\n", "was_data:\n"),
    "a field of training that is gone": lambda text: text.replace("train:\n", "train:\n  learning_rate_of_old: 1\n"),
    "a weight of a head's loss that is refused by now": lambda text: re.sub(r"weight: 1.0", "weight: -1.0", text, count=1),
    "no training": lambda text: text.replace("train:\n", "trained:\n"),
    "sections of the future": lambda text: (
        text.replace("regularizers: []", "regularizers: [{name: unknown}]") + "teachers: [clap]\n"
    ),
}


@pytest.mark.parametrize("change", CHANGES)
def test_data_and_training_are_text_to_whoever_loads(plain, take, tmp_path, change):
    changed = with_recipe(plain, tmp_path / "changed", CHANGES[change])
    expected, session = Session(plain), Session(changed)
    if change != "no training":  # which holds the overlap of the windows
        assert session(take(2.2)) == expected(take(2.2))
        assert session.recipe().overlap == expected.recipe().overlap == 0.3
    else:
        assert session.recipe().overlap == 1.0
    build_trained(artifact.load(changed))
    result = CliRunner().invoke(app, ["inspect", str(changed)])
    assert result.exit_code == 0, result.output


def test_what_loading_needs_and_does_not_know_is_one_line(plain, tmp_path):
    unknown = with_recipe(plain, tmp_path / "head", lambda text: text.replace("technique:\n", "techniqe:\n", 1))
    with pytest.raises(UserError, match=r"recipe.yaml: heads: unknown head 'techniqe' \(did you mean 'technique'\?\)"):
        Session(unknown)
    field = with_recipe(plain, tmp_path / "field", lambda text: text.replace("rank: 2", "rank: two"))
    with pytest.raises(UserError, match=r"recipe.yaml: method.rank: should be a whole number, got 'two'"):
        Session(field)
    none = with_recipe(plain, tmp_path / "none", lambda text: "just text\n")
    with pytest.raises(UserError, match="is not the recipe of an adapter"):
        Session(none)
