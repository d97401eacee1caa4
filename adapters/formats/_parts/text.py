"""Text as files have it, and as a line can hold it."""

from __future__ import annotations

import codecs
from collections.abc import Iterable
from pathlib import Path

from etude.adapters.errors import UserError

UTF_16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
"""What a file in UTF-16 begins with."""


def beginning(start: bytes) -> str:
    """The text that a file begins with, without the blank lines before it; what is no text is replaced."""
    return start.decode("utf-16" if start.startswith(UTF_16) else "utf-8-sig", "replace").lstrip()


def first_line(start: bytes) -> str:
    """The first line that is not blank."""
    return next(iter(beginning(start).splitlines()), "")


def read_text(path: Path) -> str:
    """A text file in UTF-8, or in UTF-16 if it says so, with line ends as here.

    Raises :class:`UserError` for another one, :class:`OSError` where it cannot be read.
    """
    content = path.read_bytes()
    try:
        text = content.decode("utf-16" if content.startswith(UTF_16) else "utf-8-sig")
    except UnicodeDecodeError:
        raise UserError("is not a UTF-8 text file", fix="save it as UTF-8") from None
    return text.replace("\r\n", "\n").replace("\r", "\n")


def to_number(text: str | None) -> float | None:
    """The number that a text is, if it is one."""
    try:
        return float(text or "")
    except ValueError:
        return None


def one_line(text: str) -> str:
    """A text without line ends, tabs and what else cannot be seen."""
    return " ".join("".join(letter if letter.isprintable() else " " for letter in text).split())


def listed(names: Iterable[str]) -> str:
    """Names in quotes, the last after 'and'."""
    quoted = [f"'{name}'" for name in names]
    return " and ".join([", ".join(quoted[:-1]), quoted[-1]] if len(quoted) > 1 else quoted)
