"""From a recipe to the objects it names."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from etude.adapters import registry
from etude.adapters.backbones import Backbone, BackboneConfig
from etude.adapters.datasets import Dataset
from etude.adapters.heads import Head
from etude.adapters.methods import Method
from etude.adapters.model import AdaptedModel
from etude.adapters.training.recipe import Recipe


def build_dataset(recipe: Recipe) -> Dataset:
    """The recipe's data set; nothing is read yet."""
    dataset: Dataset = registry.find("datasets", recipe.data.name)(recipe.data)
    return dataset


def build_backbone(config: BackboneConfig) -> Backbone:
    """The frozen backbone with its weights."""
    backbone: Backbone = registry.find("backbones", config.name)(config)
    return backbone


def build_model(
    recipe: Recipe, backbone: Backbone, labels: Mapping[str, tuple[str, ...]], statistics: Mapping[str, Mapping[str, Any]]
) -> AdaptedModel:
    """Attach the recipe's method and heads to ``backbone``, untrained; ``labels`` and ``statistics`` by head."""
    method: Method = registry.find("methods", recipe.method.name)(recipe.method)
    heads: dict[str, Head] = {
        name: registry.find("heads", name)(getattr(recipe.heads, name), labels[name], backbone.hidden_size, statistics[name])
        for name in type(recipe.heads).model_fields
    }
    layers = None if recipe.mix.layers == "all" else recipe.mix.layers
    return AdaptedModel(backbone, method, heads, layers)
