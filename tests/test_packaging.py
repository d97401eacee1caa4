"""The package as it installs: lazy names, folder mapping, pinned versions, recipe headers."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from importlib import import_module
from itertools import takewhile
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import etude
from etude.adapters.backbones._parts.weights import packaged_weights
from etude.recipes import packaged

ROOT = Path(__file__).parents[1]


def pyproject() -> dict[str, Any]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text())


@pytest.mark.parametrize("module", ["etude", "etude.cli.recipes"])
def test_importing_stays_light(module: str) -> None:
    heavy = f"import {module}, sys; print([m for m in ('torch', 'transformers', 'matplotlib') if m in sys.modules])"
    found = subprocess.run([sys.executable, "-c", heavy], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"


@pytest.mark.parametrize("name", sorted(etude._LAZY))
def test_lazy_name_leads_to_its_module(name: str) -> None:
    assert getattr(etude, name) is getattr(import_module(etude._LAZY[name]), name)
    assert name in etude.__all__


def test_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'Sesion'"):
        _ = etude.Sesion


def test_every_package_folder_is_mapped() -> None:
    mapped = pyproject()["tool"]["setuptools"]["package-dir"]
    folders = {path.parent.name for path in ROOT.glob("*/__init__.py")}
    assert {f"etude.{folder}": folder for folder in folders} | {"etude": "src/etude"} == mapped


def test_what_pretraining_writes_is_installed_with_the_package() -> None:
    patterns = pyproject()["tool"]["setuptools"]["package-data"]["etude.adapters.backbones"]
    assert {f"*/{name}" for name in ("config.json", "model.safetensors", "README.md")} == set(patterns)
    folders = {path.parent for path in (ROOT / "adapters" / "backbones").glob("*/config.json")}
    assert {folder.name for folder in folders} == set(packaged_weights())
    for folder in folders:
        assert {f"*/{file.name}" for file in folder.iterdir()} == set(patterns)


def test_every_folder_with_modules_is_a_package() -> None:
    # Without its __init__.py a subfolder would still install, but as a namespace that the registry's contracts cannot live in.
    for folder in pyproject()["tool"]["setuptools"]["package-dir"].values():
        for module in (ROOT / folder).rglob("*.py"):
            assert (module.parent / "__init__.py").is_file(), f"{module.parent.relative_to(ROOT)} has no __init__.py"


def test_constraints_pin_every_direct_dependency_within_its_range() -> None:
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pins = dict(line.split("==") for line in lines if not line.startswith("#"))
    versions = {canonicalize_name(name): version for name, version in pins.items()}
    project = pyproject()["project"]
    extras = [text for group in project["optional-dependencies"].values() for text in group]
    for requirement in map(Requirement, [*project["dependencies"], *extras]):
        if requirement.name != project["name"]:
            assert requirement.specifier.contains(versions[canonicalize_name(requirement.name)]), str(requirement)


@pytest.mark.parametrize("name", packaged())
def test_recipe_says_how_to_run_it(name: str) -> None:
    text = packaged()[name].read_text(encoding="utf-8")
    header = takewhile(lambda line: line.startswith("#"), text.splitlines())
    command = "pretrain" if "\ntask: pretraining\n" in text else "train"
    assert f"adapt {command} recipes/{name}.yaml" in "\n".join(header)


def test_recipes_are_listed_by_file_name() -> None:
    assert packaged()
    assert set(packaged()) == {
        path.name.removesuffix(".yaml") for path in (ROOT / "recipes").iterdir() if path.suffix == ".yaml"
    }


def test_imports_that_run_upwards_are_told(tmp_path):
    """Of a made-up tree, and none of this one; the rooms of the tree must all be known."""
    checker = [sys.executable, str(ROOT / ".ci" / "check_layers.py")]
    own = subprocess.run(checker, capture_output=True, text=True, check=False)
    assert (own.returncode, own.stdout) == (0, "imports run downwards only\n")
    room = tmp_path / "adapters" / "sound"
    room.mkdir(parents=True)
    (tmp_path / "cli").mkdir()
    (tmp_path / "cli" / "app.py").write_text("from etude.adapters.sound import audio\n")
    (room / "audio.py").write_text("def late():\n    from etude.adapters.states import window_set\nimport etude.cli.app\n")
    found = subprocess.run([*checker, str(tmp_path)], capture_output=True, text=True, check=False)
    assert found.returncode == 1
    assert found.stdout.splitlines() == [
        "adapters/sound/audio.py:3: etude.adapters.sound.audio imports etude.cli.app, which stands above it",
        "adapters/sound/audio.py:2: etude.adapters.sound.audio imports etude.adapters.states, which stands above it",
    ]
    (tmp_path / "adapters" / "attic").mkdir()
    (tmp_path / "adapters" / "attic" / "old.py").write_text("")
    lost = subprocess.run([*checker, str(tmp_path)], capture_output=True, text=True, check=False)
    assert "etude.adapters.attic.old is in no layer" in lost.stderr
