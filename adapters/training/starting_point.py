"""Training that starts from a trained adapter: what it changed in the backbone, its layer mix, heads of the same labels."""

from __future__ import annotations

from pathlib import Path

from etude.adapters import artifact
from etude.adapters.artifact import RECIPE, Artifact
from etude.adapters.errors import UserError
from etude.adapters.model.adapted import AdaptedModel
from etude.adapters.model.build import mixed_layers, trained_recipe
from etude.adapters.recipe.schema import Recipe


def start_from(model: AdaptedModel, recipe: Recipe, folder: Path) -> tuple[Artifact, str]:
    """Copy what fits of the adapter in ``folder`` into ``model``; returns the adapter, and in words what was taken.

    Heads start anew unless the adapter has one of the same name with the same labels and shapes. Raises :class:`UserError` for
    an adapter of another backbone, with another method or with other mixed layers.
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
    taken = [name for name in model.heads if _fits(name, model, origin)]
    prefixes = tuple(f"heads.{name}." for name in taken)
    state |= {
        name: tensor for name, tensor in origin.tensors.items() if not name.startswith("heads.") or name.startswith(prefixes)
    }
    model.load_trainable(state)
    new = [name for name in model.heads if name not in taken]
    parts = ["the method", "the layer mix", *(f"the head '{name}'" for name in taken)]
    text = f"starts from {folder}: {', '.join(parts)}" + "".join(f"; the head '{name}' is new" for name in new)
    return origin, text


def _fits(head: str, model: AdaptedModel, origin: Artifact) -> bool:
    """Whether ``origin`` has this head, for the same labels in the same order and of the same size."""
    prefix = f"heads.{head}."
    own = {name: value.shape for name, value in model.trainable_state().items() if name.startswith(prefix)}
    other = {name: value.shape for name, value in origin.tensors.items() if name.startswith(prefix)}
    return own == other and origin.manifest.labels.get(head) == model.heads[head].labels
