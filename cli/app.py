"""The command ``adapt``. Nothing heavy is imported before a command needs it."""

from __future__ import annotations

import errno
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from etude import __version__
from etude.adapters.errors import Problem, UserError
from etude.cli import cache, data, embed, evaluate, inspect, merge, predict, pretrain, recipes, train
from etude.cli.launched import speaks, tell_launcher, told_once

REFUSALS = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES})
"""What a full or protected disk answers, whichever library was writing."""


class Commands(TyperGroup):
    """All commands: exit code 2 and one line per problem for a user's mistake, 130 for Ctrl-C, never a traceback for either."""

    def invoke(self, ctx: Any) -> Any:
        """Run the command named on the command line."""
        try:
            with told_once():
                return super().invoke(ctx)
        except UserError as error:
            problems = error.problems
        except OSError as error:
            if error.errno not in REFUSALS:
                raise
            problems = (Problem(str(error.strerror), str(error.filename or ""), "free some space or name another place"),)
        except KeyboardInterrupt:
            if speaks():
                typer.echo("interrupted", err=True)
            raise typer.Exit(130) from None
        text = "\n".join(f"error: {problem}" for problem in problems)
        typer.echo(text, err=True)
        tell_launcher(text)
        raise typer.Exit(2)


app = typer.Typer(
    name="adapt",
    cls=Commands,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
app.command("train")(train.train)
app.command("pretrain")(pretrain.pretrain)
app.command("eval")(evaluate.evaluate)
app.command("predict")(predict.predict)
app.command("embed")(embed.embed)
app.command("inspect")(inspect.inspect)
app.command("merge")(merge.merge)
app.add_typer(recipes.app, name="recipes")
app.add_typer(data.app, name="data")
app.add_typer(cache.app, name="cache")


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"etude {__version__}")
        raise typer.Exit


@app.callback()
def group(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and leave.")
    ] = False,
) -> None:
    """Train, evaluate and use small adapters on frozen music foundation models."""


def main() -> None:
    """Run the command line."""
    app()
