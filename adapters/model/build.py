"""From a recipe to the objects it names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from etude.adapters import registry
from etude.adapters.artifact import RECIPE, Artifact, check_backbone
from etude.adapters.backbones import Backbone, BackboneConfig
from etude.adapters.config import distinct
from etude.adapters.datasets import Dataset, DatasetConfig
from etude.adapters.datasets._parts.mixture import Mixture
from etude.adapters.heads import Head
from etude.adapters.methods import Method
from etude.adapters.model.adapted import AdaptedModel
from etude.adapters.recipe.schema import Recipe, load_recipe
from etude.adapters.recipe.starter import section_of
from etude.adapters.recipe.trained import TrainedRecipe, parse_trained
from etude.adapters.regularizers import Regularizer

AnyRecipe = Recipe | TrainedRecipe


def build_dataset(recipe: Recipe) -> Dataset:
    """The recipe's data set, or all of them as one; nothing is read yet."""
    if isinstance(recipe.data, tuple):
        return Mixture([_dataset(config) for config in recipe.data])
    return _dataset(recipe.data)


def _dataset(config: DatasetConfig) -> Dataset:
    dataset: Dataset = registry.find("datasets", config.name)(config)
    return dataset


def named_dataset(name: str, overrides: Sequence[str] = (), classes: Mapping[str, Sequence[str]] | None = None) -> Dataset:
    """The data set of a recipe, or of a manifest CSV or a folder of recordings, these with ``classes`` (by kind) in that order.

    A folder whose classes are given is to be judged, so that all of it is the test split. Raises :class:`UserError`.
    """
    file = Path(name)
    if not (name.endswith(".csv") or (file.is_dir() and classes)):
        return build_dataset(load_recipe(name, overrides))
    data = section_of(file, classes or {})
    if data["name"] == "folder" or data.get("notes") == str(file):  # no table divides them
        data["split"] = "test"
    return _dataset(registry.find("datasets", data["name"]).Config(**data))


def build_backbone(config: BackboneConfig) -> Backbone:
    """The frozen backbone with its weights."""
    backbone: Backbone = registry.find("backbones", config.name)(config)
    return backbone


def build_method(recipe: AnyRecipe) -> Method:
    """The recipe's method, attached to nothing."""
    method: Method = registry.find("methods", recipe.method.name)(recipe.method)
    return method


def build_heads(
    recipe: AnyRecipe, hidden_size: int, labels: Mapping[str, tuple[str, ...]], statistics: Mapping[str, Mapping[str, Any]]
) -> dict[str, Head]:
    """The recipe's heads, untrained; ``labels`` and ``statistics`` by head."""
    return {
        name: registry.find("heads", name)(getattr(recipe.heads, name), labels[name], hidden_size, statistics[name])
        for name in type(recipe.heads).model_fields
    }


def build_regularizers(recipe: Recipe, hidden_size: int) -> dict[str, Regularizer]:
    """The recipe's regularizers, untrained; the second one called ``a`` is ``a-2``."""
    names = distinct(config.name for config in recipe.regularizers)
    return {
        name: registry.find("regularizers", config.name)(config, hidden_size, {})
        for name, config in zip(names, recipe.regularizers, strict=True)
    }


def mixed_layers(recipe: AnyRecipe, num_blocks: int) -> tuple[int, ...]:
    """The layers that the recipe mixes, in order, each once (0 = embedding, ``num_blocks`` = last)."""
    layers = recipe.mix.layers
    return tuple(range(num_blocks + 1)) if layers == "all" else tuple(sorted(set(layers)))


def build_model(
    recipe: AnyRecipe, backbone: Backbone, labels: Mapping[str, tuple[str, ...]], statistics: Mapping[str, Mapping[str, Any]]
) -> AdaptedModel:
    """Attach the recipe's method and heads to ``backbone``, untrained; ``labels`` and ``statistics`` by head."""
    heads = build_heads(recipe, backbone.hidden_size, labels, statistics)
    return AdaptedModel(backbone, build_method(recipe), heads, mixed_layers(recipe, backbone.num_blocks))


def trained_recipe(artifact: Artifact, weights: str | None = None) -> TrainedRecipe:
    """What an adapter's recipe says of the model, ``weights`` in the place of its backbone's weights when given."""
    return parse_trained(artifact.recipe, str(artifact.folder / RECIPE), weights, artifact.home)


def build_trained(artifact: Artifact, weights: str | None = None) -> AdaptedModel:
    """The model as it was trained, in ``eval()`` on the CPU; ``weights`` as in :func:`trained_recipe`.

    Raises :class:`UserError` for weights that are not those of training.
    """
    manifest, recipe = artifact.manifest, trained_recipe(artifact, weights)
    backbone = build_backbone(recipe.backbone)
    check_backbone(artifact, backbone)
    model = build_model(recipe, backbone, manifest.labels, manifest.statistics)
    model.load_trainable(artifact.tensors)
    for name, head in model.heads.items():
        assert isinstance(head, Head)
        head.thresholds = manifest.thresholds[name]
    return model.eval()
