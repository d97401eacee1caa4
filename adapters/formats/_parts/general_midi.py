"""Instruments by name as General MIDI numbers them."""

from __future__ import annotations

import re
from functools import cache

SAME = {"double bass": "contrabass", "saxophone": "alto sax", "guzheng": "koto", "singing": "voice oohs", "horn": "french horn"}
"""What General MIDI calls otherwise."""


def program_of(instrument: str) -> int | None:
    """The program (0-127) of this name, else the first one whose name has all its words; ``None`` where none has."""
    words = _words(SAME.get(" ".join(_words(instrument)), instrument))
    if not words:
        return None
    same = [program for program, name in enumerate(_names()) if name == words]
    return next(iter([*same, *(program for program, name in enumerate(_names()) if set(words) <= set(name))]), None)


def _words(name: str) -> tuple[str, ...]:
    return tuple(re.findall(r"[^\W\d_]+", name.casefold()))


@cache
def _names() -> tuple[tuple[str, ...], ...]:
    from pretty_midi import program_to_instrument_name

    return tuple(_words(program_to_instrument_name(program)) for program in range(128))
