"""Where an interrupted run continues: only what is trained, its optimizer, and the position in the data."""

from __future__ import annotations

import hashlib
from dataclasses import asdict, dataclass, field
from io import BytesIO
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from etude.adapters.errors import UserError
from etude.adapters.storage.atomic import replace_file


@dataclass
class Progress:
    """All of a run's state that is not in the model or the optimizer."""

    epoch: int = 0
    step: int = 0
    """Steps done within ``epoch``."""
    losses: dict[str, float] = field(default_factory=dict)
    """Sums of the loss terms over the steps of ``epoch`` so far."""
    history: list[dict[str, Any]] = field(default_factory=list)
    """One row per finished epoch."""
    best_metric: float | None = None
    best_epoch: int = -1
    best_state: dict[str, Tensor] = field(default_factory=dict)
    finished: bool = False


Checkpoint = tuple[Progress, dict[str, Tensor], dict[str, Any]]
"""Where the run was, what it had trained, and its optimizer."""


def recipe_digest(recipe: str) -> str:
    """Identifies a recipe; a checkpoint continues only its own."""
    return hashlib.sha256(recipe.encode()).hexdigest()


def save_checkpoint(path: Path, recipe: str, progress: Progress, state: dict[str, Tensor], optimizer: dict[str, Any]) -> None:
    """Write the checkpoint under a temporary name, then rename. Raises :class:`UserError` when the disk is full or refuses."""
    content = {"recipe": recipe_digest(recipe), "progress": asdict(progress), "state": state, "optimizer": optimizer}
    # By way of memory: writing to a full disk itself, torch raises a RuntimeError that says nothing of the disk.
    buffer = BytesIO()
    torch.save(content, buffer)
    with replace_file(path) as partial:
        partial.write_bytes(buffer.getbuffer())


def load_checkpoint(path: Path, recipe: str) -> Checkpoint | None:
    """The checkpoint at ``path``, or ``None``. Raises :class:`UserError` for a damaged one or another recipe's."""
    if not path.exists():
        return None
    remedy = "pass --fresh to start over, or --run to keep both"
    try:
        content = torch.load(path, weights_only=True, map_location="cpu")
        progress = Progress(**content["progress"])
        state, optimizer, digest = content["state"], content["optimizer"], content["recipe"]
    except Exception as error:  # torch.load raises a dozen unrelated types for a damaged file
        raise UserError(f"is damaged ({type(error).__name__})", where=str(path), fix=remedy) from None
    if digest != recipe_digest(recipe):
        raise UserError("holds a run of another recipe", where=str(path.parent), fix=remedy)
    return progress, state, optimizer
