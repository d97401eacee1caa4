"""``adapt data init``."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Annotated

import typer

from etude.adapters.errors import UserError
from etude.cli.verbosity import quiet


def init(
    folder: Annotated[Path, typer.Argument(help="Folder of recordings with annotation files, or of isolated notes.")],
    group: Annotated[
        str | None, typer.Option(help=r"Regular expression for session or player in the paths, e.g. 'player(\d+)'.")
    ] = None,
    recipe: Annotated[Path | None, typer.Option(help="Where the recipe goes; NAME.yaml by default.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace a table and a recipe that exist already.")] = False,
) -> None:
    """Write down what a folder holds: a table of its recordings in splits, and a recipe whose heads fit the labels."""
    from etude.adapters.recipe.starter import MANIFEST, NOTES, found_in, starter
    from etude.adapters.storage.atomic import replace_file
    from etude.cli.contents import contents, print_contents

    data = found_in(folder, group)
    table = folder / (MANIFEST if data["name"] == "folder" else NOTES)
    found = starter(folder, data)
    target = recipe or Path(f"{found.name}.yaml")
    for path, fix in ((table, "train on it"), (target, "name another with --recipe")):
        if path.exists() and not force:
            raise UserError("exists already", where=str(path), fix=f"{fix}, or pass --force to replace it")
    rows = found.rows()
    with replace_file(table) as partial, partial.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    with replace_file(target) as partial:
        partial.write_text(starter(folder).text(target.parent), encoding="utf-8")
    for notice in found.dataset.notices:
        typer.echo(f"notice: {notice}", err=True)
    if quiet():
        typer.echo(f"{table}\n{target}")
        return
    print_contents(contents(found.dataset.check()[0]))
    typer.echo(f"{table}: correct it where it is wrong\n{target}: run it with 'adapt train {target}'")
