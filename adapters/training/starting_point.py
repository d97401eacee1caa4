"""Training that starts from a trained adapter: what it changed in the backbone, its layer mix, heads of the same labels."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from etude.adapters import artifact
from etude.adapters.artifact import RECIPE, Artifact
from etude.adapters.errors import UserError
from etude.adapters.heads import Head
from etude.adapters.model.adapted import AdaptedModel
from etude.adapters.model.build import mixed_layers, trained_recipe
from etude.adapters.recipe.schema import Recipe


def start_from(model: AdaptedModel, recipe: Recipe, folder: Path) -> tuple[Artifact, str]:
    """Copy what fits of the adapter in ``folder`` into ``model``; returns the adapter, and in words what was taken.

    Heads start anew unless the adapter has one of the same name with the same labels and shapes; what such a head learns at
    once builds on what it knew. Raises :class:`UserError` for an adapter of another backbone, with another method or with other
    mixed layers.
    """
    origin = artifact.load(folder)
    artifact.check_backbone(origin, model.backbone)
    trained = trained_recipe(origin)
    if trained.method != recipe.method:
        own, other = (item.method.model_dump(mode="json") for item in (recipe, trained))
        field = next(name for name in {**own, **other} if own.get(name) != other.get(name))
        raise UserError(
            f"was trained with method.{field} = {other.get(field)!r}, this recipe has {own.get(field)!r}",
            where=f"init_from {folder}",
            fix=f"use the section 'method' of {folder / RECIPE}",
        )
    state = model.trainable_state()
    if len({mixed_layers(item, model.backbone.num_blocks) for item in (trained, recipe)}) > 1:
        raise UserError("mixes other layers than this recipe", where=f"init_from {folder}", fix=f"set mix as {folder / RECIPE}")
    heads = model.reader.heads_by_name
    taken = [name for name in heads if _fits(name, model, origin)]
    state |= {name: tensor for name, tensor in origin.tensors.items() if not name.startswith("heads.")}
    for name in taken:
        state |= _parted(name, heads[name], origin.tensors)[0]
    model.load_trainable(state)
    for name in taken:
        heads[name].start_from(origin.manifest.statistics[name], _parted(name, heads[name], origin.tensors)[1])
    new = [name for name in model.heads if name not in taken]
    parts = ["the method", "the layer mix", *(f"the head '{name}'" for name in taken)]
    text = f"starts from {folder}: {', '.join(parts)}" + "".join(f"; the head '{name}' is new" for name in new)
    return origin, text


def _fits(name: str, model: AdaptedModel, origin: Artifact) -> bool:
    """Whether ``origin`` has this head, for the same labels in the same order and, but for what is fitted, of the same size."""
    head = model.reader.heads_by_name[name]
    own, other = (_parted(name, head, tensors)[0] for tensors in (model.trainable_state(), origin.tensors))
    shapes = ({key: value.shape for key, value in tensors.items()} for tensors in (own, other))
    return next(shapes) == next(shapes) and origin.manifest.labels.get(name) == head.labels


def _parted(name: str, head: Head, tensors: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Of the tensors of an adapter, those of this head that steps train, and those that are fitted, as the head calls them."""
    prefix = f"heads.{name}."
    own = {key: tensor for key, tensor in tensors.items() if key.startswith(prefix)}
    start = prefix + head.fitted
    fitted = {key.removeprefix(start): tensor for key, tensor in own.items() if head.fitted and key.startswith(start)}
    return {key: tensor for key, tensor in own.items() if not (head.fitted and key.startswith(start))}, fitted
