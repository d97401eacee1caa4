"""``adapt count``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def count(
    adapter: Annotated[Path, typer.Argument(help="Adapter folder.")],
    recording: Annotated[Path, typer.Argument(help="Audio file.")],
) -> None:
    """Say how many records of each kind an adapter finds."""
    from etude.adapters.inference.session import Session  # here, so that 'adapt --help' does not import torch

    for name, layer in Session(adapter)(recording).items():
        typer.echo(f"{name}: {len(layer)}")
