"""Distributions that add to etude, installed for as long as a test runs."""

import tomllib
from contextlib import contextmanager
from pathlib import Path

import pytest

from etude.adapters import registry
from etude.adapters.annotations import kind_of

PLUGIN = Path(__file__).parent / "plugin"


def forget():
    """Let the registry look again."""
    for known in (registry._plugins, registry.find, kind_of):
        known.cache_clear()


def install(folder, distribution, points):
    """A distribution in ``folder``, which is put on the path: ``points`` are (folder of etude, name, value)."""
    place = folder / f"{distribution}-0.1.dist-info"
    place.mkdir(parents=True)
    (place / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {distribution}\nVersion: 0.1\n")
    (place / "entry_points.txt").write_text("".join(f"[etude.{group}]\n{name} = {value}\n" for group, name, value in points))


@contextmanager
def with_points(folder):
    """The package in ``plugin``, by its entry points."""
    groups = tomllib.loads((PLUGIN / "pyproject.toml").read_text())["project"]["entry-points"]
    found = [(group.removeprefix("etude."), name, value) for group, own in groups.items() for name, value in own.items()]
    install(folder, "etude-points", found)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(PLUGIN))
        patch.syspath_prepend(str(folder))
        forget()
        yield
    forget()
