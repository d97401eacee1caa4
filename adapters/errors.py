"""The one error type for mistakes a user can fix."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Problem:
    """What is wrong, where (file, row, recipe path) and how to fix it; each a short phrase without a full stop."""

    what: str
    where: str = ""
    fix: str = ""

    def __str__(self) -> str:
        place = f"{self.where}: " if self.where else ""
        remedy = f" ({self.fix})" if self.fix else ""
        return f"{place}{self.what}{remedy}"


class UserError(Exception):
    """Bad input. The command line prints one line per problem and leaves with exit code 2, without a traceback."""

    def __init__(self, what: str | Sequence[Problem], *, where: str = "", fix: str = "") -> None:
        self.problems: tuple[Problem, ...] = (Problem(what, where, fix),) if isinstance(what, str) else tuple(what)
        super().__init__("\n".join(map(str, self.problems)))


def nearest(name: str, known: Iterable[str]) -> str:
    """A remedy for an unknown ``name``: the closest known name, or the list of them."""
    names = sorted(known)
    close = difflib.get_close_matches(name, names, n=1)
    if close:
        return f"did you mean '{close[0]}'?"
    return f"known: {', '.join(names)}" if names else "none are known"
