"""``adapt data convert``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from etude.adapters.errors import UserError


def convert(
    recipe: Annotated[str, typer.Argument(help="Recipe file or packaged recipe, manifest CSV, or folder.")],
    out: Annotated[Path, typer.Argument(help="Folder that is made.")],
    overrides: Annotated[list[str] | None, typer.Argument(help="section.field=value")] = None,
    link: Annotated[bool, typer.Option("--link", help="Link the recordings instead of copying them.")] = False,
) -> None:
    """Write a data set as a folder of recordings, one CSV of events for each, and a manifest of all."""
    import shutil

    import yaml

    from etude.adapters.datasets._parts.manifest_writer import write_manifest
    from etude.adapters.model.build import named_dataset
    from etude.cli.folders import check_writable

    if out.exists() or out.is_symlink():
        raise UserError("exists already", where=str(out), fix="name another folder")
    check_writable(out, "OUT")
    dataset = named_dataset(recipe, overrides or [])
    partial = out.with_name(f".{out.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    try:
        count = sum(1 for _ in write_manifest(dataset, partial, link=link))
        partial.rename(out)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    for notice in dataset.notices:
        typer.echo(f"notice: {notice}", err=True)
    names = {"notes": "techniques", "tags": "tags"}
    classes = {names[kind]: list(own) for kind, own in dataset.classes.items() if own}
    data = {"name": "manifest", "root": str(out), **classes}
    typer.echo(f"{out}: {count} recordings; licence: {dataset.licence}")
    typer.echo(yaml.safe_dump({"data": data}, sort_keys=False, allow_unicode=True).rstrip())
