"""A recipe: one YAML file that says everything about a run. It is stored whole in the artifact.

Each section that names a thing (``data``, ``backbone``, ``method``, each head) is validated by that thing's own ``Config``. Every
problem is reported at once, with its path in the file and a remedy.
"""

from __future__ import annotations

import types
import typing
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Generic, Literal, TypeVar

import yaml
from pydantic import BaseModel, Field, StringConstraints, ValidationError, create_model

from etude.adapters import registry
from etude.adapters.backbones import BackboneConfig
from etude.adapters.config import StrictModel
from etude.adapters.datasets import DatasetConfig
from etude.adapters.errors import Problem, UserError, nearest
from etude.adapters.methods import MethodConfig
from etude.recipes import packaged


class _Unnamed(BaseModel):
    """Stands for a section that does not say what it is: the missing name is the one problem worth reporting."""

    name: str


class MixConfig(StrictModel):
    """Which states the learned mix reads: ``all``, or indices (0 = embedding, N = output of the N-th block)."""

    layers: Literal["all"] | Annotated[tuple[int, ...], Field(min_length=1)] = "all"


class TrainConfig(StrictModel):
    """The optimisation. A *step* is one optimizer update."""

    epochs: int = Field(30, ge=1)
    batch_size: int = Field(8, ge=1)
    """Windows per step, over all processes and accumulated parts."""
    accumulate: int = Field(1, ge=1)
    """Parts a batch is split into to save memory."""
    lr: float = Field(1e-3, gt=0)
    weight_decay: float = Field(0.01, ge=0)
    warmup: float = Field(0.05, ge=0, lt=1)
    """Share of all steps with a rising learning rate; cosine to 0 afterwards."""
    clip: float = Field(1.0, gt=0)
    """Largest gradient norm."""
    precision: Literal["auto", "fp32", "bf16", "fp16"] = "auto"
    """``auto``: bf16 on GPUs that have it, fp32 elsewhere."""
    metric: str = "technique.event_macro_f1"
    """``head.score`` on validation data that chooses the best checkpoint and stops early."""
    evaluate_every: int = Field(1, ge=1)
    """Epochs between validations."""
    patience: int | None = Field(None, ge=1)
    """Validations without a better metric before training stops; ``null`` trains all epochs."""
    overlap: float = Field(1.0, ge=0)
    """Seconds by which windows overlap in evaluation and prediction."""
    store_gb: float = Field(20.0, ge=0)
    """Largest temporary file of frozen states in GB; a larger data set recomputes them at every step."""
    dtype: Literal["float16", "float32"] = "float16"
    """How the artifact stores its tensors."""


D = TypeVar("D", bound=DatasetConfig)
B = TypeVar("B", bound=BackboneConfig)
M = TypeVar("M", bound=MethodConfig)
H = TypeVar("H", bound=BaseModel)


class RecipeOf(StrictModel, Generic[D, B, M, H]):
    """A recipe with its sections' own types."""

    name: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]
    seed: int = Field(0, ge=0)
    data: D
    backbone: B
    method: M
    mix: MixConfig = MixConfig()
    heads: H
    train: TrainConfig = TrainConfig()

    def dump(self) -> str:
        """The resolved recipe as YAML; :func:`parse_recipe` reads it back."""
        return yaml.safe_dump(self.model_dump(mode="json"), sort_keys=False)


Recipe = RecipeOf[DatasetConfig, BackboneConfig, MethodConfig, BaseModel]


def load_recipe(path: str | Path, overrides: Sequence[str] = ()) -> Recipe:
    """Read a recipe file, or a packaged recipe by name. Raises :class:`UserError` listing every problem.

    ``overrides`` are ``section.field=value`` with YAML values (``train.lr=1e-3``, ``method.sites=[attn.q]``).
    """
    file = Path(path)
    if not file.is_file():
        known = packaged()
        if file.stem not in known or (file.parent != Path() and file.parent.name != "recipes"):
            raise UserError("no such recipe", where=str(path), fix=nearest(file.stem, known))
        file = known[file.stem]
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"cannot be read: {error}", where=str(file)) from None
    return parse_recipe(text, overrides, where=file.name)


def parse_recipe(text: str, overrides: Sequence[str] = (), *, where: str = "recipe") -> Recipe:
    """The recipe in ``text`` (YAML). Raises :class:`UserError` listing every problem."""
    raw = _yaml(text, where)
    if not isinstance(raw, dict):
        raise UserError("is not a YAML mapping", where=where, fix="start from 'adapt recipes cp demo'")
    for override in overrides:
        _override(raw, override)
    model, problems = _model_for(raw, where)
    try:
        recipe = model.model_validate(raw)
    except ValidationError as error:
        raise UserError(problems + _problems(error, model, where, problems)) from None
    if problems:
        raise UserError(problems)
    return typing.cast(Recipe, recipe)


