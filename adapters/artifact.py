"""A trained adapter on disk: a folder that says what it is, how it was made and which backbone it belongs to.

``adapter.safetensors`` holds the tensors under canonical names, ``adapter.json`` the :class:`Manifest`, ``recipe.yaml`` the
whole recipe, ``metrics.json`` every score and ``README.md`` the card. The safetensors header holds a SHA-256 of everything but
the card, which people may edit. The backbone is never in it, only its fingerprint.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import safetensors.torch
import torch
from pydantic import BeforeValidator, Field, ValidationError
from safetensors import SafetensorError, safe_open

from etude.adapters.backbones import Backbone
from etude.adapters.config import StrictModel
from etude.adapters.errors import UserError
from etude.adapters.storage.atomic import replace_folder
from etude.adapters.storage.home import home_above, steps_up

FORMAT_VERSION = 1
TENSORS, MANIFEST, RECIPE, METRICS, CARD = "adapter.safetensors", "adapter.json", "recipe.yaml", "metrics.json", "README.md"
HELD_OUT = "leave_one_group_out"
"""Among the scores: those on groups that were left out of training, of which there are no more than the training has."""
HASHED = {"manifest_sha256": MANIFEST, "recipe_sha256": RECIPE, "metrics_sha256": METRICS}
"""Header key -> the file it is the hash of."""


def plain(value: Any) -> Any:
    """``value`` as JSON can hold it: arrays and tuples as lists, and undefined (non-finite) numbers as ``None``."""
    if hasattr(value, "tolist"):
        value = value.tolist()
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    return value


def _defined(scores: Any) -> Any:
    return {name: score for name, score in plain(scores).items() if score is not None}


class BackboneRef(StrictModel):
    """The backbone an adapter belongs to; ``frame_rate`` and ``sample_rate`` in Hz."""

    name: str
    id: str
    revision: str | None = None
    fingerprint: str
    licence: str
    sample_rate: int
    frame_rate: float
    hidden_size: int
    num_blocks: int


class Manifest(StrictModel):
    """``adapter.json``: all that is needed to rebuild, cite and judge the adapter without its training data."""

    format_version: int = FORMAT_VERSION
    name: str
    created: str
    """ISO date."""
    etude_version: str
    versions: dict[str, str]
    """Of torch, transformers, peft and python."""
    seed: int
    backbone: BackboneRef
    method: str
    labels: dict[str, tuple[str, ...]]
    """Head -> class names in the order of its outputs."""
    thresholds: Annotated[dict[str, dict[str, Any]], BeforeValidator(plain)] = Field(default_factory=dict)
    """Head -> what its decoding needs, tuned on validation data."""
    statistics: Annotated[dict[str, dict[str, Any]], BeforeValidator(plain)] = Field(default_factory=dict)
    """Head -> what it must know to be rebuilt, such as its lowest pitch."""
    dataset: str
    data_licence: str
    trainable: dict[str, int]
    """Trained parameters in backbone, mix and heads."""
    scores: Annotated[dict[str, float], BeforeValidator(_defined)] = Field(default_factory=dict)
    """Headline scores; undefined ones (a class that never occurs) are left out."""
    metric: str
    """The validation metric that chose this checkpoint."""
    groups: dict[str, tuple[str, ...]] | None = None
    """Split -> the groups (sessions, players) of its recordings, ``""`` among them where one has none; ``None``: not known."""


@dataclass(frozen=True)
class Header:
    """Everything about an adapter but its tensors; ``shapes`` by canonical name, ``total_bytes`` of all its files on disk."""

    folder: Path
    manifest: Manifest
    recipe: str
    metrics: dict[str, Any]
    metadata: dict[str, str]
    shapes: dict[str, tuple[int, ...]]
    total_bytes: int


@dataclass(frozen=True)
class Artifact:
    """A loaded adapter: CPU tensors by canonical name, the recipe as YAML text, the scores by split and head, and those of
    :data:`HELD_OUT`."""

    folder: Path
    manifest: Manifest
    tensors: dict[str, torch.Tensor]
    recipe: str
    metrics: dict[str, Any]
    home: Path | None
    """The folder that relative paths of the recipe start from, if the adapter was made in it."""


def save(
    folder: Path,
    *,
    manifest: Manifest,
    tensors: Mapping[str, torch.Tensor],
    recipe: str,
    metrics: Mapping[str, Any],
    card: str,
    dtype: Literal["float16", "float32"],
    home: Path | None = None,
) -> None:
    """Write an artifact, replacing an older one in a single step; other files in ``folder`` stay.

    Floating point tensors are stored as ``dtype``; relative paths of the recipe start from ``home``. Raises :class:`UserError`
    for values that ``dtype`` cannot hold and when it cannot be written; the older artifact is then untouched.
    """
    stored = _cast(tensors, dtype)
    files = {
        MANIFEST: (manifest.model_dump_json(indent=2) + "\n").encode(),
        RECIPE: recipe.encode(),
        METRICS: (json.dumps(plain(metrics), indent=2, ensure_ascii=False) + "\n").encode(),
        CARD: card.encode(),
    }
    metadata = {
        "format_version": str(manifest.format_version),
        "backbone": manifest.backbone.id,
        "backbone_revision": manifest.backbone.revision or "",
        "backbone_fingerprint": manifest.backbone.fingerprint,
        "base_licence": manifest.backbone.licence,
        "data_licence": manifest.data_licence,
        **{key: _sha256(files[name]) for key, name in HASHED.items()},
        "tensors_sha256": _tensors_sha256(stored),
    }
    if home and (steps := steps_up(home, folder)):
        metadata["home"] = steps
    metadata["header_sha256"] = _metadata_sha256(metadata)
    files[TENSORS] = safetensors.torch.save(stored, metadata)
    replace_folder(folder, files)


def read_header(folder: Path) -> Header:
    """Read and verify all but the tensors' values.

    Raises :class:`UserError` when a file is missing, truncated, altered since it was saved, or of a newer format.
    """
    if not folder.is_dir():
        raise UserError("no such adapter folder", where=str(folder), fix="check the path, or download the adapter first")
    for name in (TENSORS, *HASHED.values()):
        if not (folder / name).is_file():
            raise UserError(f"is not a complete adapter: lacks {name}", where=str(folder), fix="copy or download it again")
    try:
        with safe_open(folder / TENSORS, framework="pt") as file:
            metadata = dict(file.metadata() or {})
            shapes = {name: tuple(file.get_slice(name).get_shape()) for name in sorted(file.keys())}
        contents = {name: (folder / name).read_bytes() for name in HASHED.values()}
    except SafetensorError as error:
        raise _damaged(folder / TENSORS, f"is truncated or damaged ({error})") from None
    except OSError as error:
        raise UserError(f"cannot be read: {error.strerror or error}", where=str(folder), fix="check its permissions") from None
    version = metadata.get("format_version", "")
    if not version.isdecimal():
        raise UserError(
            "was not written by etude, or is damaged", where=str(folder / TENSORS), fix="train or download it again"
        )
    if int(version) > FORMAT_VERSION:
        raise UserError(
            f"has adapter format {version}, this etude reads up to {FORMAT_VERSION}", where=str(folder), fix="upgrade etude"
        )
    if metadata.get("header_sha256") != _metadata_sha256(metadata):
        raise _damaged(folder / TENSORS, "has an altered header")
    for key, name in HASHED.items():
        if _sha256(contents[name]) != metadata.get(key):
            raise _damaged(folder / name, f"was altered since it was saved, or is not from the same adapter as {TENSORS}")
    try:
        manifest = Manifest.model_validate_json(contents[MANIFEST])
    except ValidationError as error:
        what = "is not a manifest that this etude knows, first at '{}'".format(".".join(map(str, error.errors()[0]["loc"])))
        raise UserError(what, where=str(folder / MANIFEST), fix="use the version of etude that wrote it") from None
    total = sum((folder / name).stat().st_size for name in (TENSORS, *HASHED.values(), CARD) if (folder / name).is_file())
    return Header(folder, manifest, contents[RECIPE].decode(), json.loads(contents[METRICS]), metadata, shapes, total)


def load(folder: Path) -> Artifact:
    """Read and verify an artifact; files that are not part of it are ignored. Raises as :func:`read_header` does."""
    header = read_header(folder)
    with safe_open(folder / TENSORS, framework="pt") as file:
        tensors = {name: file.get_tensor(name) for name in header.shapes}
    if _tensors_sha256(tensors) != header.metadata.get("tensors_sha256"):
        raise _damaged(folder / TENSORS, "holds tensors that were altered since they were saved")
    home = home_above(folder, header.metadata.get("home", ""))
    return Artifact(folder, header.manifest, tensors, header.recipe, header.metrics, home)


def check_backbone(artifact: Artifact | Header, backbone: Backbone) -> None:
    """Raise :class:`UserError` unless ``backbone`` holds the very weights that the adapter was trained on."""
    expected, found = artifact.manifest.backbone, backbone.fingerprint()
    if found != expected.fingerprint:
        at = f"{expected.id} at revision {expected.revision}" if expected.revision else expected.id
        raise UserError(
            f"was made for {expected.id} (fingerprint {expected.fingerprint[:8]}…), "
            f"the weights at {backbone.id} are others ({found[:8]}…)",
            where=str(artifact.folder),
            fix=f"load {at}, or train an adapter for {backbone.id}",
        )


def _damaged(path: Path, what: str) -> UserError:
    return UserError(what, where=str(path), fix="copy or download the adapter again")


def _cast(tensors: Mapping[str, torch.Tensor], dtype: str) -> dict[str, torch.Tensor]:
    stored = {}
    for name, tensor in tensors.items():
        target = getattr(torch, dtype) if tensor.is_floating_point() else tensor.dtype
        stored[name] = torch.empty(tensor.shape, dtype=target).copy_(tensor.detach())
        if not torch.isfinite(tensor).all():
            raise UserError(f"'{name}' holds NaN or infinite values", fix="training diverged: lower the learning rate")
        if not torch.isfinite(stored[name]).all():
            raise UserError(f"'{name}' holds values too large for {dtype}", fix="save the adapter as float32")
    return stored


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _metadata_sha256(metadata: Mapping[str, str]) -> str:
    return _sha256(json.dumps(sorted((k, v) for k, v in metadata.items() if k != "header_sha256")).encode())


def _tensors_sha256(tensors: Mapping[str, torch.Tensor]) -> str:
    digest = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name].contiguous()
        digest.update(f"{name}\n{tensor.dtype}\n{tuple(tensor.shape)}\n".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()
