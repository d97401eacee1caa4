"""A recipe: one YAML file that says everything about a run. It is stored whole in the artifact.

Each section that names a thing (``data``, ``backbone``, ``method``, each head) is validated by that thing's own ``Config``.
Every problem is reported at once, with its path in the file and a remedy.
"""

from __future__ import annotations

import re
import typing
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Generic, Literal, TypeVar

import yaml
from pydantic import AfterValidator, BaseModel, Field, ValidationError, create_model

from etude.adapters import registry
from etude.adapters.backbones import BackboneConfig
from etude.adapters.config import AS_WRITTEN, BESIDE, Location, StrictModel
from etude.adapters.datasets import DatasetConfig
from etude.adapters.errors import Problem, UserError
from etude.adapters.methods import MethodConfig
from etude.adapters.recipe.problems import KINDS, explain
from etude.adapters.recipe.reading import read_fields, read_recipe
from etude.adapters.regularizers import RegularizerConfig
from etude.adapters.sound.augment import AugmentConfig


class _Unnamed(BaseModel, strict=True):
    """Stands for a section that does not say what it is: the lack of a name (in text) is the one problem worth reporting."""

    name: str


class MixConfig(StrictModel):
    """Which states the learned mix reads: ``all``, or indices (0 = embedding, N = output of the N-th block)."""

    layers: Literal["all"] | Annotated[tuple[int, ...], Field(min_length=1)] = "all"
    """``[2, 3]`` leaves out all other states, which then need not be kept."""


class TrainConfig(StrictModel):
    """The optimisation. A *step* is one optimizer update."""

    epochs: int = Field(30, ge=1)
    """Times that every training window is seen."""
    share: float = Field(1.0, gt=0, le=1)
    """Of the training recordings, drawn with the recipe's seed; at least one of every tag."""
    batch_size: int = Field(8, ge=1)
    """Windows per step, over all processes and accumulated parts."""
    accumulate: int = Field(1, ge=1)
    """Parts a batch is split into to save memory; on one process, more of them are made when memory runs out."""
    gradient_checkpointing: bool = False
    """Compute adapted blocks twice rather than keep what is inside them: less memory, more time."""
    lr: float = Field(1e-3, gt=0)
    """AdamW's largest learning rate."""
    weight_decay: float = Field(0.01, ge=0)
    """AdamW's."""
    warmup: float = Field(0.05, ge=0, lt=1)
    """Share of all steps with a rising learning rate; cosine to 0 afterwards."""
    clip: float = Field(1.0, gt=0)
    """Largest gradient norm."""
    precision: Literal["auto", "fp32", "bf16", "fp16"] = "auto"
    """Of training steps; states and scores are always in fp32. ``auto``: bf16 where it was measured to be 1.25 times faster on
    this machine, fp32 elsewhere."""
    metric: str = "technique.event_macro_f1"
    """``head.score`` on validation data that chooses the best checkpoint and stops early."""
    evaluate_every: int = Field(1, ge=1)
    """Epochs between validations."""
    patience: int | None = Field(None, ge=1)
    """Validations without a better metric before training stops; ``null`` trains all epochs."""
    overlap: float = Field(1.0, ge=0)
    """Seconds by which windows overlap in evaluation and prediction; at most half a window is used."""
    store_dtype: Literal["float16", "float32"] = "float16"
    """How frozen states are stored."""
    augment: AugmentConfig = AugmentConfig()
    """Augmented views of the training recordings."""
    dtype: Literal["float16", "float32"] = "float16"
    """How the artifact stores its tensors."""
    leave_one_group_out: bool = True
    """Where the training recordings are of several groups (sessions, players), train again without each of them, at most five
    times, and score on it: what the adapter is worth on another one. It takes as long as that many runs."""


def plain_name(text: str) -> str:
    """Check the name of a recipe, which names files and folders, too. Raises :class:`ValueError`."""
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", text):
        raise ValueError(f"{text!r} may hold letters, digits, '.', '_' and '-' only, the first a letter or digit")
    return text


D = TypeVar("D", bound=DatasetConfig | tuple[DatasetConfig, ...])
B = TypeVar("B", bound=BackboneConfig)
M = TypeVar("M", bound=MethodConfig)
H = TypeVar("H", bound=BaseModel)
R = TypeVar("R", bound=tuple[RegularizerConfig, ...])