def _yaml(text: str, where: str) -> Any:
    try:
        return yaml.safe_load(text)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        mark = getattr(error, "problem_mark", None)
        line = f":{mark.line + 1}" if mark else ""
        raise UserError(f"is not valid YAML: {getattr(error, 'problem', None) or error}", where=f"{where}{line}") from None


def _override(raw: dict[str, Any], override: str) -> None:
    key, separator, value = override.partition("=")
    if not separator or not all(key.split(".")):
        raise UserError(f"'{override}' is not an override", fix="write section.field=value, e.g. train.lr=1e-3")
    *parents, last = key.split(".")
    section = raw
    for parent in parents:
        child = section.setdefault(parent, {})
        if not isinstance(child, dict):
            raise UserError(f"'{parent}' is not a section", where=f"override {override}")
        section = child
    section[last] = _yaml(value, f"override {override}")


def _model_for(raw: Mapping[str, Any], where: str) -> tuple[type[StrictModel], list[Problem]]:
    """The recipe model with the section types that ``raw`` names, and the problems met on the way."""
    problems: list[Problem] = []
    types_: list[Any] = []
    for section, kind in (("data", "datasets"), ("backbone", "backbones"), ("method", "methods")):
        given = raw.get(section, {})
        if not isinstance(given, dict):
            problems.append(Problem(f"is {given!r}, not a section", f"{where}: {section}", f"write 'name: ...' below it"))
        name = given.get("name") if isinstance(given, dict) else None
        types_.append(_config(kind, name, f"{where}: {section}.name", problems) if name is not None else _Unnamed)
    heads = raw.get("heads")
    fields: dict[str, Any] = {}
    for name in heads if isinstance(heads, dict) else ():
        fields[str(name)] = (_config("heads", name, f"{where}: heads", problems), ...)
        if heads is not None and heads[name] is None:
            typing.cast(dict[str, Any], heads)[name] = {}
    if isinstance(heads, dict) and not heads:
        problems.append(Problem("names no head", f"{where}: heads", f"known: {', '.join(registry.names('heads'))}"))
    types_.append(create_model("Heads", __base__=StrictModel, **fields))
    return RecipeOf[tuple(types_)], problems  # type: ignore[misc, return-value]


def _config(kind: str, name: Any, where: str, problems: list[Problem]) -> Any:
    try:
        return registry.find(kind, str(name)).Config
    except UserError as error:
        problems.append(Problem(error.problems[0].what, where, error.problems[0].fix))
        return Any


def _problems(error: ValidationError, model: type[BaseModel], where: str, known: Sequence[Problem]) -> list[Problem]:
    """pydantic's errors as what, where and how to fix it; sections with a ``known`` problem are left out."""
    spoilt = {problem.where.removeprefix(f"{where}: ").split(".")[0] for problem in known}
    messages: dict[str, list[str]] = {}
    problems: list[Problem] = []
    for detail in error.errors():
        path = _field_path(model, [str(part) for part in detail["loc"]])
        place = f"{where}: {'.'.join(path)}"
        if path and path[0] in spoilt:
            continue
        if detail["type"] == "extra_forbidden":
            problems.append(Problem(f"unknown key '{path[-1]}'", place, nearest(path[-1], _fields_at(model, path[:-1]))))
        elif detail["type"] == "missing":
            problems.append(Problem("is missing", place, _missing_fix(path)))
        else:
            message = detail["msg"].removeprefix("Value error, ")
            given = "" if isinstance(detail["input"], dict) else f", got {detail['input']!r:.80}"
            messages.setdefault(place, []).append(f"{message[:1].lower()}{message[1:]}{given}")
    return problems + [Problem(" or ".join(alternatives), place) for place, alternatives in messages.items()]


def _field_path(model: type[BaseModel], loc: Sequence[str]) -> list[str]:
    """``loc`` without what pydantic adds behind a field for the members of a union."""
    for depth, part in enumerate(loc[:-1]):
        if part in model.model_fields if depth == 0 else part in set(_fields_at(model, loc[:depth])):
            if not list(_fields_at(model, loc[: depth + 1])):
                return list(loc[: depth + 1])
    return list(loc)


def _missing_fix(loc: Sequence[str]) -> str:
    kinds = {"data": "datasets", "backbone": "backbones", "method": "methods", "heads": "heads"}
    if loc[0] in kinds and (len(loc) == 1 or loc[-1] == "name"):
        return f"one of {', '.join(registry.names(kinds[loc[0]]))}"
    return f"add '{loc[-1]}:'"


def _fields_at(model: type[BaseModel], path: Sequence[str]) -> Iterator[str]:
    """Field names of the section at ``path``."""
    current: Any = model
    for part in path:
        field = getattr(current, "model_fields", {}).get(part)
        if field is None:
            return
        current = field.annotation
        if isinstance(current, types.UnionType):
            current = next((c for c in typing.get_args(current) if hasattr(c, "model_fields")), None)
    yield from getattr(current, "model_fields", {})
