"""The recipe that goes on from a trained adapter: another recipe, or the adapter's own with recordings of one's own."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from etude.adapters import artifact, registry
from etude.adapters.annotations import kind_of
from etude.adapters.artifact import RECIPE, Artifact
from etude.adapters.datasets import Dataset
from etude.adapters.errors import UserError
from etude.adapters.formats._parts.text import listed
from etude.adapters.heads._parts.labels import head_kind
from etude.adapters.recipe.schema import Recipe, load_recipe, parse_recipe
from etude.adapters.recipe.starter import recipe_name, section_of
from etude.adapters.recipe.trained import recipe_sections
from etude.recipes import packaged


def continued(data: str, folder: Path, overrides: Sequence[str] = ()) -> Recipe:
    """The recipe ``data`` (a file or a packaged one) that starts from the adapter in ``folder``.

    Where ``data`` is a folder of recordings or a manifest CSV, all else is as the adapter's own recipe says, and classes have
    its order; they must be among its own, not all of them. Raises :class:`UserError` for others, and for faulty data.
    """
    origin = artifact.load(folder)
    own = os.path.isdir(data) and data not in packaged()
    if not (own or data.endswith(".csv")):
        recipe = load_recipe(data, overrides)
    else:
        text = yaml.safe_dump(_fields(Path(data), origin), sort_keys=False, allow_unicode=True)
        recipe = parse_recipe(text, overrides, where=str(folder / RECIPE), folder=origin.home)
    return recipe.model_copy(update={"init_from": str(folder)})


def _fields(data: Path, origin: Artifact) -> dict[str, Any]:
    """Those of the recipe of ``origin``, with ``data`` in the place of its own."""
    manifest = origin.manifest
    at_home = origin.home is None or origin.home.samefile(os.curdir)
    classes = {head_kind(head).name: labels for head, labels in reversed(manifest.labels.items())}
    _check_classes(data, classes, origin.folder)
    raw = recipe_sections(origin.recipe, str(origin.folder / RECIPE))
    # What was measured on many recordings is not to be measured on a few: the range of pitches, say.
    for head, fields in raw["heads"].items():
        known = registry.find("heads", head).Config.model_fields
        measured = {name: value for name, value in manifest.statistics[head].items() if name in known}
        raw["heads"][head] = {**(fields or {}), **measured}
    raw["train"] = {name: value for name, value in (raw.get("train") or {}).items() if name != "share"}
    return {**raw, "name": recipe_name(data), "data": section_of(data if at_home else data.absolute(), classes)}


def _check_classes(data: Path, classes: Mapping[str, Sequence[str]], folder: Path) -> None:
    """Raise :class:`UserError` in one line for classes that ``classes`` (by kind) of the adapter in ``folder`` lack."""
    section = {name: value for name, value in section_of(data, {}).items() if value is not None}
    kind = registry.find("datasets", section["name"])
    dataset: Dataset = kind(kind.Config(**section))
    dataset.check()
    for name, known in classes.items():
        if new := sorted(set(dataset.classes.get(name, ())) - set(known)):
            what = f"has the {kind_of(name).label}{'s' if len(new) > 1 else ''} {listed(new)}, which {folder} does not know"
            raise UserError(what, where=str(data), fix="leave out what is new, or train without --from")
