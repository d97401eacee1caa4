"""The command ``adapt``. Nothing heavy is imported before a command needs it."""

from __future__ import annotations

import errno
import traceback
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from etude import __version__
from etude.adapters.errors import Problem, UserError
from etude.cli import cache, data, embed, evaluate, inspect, merge, predict, pretrain, recipes, train
from etude.cli.home import expand_home
from etude.cli.launched import speaks, tell_launcher, told_once
from etude.cli.verbosity import choose, everywhere, verbose

REFUSALS = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES})
"""What a full or protected disk answers, whichever library was writing."""


class Commands(TyperGroup):
    """All commands: exit code 2 and one line per problem for a user's mistake, 130 for Ctrl-C, no traceback for either."""

    def __init__(self, *args: Any, **settings: Any) -> None:
        super().__init__(*args, **settings)
        everywhere(self)

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Read the command line."""
        return super().parse_args(ctx, [expand_home(argument) for argument in args])

    def invoke(self, ctx: Any) -> Any:
        """Run the command named on the command line."""
        try:
            with told_once():
                return super().invoke(ctx)
        except UserError as error:
            problems, trace = error.problems, traceback.format_exc()
        except OSError as error:
            if error.errno not in REFUSALS:
                raise
            trace = traceback.format_exc()
            problems = (Problem(str(error.strerror), str(error.filename or ""), "free some space or name another place"),)
        except KeyboardInterrupt:
            if speaks():
                typer.echo("interrupted", err=True)
            raise typer.Exit(130) from None
        if verbose():
            typer.echo(trace, err=True, nl=False)
        text = "\n".join(f"error: {problem}" for problem in problems)
        typer.echo(text, err=True)
        tell_launcher(text)
        raise typer.Exit(2)


app = typer.Typer(
    name="adapt",
    cls=Commands,
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
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
    quiet: Annotated[
        bool,
        typer.Option("--quiet", "-q", callback=choose, expose_value=False, help="Print errors and where results are only."),
    ] = False,
    verbose: Annotated[
        bool,
        typer.Option("--verbose", "-v", callback=choose, expose_value=False, help="Print versions, time and tracebacks, too."),
    ] = False,
) -> None:
    """Train, evaluate and use small adapters on frozen music foundation models."""


def main() -> None:
    """Run the command line."""
    app()
