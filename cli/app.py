"""The command ``adapt``. Nothing heavy is imported before a command needs it."""

from __future__ import annotations

import sys

import typer

from etude.cli import data, evaluate, inspect, predict, recipes, train

app = typer.Typer(
    name="adapt",
    help="Train, evaluate and use small adapters on frozen music foundation models.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.command("train")(train.train)
app.command("eval")(evaluate.evaluate)
app.command("predict")(predict.predict)
app.command("inspect")(inspect.inspect)
app.add_typer(recipes.app, name="recipes")
app.add_typer(data.app, name="data")


def main() -> None:
    """Run the command line: exit code 2 and one line per problem for a user's mistake, 130 for Ctrl-C."""
    from etude.adapters.errors import UserError

    try:
        app()
    except UserError as error:
        for problem in error.problems:
            print(f"error: {problem}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        sys.exit(130)