class RecipeOf(StrictModel, Generic[D, B, M, H, R]):
    """A recipe with its sections' own types."""

    task: Literal["training"] = "training"
    name: Annotated[str, AfterValidator(plain_name)]
    """What the adapter is called, and its folder when ``--out`` does not say."""
    seed: int = Field(0, ge=0, lt=2**32)
    """Of everything that is drawn: initial weights, the order of windows, dropout."""
    init_from: Location | None = None
    """Folder of a trained adapter to start from, on the same backbone and with the same method and mix."""
    data: D
    """One data set, or a list of several that are trained on as one; they may know different kinds of annotation."""
    backbone: B
    method: M
    mix: MixConfig = MixConfig()
    heads: H
    regularizers: R = typing.cast(R, ())
    """Losses of training alone, beside those of the heads."""
    train: TrainConfig = TrainConfig()

    def dump(self) -> str:
        """The resolved recipe as YAML; :func:`parse_recipe` reads it back."""
        return yaml.safe_dump(self.model_dump(mode="json", context=AS_WRITTEN), sort_keys=False)


Recipe = RecipeOf[
    DatasetConfig | tuple[DatasetConfig, ...], BackboneConfig, MethodConfig, BaseModel, tuple[RegularizerConfig, ...]
]


def load_recipe(path: str | Path, overrides: Sequence[str] = ()) -> Recipe:
    """Read a recipe file, or a packaged recipe by name. Raises :class:`UserError` listing every problem.

    ``overrides`` are ``section.field=value`` with YAML values (``train.lr=1e-3``, ``method.sites=[attn.q]``).
    """
    text, where, folder = read_recipe(path)
    return parse_recipe(text, overrides, where=where, folder=folder)


def parse_recipe(text: str, overrides: Sequence[str] = (), *, where: str = "recipe", folder: Path | None = None) -> Recipe:
    """The recipe in ``text`` (YAML), whose relative paths are looked for in ``folder`` first.

    Raises :class:`UserError` listing every problem.
    """
    raw = read_fields(text, overrides, "training", where)
    model, problems = _model_for(raw, where)
    try:
        recipe = model.model_validate(raw, context={BESIDE: folder})
    except ValidationError as error:
        problems += explain(error, model, raw, where)
    if problems:
        raise UserError(problems)
    return typing.cast(Recipe, recipe)


def _model_for(raw: dict[str, Any], where: str) -> tuple[type[StrictModel], list[Problem]]:
    """The recipe model with the section types that ``raw`` names, and a problem for each unknown name.

    Unknown heads are taken out of ``raw``, and heads without fields become empty sections.
    """
    problems: list[Problem] = []

    def config(kind: str, name: str, place: str) -> Any:
        try:
            return registry.find(kind, name).Config
        except UserError as error:
            problems.append(Problem(error.problems[0].what, f"{where}: {place}", error.problems[0].fix))
            return None

    def section(name: str, given: Any, place: str) -> Any:
        named = given.get("name") if isinstance(given, dict) else None
        return (config(KINDS[name], named, f"{place}.name") or Any) if isinstance(named, str) else _Unnamed

    def items(name: str, given: list[Any]) -> Any:
        return tuple[tuple(section(name, item, f"{name}.{place}") for place, item in enumerate(given))]  # type: ignore[misc]

    data, regularizers = raw.get("data"), raw.get("regularizers")
    sections = [items("data", data) if isinstance(data, list) else section("data", data, "data")]
    sections += [section(name, raw.get(name), name) for name in ("backbone", "method")]
    if data == []:
        problems.append(Problem("names no data set", f"{where}: data", f"known: {', '.join(registry.names('datasets'))}"))
    heads = raw.get("heads")
    known: dict[str, Any] = {}
    if isinstance(heads, dict):
        known = {name: kind for name in heads if (kind := config("heads", name, "heads"))}
        raw["heads"] = {name: {} if heads[name] is None else heads[name] for name in known}
        if not heads:
            problems.append(Problem("names no head", f"{where}: heads", f"known: {', '.join(registry.names('heads'))}"))
    last = items("regularizers", regularizers if isinstance(regularizers, list) else [])
    return _recipe_type(*sections, tuple(known.items()), last), problems


@cache
def _recipe_type(
    data: Any, backbone: Any, method: Any, heads: tuple[tuple[str, Any], ...], regularizers: Any
) -> type[StrictModel]:
    """One type per combination, so that recipes can be compared."""
    fields: dict[str, Any] = {name: (kind, ...) for name, kind in heads}
    sections = (data, backbone, method, create_model("Heads", __base__=StrictModel, **fields), regularizers)
    return RecipeOf[sections]  # type: ignore[misc, valid-type, no-any-return]
