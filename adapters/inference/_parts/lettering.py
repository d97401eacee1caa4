"""Names in pictures, whatever their script: matplotlib's own font has no Chinese, Japanese or Korean.

What it lacks is taken from the fonts of the system; what none of them has is written as code points, ``\\u98a4``, not as boxes.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache

from matplotlib.font_manager import FontEntry, fontManager, get_font
from matplotlib.text import Text

OWN = "DejaVu Sans"
NO_LETTERS = ("Last Resort", "Emoji")
"""Fonts that have a box for everything, and those whose pictures matplotlib cannot draw."""
PACKAGE = "fonts-noto-cjk"


def letter(*texts: Text) -> None:
    """Let each of ``texts`` show its string as it is: no formula, every character in a font that has it."""
    for text in texts:
        shown = legible(text.get_text())
        text.set(text=shown, parse_math=False, fontfamily=[OWN, *dict.fromkeys(filter(None, map(_family, shown)))])


def legible(text: str) -> str:
    """``text``, with code points in the place of characters that no font has."""
    lost = set(undrawable(text))
    return "".join(char.encode("ascii", "backslashreplace").decode() if char in lost else char for char in text)


def undrawable(text: str) -> str:
    """The characters of ``text`` that no installed font has, each once."""
    return "".join(char for char in dict.fromkeys(text) if char.isprintable() and _family(char) is None)


@cache
def _family(char: str) -> str | None:
    return next((font.name for font in _fonts() if ord(char) in _characters(font.fname)), None)


def _fonts() -> Iterator[FontEntry]:
    """Matplotlib's own font first, then upright ones of usual weight by name."""
    yield from sorted(
        (font for font in fontManager.ttflist if not any(part in font.name for part in NO_LETTERS)),
        key=lambda font: (font.name != OWN, font.style != "normal", font.weight not in (400, "normal", "regular"), font.name),
    )


@cache
def _characters(file: str) -> frozenset[int]:
    try:
        return frozenset(get_font(file).get_charmap())
    except (OSError, RuntimeError):  # a font that has gone, or is none
        return frozenset()
