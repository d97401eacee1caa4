"""How much a command says: ``-q`` and ``-v``, which every command takes, before its name or after it."""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stderr
from importlib.metadata import version
from typing import Any

import typer

PACKAGES = ("etude", "torch", "transformers", "peft", "accelerate", "numpy")
"""Whose versions ``-v`` tells."""
OPTIONS = ("quiet", "verbose")
_chosen: set[str] = set()


def choose(ctx: typer.Context, param: typer.CallbackParam, value: bool) -> None:
    """Remember one of ``OPTIONS``; those of the command itself are the first to be seen."""
    if ctx.parent is None:
        _chosen.discard(str(param.name))
    if value:
        _chosen.add(str(param.name))
    if len(_chosen) > 1:
        raise typer.BadParameter("a command cannot be quiet and verbose")


def quiet() -> bool:
    """Whether to print nothing but where results are; errors are told in any case."""
    return "quiet" in _chosen


def verbose() -> bool:
    """Whether to tell what is of use in finding a fault: versions, times, tracebacks."""
    return "verbose" in _chosen


def everywhere(group: Any) -> None:
    """Give the options ``OPTIONS`` of ``group`` to all commands in it, and make them do what the options say."""
    options = [option for option in group.params if option.name in OPTIONS]
    waiting = list(group.commands.values())
    for command in waiting:
        waiting += getattr(command, "commands", {}).values()
        command.params += options
        if not hasattr(command, "commands"):
            command.callback = _heard(command.callback)


def _heard(run: Callable[..., Any]) -> Callable[..., Any]:
    def command(*args: Any, **options: Any) -> Any:
        with _as_chosen():
            return run(*args, **options)

    return command


@contextmanager
def _as_chosen() -> Iterator[None]:
    if quiet():
        with open(os.devnull, "w", encoding="utf-8") as nowhere, redirect_stderr(nowhere):
            yield
        return
    start = time.perf_counter()
    if verbose():
        found = ", ".join(f"{package} {version(package)}" for package in PACKAGES)
        typer.echo(f"python {platform.python_version()}, {found}, on {platform.platform()}", err=True)
    try:
        yield
    finally:
        if verbose():
            typer.echo(f"{time.perf_counter() - start:.1f} s", err=True)
