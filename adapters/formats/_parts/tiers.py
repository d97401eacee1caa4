"""Tracks of labels, which ELAN and Praat call tiers: which of them holds what, and how they make records."""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from etude.adapters import registry
from etude.adapters.annotations import Annotation, Kind, Mark, kind_of
from etude.adapters.errors import Problem, UserError, nearest
from etude.adapters.formats import Contents, Entry, Reading
from etude.adapters.formats._parts import pitch
from etude.adapters.formats._parts.columns import ALIASES
from etude.adapters.formats._parts.text import listed, number, one_line

TOLERANCE = 0.00101
"""Seconds by which the times of one record may differ between tiers: 1 ms, and the rounding of it."""
VALUES = ("pitch", "instrument", "confidence")
"""What tiers say of a record beside its text."""


@dataclass(slots=True)
class Tier:
    """``marks`` of which only the text says something, unless the format knows more, and what is wrong with others."""

    name: str
    marks: list[Mark] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)

    @property
    def base(self) -> tuple[str, str]:
        """Its name without the number of a further tier for what overlaps, and that number."""
        match = re.fullmatch(r"(.*\D) (\d+)", self.name.strip())
        return (match[1], match[2]) if match else (self.name.strip(), "")


def place(tier: str, start: float) -> str:
    """Where a mark is."""
    return f", tier '{tier}' at {start:g} s"


def contents(tiers: Iterable[Tier], how: Reading, what: str) -> Contents:
    """The entries in the tiers of a file that is ``what`` ("an ELAN file").

    Tiers are taken by their names: as ``how`` says, else as :data:`ALIASES` and the kinds of annotation are called. A single
    tier is taken whatever its name. Marks of several tiers with equal times are one record. Raises :class:`UserError` for a
    tier that ``how`` names and that is not there, and where it is not clear which holds the classes.
    """
    kind, tiers = kind_of(how.kind), list(tiers)
    filled = [tier for tier in tiers if tier.marks or tier.problems]
    roles, others = _roles(tiers, filled, kind, how, what)
    found = Contents()
    taken = [tier for _, own in roles for tier in own.values()]
    for tier in filled:
        if tier in taken or tier in others.values():
            found.problems += tier.problems
    if unread := [tier.name for tier in filled if tier not in taken and tier not in others.values()]:
        found.notices.append(
            Problem(f"holds {listed(unread)}, which is not read", fix="name a tier in data.tiers if it matters")
        )
    for _, own in roles:
        found.entries += _records(own, kind, found)
    for (name, _), tier in others.items():
        found.entries += [Entry(kind_of(name).cells(mark), place(tier.name, mark.start), name) for mark in tier.marks]
    return found
