"""Merged export: the backbone's weights with an adapter's updates in them, and an adapter of mix and heads only for them.

The weights are an ordinary transformers checkpoint, so programs that know nothing of adapters can use them.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import safetensors.torch
import yaml
from torch import nn

from etude.adapters import artifact
from etude.adapters.artifact import Artifact, Manifest
from etude.adapters.backbones import Backbone
from etude.adapters.backbones._parts.weights import HUB_NAME
from etude.adapters.errors import UserError
from etude.adapters.methods._parts.site_update import SiteUpdate
from etude.adapters.model.build import build_backbone, build_method, trained_recipe
from etude.adapters.recipe.schema import parse_recipe
from etude.adapters.storage.atomic import replace_folder
from etude.hub_cards.card import render_card

BACKBONE, ADAPTER = "backbone", "adapter"
MERGED = "blocks."
"""How the names of those tensors begin that are merged."""


def merge(adapter: Path, out: Path, *, weights: str | None = None, force: bool = False) -> None:
    """Write the folders ``out/backbone`` (weights) and ``out/adapter`` (what reads them, with the method ``heads_only``).

    ``weights`` as in :class:`Session`. Raises :class:`UserError` for an adapter that changes nothing inside the backbone, for
    folders that exist already unless ``force`` is set, and when the disk refuses; nothing is left behind then.
    """
    loaded = artifact.load(adapter)
    if not any(name.startswith(MERGED) for name in loaded.tensors):
        raise UserError(
            "has nothing to merge: it changes nothing inside the backbone", where=str(adapter), fix="use it as it is"
        )
    out = out.expanduser().resolve()
    existing = [folder for folder in (out / BACKBONE, out / ADAPTER) if folder.exists()]
    if existing and not force:
        raise UserError("exists already", where=str(existing[0]), fix="pass --force to replace it, or name another folder")
    recipe = trained_recipe(loaded, weights)
    backbone = build_backbone(recipe.backbone)
    artifact.check_backbone(loaded, backbone)
    merge_into(backbone, build_method(recipe).site_updates(backbone, loaded.tensors))
    fresh = not out.exists()
    try:
        replace_folder(out / BACKBONE, _checkpoint(backbone, loaded.manifest))
        _write_adapter(out, loaded, backbone.fingerprint())
    except BaseException:
        if fresh:
            shutil.rmtree(out, ignore_errors=True)
        raise


def merge_into(backbone: Backbone, updates: Mapping[str, SiteUpdate]) -> None:
    """Change the weights of ``backbone`` in place; ``updates`` by canonical site."""
    for site, update in updates.items():
        linear = backbone.model.get_submodule(backbone.sites[site])
        assert isinstance(linear, nn.Linear)
        weight, bias = update.merged(linear.weight, linear.bias)
        linear.weight = nn.Parameter(weight, requires_grad=False)
        if bias is not None:
            linear.bias = nn.Parameter(bias, requires_grad=False)


def _checkpoint(backbone: Backbone, manifest: Manifest) -> dict[str, bytes]:
    """The files of a transformers checkpoint, by name."""
    config = cast(Any, backbone.model.config).to_dict()
    config |= {"architectures": [type(backbone.model).__name__], "sample_rate": backbone.sample_rate}
    tensors = {name: tensor.contiguous() for name, tensor in backbone.model.state_dict().items()}
    return {
        "config.json": (json.dumps(config, indent=2, sort_keys=True) + "\n").encode(),
        "model.safetensors": safetensors.torch.save(tensors, {"format": "pt"}),
        "README.md": _readme(manifest).encode(),
    }


def _readme(manifest: Manifest) -> str:
    """The licence stands where it is looked for when the folder is loaded as weights."""
    base = manifest.backbone
    fields = {"license": base.licence, **({"base_model": base.id} if _on_hub(base.id) else {})}
    front_matter = yaml.safe_dump(fields, sort_keys=False, allow_unicode=True)
    licences = f"Licences: base weights {base.licence}; training data {manifest.data_licence}.\n"
    return f"---\n{front_matter}---\n\n# {manifest.name}, merged\n\n{_origin(manifest)}\n{licences}"


def _origin(manifest: Manifest) -> str:
    base = manifest.backbone
    source = base.id if _on_hub(base.id) else Path(base.id).name  # nobody else's business where it lay
    revision = f", revision `{base.revision}`" if base.revision else ""
    return (
        f"The weights of `{source}`{revision} (fingerprint `{base.fingerprint[:16]}`) with the adapter `{manifest.name}` "
        f"({manifest.method}, trained on `{manifest.dataset}`) merged into them.\n"
    )


def _on_hub(weights: str) -> bool:
    return HUB_NAME.fullmatch(weights) is not None and not Path(weights).exists()


def _write_adapter(out: Path, loaded: Artifact, fingerprint: str) -> None:
    folder = str(out / BACKBONE)
    overrides = [f"backbone.weights={json.dumps(folder)}", "backbone.revision=null", "method={name: heads_only}"]
    recipe = parse_recipe(loaded.recipe, overrides, where=str(loaded.folder / artifact.RECIPE))
    base = loaded.manifest.backbone.model_copy(update={"id": folder, "revision": None, "fingerprint": fingerprint})
    trainable = {part: 0 if part == "backbone" else count for part, count in loaded.manifest.trainable.items()}
    manifest = loaded.manifest.model_copy(update={"backbone": base, "method": recipe.method.name, "trainable": trainable})
    text = recipe.dump()
    card = render_card(manifest, loaded.metrics, text)
    artifact.save(
        out / ADAPTER,
        manifest=manifest,
        tensors={name: tensor for name, tensor in loaded.tensors.items() if not name.startswith(MERGED)},
        recipe=text,
        metrics=loaded.metrics,
        card=f"{card}\n## Base model\n\n{_origin(loaded.manifest)}",
        dtype=recipe.train.dtype,
        home=loaded.home,
    )
