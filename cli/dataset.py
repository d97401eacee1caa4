"""Naming a data set on the command line: a recipe, or a manifest CSV by itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from etude.adapters.datasets import Dataset


def dataset_of(name: str, overrides: Sequence[str] = (), classes: Mapping[str, Sequence[str]] | None = None) -> Dataset:
    """The data set of a recipe, or of a manifest CSV with ``classes`` (by kind) in that order. Raises :class:`UserError`."""
    from etude.adapters.model.build import build_dataset
    from etude.adapters.recipe.schema import load_recipe
    from etude.adapters.registry import find

    if not name.endswith(".csv"):
        return build_dataset(load_recipe(name, overrides))
    kind, file = find("datasets", "manifest"), Path(name)
    techniques = (classes or {}).get("notes")
    config = kind.Config(name="manifest", root=str(file.parent), file=file.name, techniques=techniques)
    dataset: Dataset = kind(config)
    return dataset
