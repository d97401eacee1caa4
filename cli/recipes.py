"""``adapt recipes``: list, copy and check recipes."""

from __future__ import annotations

import re
import shutil
from itertools import takewhile
from pathlib import Path
from typing import Annotated

import typer

from etude.adapters.errors import UserError, nearest
from etude.cli.completion import recipe_names, recipes
from etude.cli.verbosity import quiet
from etude.recipes import packaged

app = typer.Typer(no_args_is_help=True, help="List, copy and check recipes.")


@app.command("ls")
def list_recipes() -> None:
    """List the packaged recipes."""
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table

    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    table.add_column("recipe", no_wrap=True)
    table.add_column("what it does")
    for name, path in packaged().items():
        table.add_row(name, summary(path.read_text(encoding="utf-8")))
    Console().print(table)


@app.command("cp")
def copy(
    name: Annotated[str, typer.Argument(help="Name of a packaged recipe.", autocompletion=recipe_names)],
    destination: Annotated[Path, typer.Argument(help="File or folder.")] = Path("."),
) -> None:
    """Copy a packaged recipe, to make it your own."""
    known = packaged()
    if name not in known:
        raise UserError(f"no packaged recipe '{name}'", fix=nearest(name, known))
    target = destination / known[name].name if destination.is_dir() else destination
    if not target.parent.is_dir():
        raise UserError(f"no folder '{target.parent}'", fix="create it first")
    if target.exists():
        raise UserError(f"'{target}' exists", fix="name another file, or remove it first")
    shutil.copyfile(known[name], target)
    if quiet():
        typer.echo(str(target))
        return
    from etude.adapters.recipe.reading import TASKS, task_of

    typer.echo(f"{target}: run it with 'adapt {TASKS[task_of(target)].command} {target}'")


@app.command()
def check(
    recipe: Annotated[str, typer.Argument(help="Recipe file, or the name of a packaged recipe.", autocompletion=recipes)],
    overrides: Annotated[list[str] | None, typer.Argument(help="section.field=value, e.g. train.lr=1e-3")] = None,
) -> None:
    """Print a recipe with every default filled in, or everything that is wrong with it."""
    from rich.console import Console
    from rich.syntax import Syntax

    from etude.adapters.recipe.pretraining import load_pretrain_recipe
    from etude.adapters.recipe.reading import task_of
    from etude.adapters.recipe.schema import load_recipe

    load = load_pretrain_recipe if task_of(recipe) == "pretraining" else load_recipe
    text = load(recipe, overrides or []).dump()
    console = Console()
    if console.is_terminal:
        console.print(Syntax(text, "yaml", background_color="default"))
    else:
        typer.echo(text, nl=False)


def summary(text: str) -> str:
    """The first sentence of a recipe's header comment, or its first paragraph; empty without a header."""
    header = (line.removeprefix("#").strip() for line in takewhile(lambda line: line.startswith("#"), text.splitlines()))
    return re.split(r"(?<=\.)\s", " ".join(takewhile(bool, header)), maxsplit=1)[0]
