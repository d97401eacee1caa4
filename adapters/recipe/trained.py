"""What of a recipe is needed to use a trained adapter: loading is not training.

Data and training are text here: an adapter can be used where its data set is not known, and after fields of training were
renamed.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Generic, TypeVar, cast

import yaml
from pydantic import BaseModel, Field, ValidationError, create_model

from etude.adapters import registry
from etude.adapters.backbones import BackboneConfig
from etude.adapters.config import BESIDE, StrictModel, Typed
from etude.adapters.errors import Problem, UserError
from etude.adapters.methods import MethodConfig
from etude.adapters.recipe.problems import KINDS, explain
from etude.adapters.recipe.reading import read_yaml
from etude.adapters.recipe.schema import MixConfig, Recipe, TrainConfig, parse_recipe

B = TypeVar("B", bound=BackboneConfig)
M = TypeVar("M", bound=MethodConfig)
H = TypeVar("H", bound=BaseModel)
OVERLAP: float = TrainConfig.model_fields["overlap"].default


class TrainedOf(StrictModel, Generic[B, M, H]):
    """The sections of a recipe that say how a model is put together."""

    backbone: B
    method: M
    mix: MixConfig = MixConfig()
    heads: H
    overlap: float = Field(OVERLAP, ge=0)
    """Seconds by which windows overlap (``train.overlap``)."""


TrainedRecipe = TrainedOf[BackboneConfig, MethodConfig, BaseModel]


def parse_trained(text: str, where: str, weights: str | None = None, folder: Path | None = None) -> TrainedRecipe:
    """The recipe in ``text`` (YAML) as far as loading needs it, with other ``weights`` if given; ``folder`` is the one that
    relative paths start from.

    Raises :class:`UserError` for what is not known here, such as a head of a package that is not installed.
    """
    raw = recipe_sections(text, where)
    if weights is not None:
        raw["backbone"] = {**raw["backbone"], "weights": Typed(weights)}
    problems: list[Problem] = []

    def config(section: str, name: str) -> Any:
        try:
            return registry.find(KINDS[section], name).Config
        except UserError as error:
            problems.extend(Problem(problem.what, f"{where}: {section}", problem.fix) for problem in error.problems)
            return None

    parts = {section: config(section, raw[section].get("name", "")) for section in ("backbone", "method")}
    heads = {name: config("heads", name) for name in raw["heads"]}
    if problems:
        raise UserError(problems)
    of_heads = create_model("Heads", __base__=StrictModel, **{name: (kind, ...) for name, kind in heads.items()})  # type: ignore[call-overload]
    sections = (parts["backbone"], parts["method"], of_heads)
    model: Any = TrainedOf[sections]  # type: ignore[valid-type, misc]
    given: dict[str, Any] = {section: raw[section] for section in ("backbone", "method", "mix", "heads") if section in raw}
    # How much a head's loss counted is of no use here, and not all that was once allowed still is.
    given["heads"] = {name: {**(raw["heads"][name] or {})} for name in heads}
    for fields in given["heads"].values():
        fields.pop("weight", None)
    given["overlap"] = (raw.get("train") or {}).get("overlap", OVERLAP)
    try:
        return cast(TrainedRecipe, model.model_validate(given, context={BESIDE: folder}))
    except ValidationError as error:
        raise UserError(explain(error, model, given, where)) from None


def data_recipe(text: str, where: str, folder: Path | None = None) -> Recipe:
    """The recipe in ``text`` for its data: what it says of training is left out; ``folder`` as in :func:`parse_trained`.

    Raises :class:`UserError`.
    """
    raw = recipe_sections(text, where)
    kept = {name: raw[name] for name in raw if name not in ("train", "init_from", "regularizers")}
    return parse_recipe(yaml.safe_dump(kept), where=where, folder=folder)


def store_dtype(text: str, where: str) -> str:
    """How the frozen states of the recipe's run were stored (``train.store_dtype``), so that they are found again."""
    given = (recipe_sections(text, where).get("train") or {}).get("store_dtype")
    return given if given in ("float16", "float32") else "float16"


def recipe_sections(text: str, where: str) -> dict[str, Any]:
    """The recipe in ``text`` as it stands. Raises :class:`UserError` unless it has the sections that loading needs."""
    raw = read_yaml(text, where)
    if not isinstance(raw, dict) or not all(isinstance(raw.get(name), dict) for name in ("backbone", "method", "heads")):
        raise UserError("is not the recipe of an adapter", where=where, fix="copy or download the adapter again")
    return raw
