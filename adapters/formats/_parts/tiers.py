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
from etude.adapters.formats._parts.columns import ALIASES, HERTZ, OPTIONAL, VAGUE, fold
from etude.adapters.formats._parts.text import listed, one_line, to_number

TOLERANCE = 0.001 + 1e-6
"""Seconds by which the times of one record may differ from tier to tier."""
VALUES = ("pitch", *OPTIONAL)
"""What further tiers say of the records whose classes one tier names."""

Placed = tuple[Mark, str]
"""A mark and its place in the file."""


@dataclass(slots=True)
class Tier:
    """Marks, of which only the text says something unless the format knows more; ``problems`` are what is wrong with others."""

    name: str
    marks: list[Placed] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)

    def add(self, mark: Mark) -> None:
        """Add a mark at the end."""
        self.marks.append((mark, self.place(mark.start)))

    def place(self, time: float) -> str:
        """What is at ``time``, as messages call it."""
        return f", tier '{self.name}' at {time:g} s"

    @property
    def base(self) -> str:
        """Its name without the number that a further tier for what overlaps has."""
        return re.sub(r"(?<=\S) \d+$", "", self.name.strip())

    @property
    def number(self) -> str:
        """That number, empty of the first."""
        return self.name.strip()[len(self.base) :]


def contents(tiers: Sequence[Tier], how: Reading, what: str) -> Contents:
    """The entries in the tiers of a file that is ``what`` ("an ELAN file").

    Tiers are known by their names: as ``how`` says, else as columns and kinds of annotation are called. A single tier is read
    whatever its name. Marks of several tiers at the same times are one record. Raises :class:`UserError` for a tier that
    ``how`` names and that is not there, and where it cannot be told which tier holds the classes.
    """
    kind = kind_of(how.kind)
    filled = [tier for tier in tiers if tier.marks or tier.problems]
    roles = _roles(tiers, filled, kind, how)
    names = [name for name in registry.names("annotations") if name != kind.name]
    kinds = {name: [tier for tier in filled if tier.base == name] for name in names}
    read = [id(tier) for own in roles.values() for _, tier in own] + [id(tier) for own in kinds.values() for tier in own]
    unread = [tier.name for tier in filled if id(tier) not in read]
    twice = [own for own in roles.values() if len({group for group, _ in own}) < len(own)]
    if twice or (unread and not roles[kind.label]):
        asked = f"looks like {what} with the tiers {listed(tier.name for tier in filled)}, which holds the {kind.label}s?"
        first = filled[0].name
        raise UserError(asked, fix=f"set data.tiers, as in {{{kind.label}: {first}}}, or --tiers {kind.label}={first}")
    found = Contents(problems=[problem for tier in filled if id(tier) in read for problem in tier.problems])
    if unread:
        found.notices.append(Problem(f"has {listed(unread)}, not read", fix="name it in data.tiers if it matters"))
    for group in dict.fromkeys(group for own in roles.values() for group, _ in own):
        by_role = {role: tier for role, own in roles.items() for its, tier in own if its == group}
        found.entries += [Entry(kind.cells(mark), place) for mark, place in _records(by_role, kind, found)]
    for name, others in kinds.items():
        found.entries += [Entry(kind_of(name).cells(mark), place, name) for tier in others for mark, place in tier.marks]
    return found


def _roles(tiers: Sequence[Tier], filled: Sequence[Tier], kind: Kind, how: Reading) -> dict[str, list[tuple[str, Tier]]]:
    """Column of the kind -> the tiers that hold it, each with the number of those that it belongs to."""
    roles: dict[str, list[tuple[str, Tier]]] = {role: [] for role in _columns(kind)}
    problems = [Problem(f"no tier holds the {role}", fix=nearest(role, roles)) for role in how.tiers if role not in roles]
    for role, name in how.tiers.items():
        chosen = [("" if tier.name == name else tier.number, tier) for tier in tiers if name in (tier.name, tier.base)]
        if not chosen:
            problems.append(Problem(f"has no tier '{name}'", fix=nearest(name, [tier.name for tier in tiers])))
        elif role in roles:
            roles[role] = chosen
    if problems:
        raise UserError(problems)
    given = [id(tier) for own in roles.values() for _, tier in own]
    rest = [tier for tier in filled if id(tier) not in given]
    for role in [role for role in roles if role not in how.tiers]:
        called = [tier for tier in rest if role == _role(tier, kind, alone=len(filled) == 1)]
        exact = [tier for tier in called if fold(tier.base) == role]
        roles[role] = [(tier.number, tier) for tier in exact or called]
    return roles


def _columns(kind: Kind) -> tuple[str, ...]:
    """What tiers can hold of a kind."""
    return (kind.label, *(VALUES if kind.pitched else ()))


def _role(tier: Tier, kind: Kind, alone: bool) -> str | None:
    """What a tier holds: its name says so, or its texts where the name may be that of anything or the tier is ``alone``."""
    name = fold(tier.base)
    for role in _columns(kind):
        if name in (role, *ALIASES.get(role, ())) or (role == "pitch" and name in HERTZ):
            return role
    if not (name in (kind.name, *VAGUE) or (alone and name not in registry.names("annotations"))):
        return None
    texts = [mark.text for mark, _ in tier.marks if mark.text and mark.pitch is None]
    pitches = kind.pitched and texts and all(pitch.of_text(text) is not None for text in texts)
    return "pitch" if pitches else kind.label


def _records(by_role: Mapping[str, Tier], kind: Kind, found: Contents) -> list[Placed]:
    """The records that tiers hold together; what is doubtful about them is told to ``found``."""
    marks: list[Placed] = []
    for role, tier in by_role.items():
        values = tier.marks if role == kind.label else _valued(tier, role, found.problems)
        marks, alone = joined(marks, values)
        if 0 < alone < len(marks):
            what = f"has {alone} of {len(values)} marks of the tier '{tier.name}' at times of their own"
            found.notices.append(Problem(what, fix="check that each is a record of its own"))
    return marks


def _valued(tier: Tier, role: str, problems: list[Problem]) -> list[Placed]:
    """The marks of a tier whose texts are values of ``role``; others are ``problems``."""
    found = []
    for mark, place in tier.marks:
        plain = replace(mark, text="")
        if role == "instrument":
            found.append((replace(plain, instrument=mark.text), place))
        elif role == "confidence" and (value := to_number(mark.text)) is not None:
            found.append((replace(plain, confidence=value), place))
        elif role == "pitch" and (value := _pitch(tier, mark)) is not None:
            found.append((replace(plain, pitch=value), place))
        else:
            fix = "0 to 1 for confidence, a MIDI number or a note such as C4 for pitch"
            problems.append(Problem(f"{role} is {mark.text!r}", place, fix))
    return found


def _pitch(tier: Tier, mark: Mark) -> float | None:
    if mark.pitch is not None:
        return mark.pitch
    return pitch.of_hz(to_number(mark.text) or 0.0) if fold(tier.base) in HERTZ else pitch.of_text(mark.text)


def joined(ones: Sequence[Placed], others: Sequence[Placed]) -> tuple[list[Placed], int]:
    """Marks of two sources, those at the same times as one, and how many of the ``others`` stay alone."""
    left = sorted(others, key=lambda placed: (placed[0].start, placed[0].end))
    starts = [mark.start for mark, _ in left]
    free = [True] * len(left)
    found = []
    for one, place in ones:
        for index in range(bisect_left(starts, one.start - TOLERANCE), len(left)):
            other = left[index][0]
            if other.start > one.start + TOLERANCE:
                break
            if free[index] and abs(other.end - one.end) <= TOLERANCE:
                free[index] = False
                one = _union(one, other)
                break
        found.append((one, place))
    alone = [placed for placed, is_free in zip(left, free, strict=True) if is_free]
    return found + alone, len(alone)


def _union(one: Mark, other: Mark) -> Mark:
    """What either says, and where both do, the first."""
    values = {name: getattr(one, name) for name in VALUES}
    missing = {name: getattr(other, name) for name, value in values.items() if value is None}
    return replace(one, text=one.text or other.text, **missing)


def tiers_of(annotation: Annotation, duration: float) -> list[Tier]:
    """What :func:`contents` reads back, in milliseconds: each kind in as many tiers as it has marks that overlap."""
    found = []
    for kind, layer in annotation.by_kind():
        name = kind.label if kind.pitched else kind.name
        groups = _apart([_rounded(mark) for mark in kind.marks(layer, duration)])
        for index, marks in enumerate(groups):
            number = f" {index + 1}" if index else ""
            found.append(tier := Tier(f"{name}{number}"))
            for mark in marks:
                tier.add(replace(mark, text=one_line(mark.text)))
            for value in VALUES if kind.pitched else ():
                known = [mark for mark in marks if getattr(mark, value) is not None]
                found += [tier := Tier(f"{value}{number}")] if known else []
                for mark in known:
                    tier.add(replace(mark, text=_text(getattr(mark, value))))
    return found


def _rounded(mark: Mark) -> Mark:
    start, end = round(mark.start, 3), round(mark.end, 3)
    return replace(mark, start=start, end=end if mark.start == mark.end else max(end, round(start + 0.001, 3)))


def _text(value: str | float) -> str:
    return one_line(value) if isinstance(value, str) else f"{value:.6g}"


def _apart(marks: Iterable[Mark]) -> list[list[Mark]]:
    """Marks in as few rows as it takes for none to overlap in a row; one row, if there is none."""
    rows: list[list[Mark]] = [[]]
    for mark in sorted(marks, key=lambda mark: (mark.start, mark.end)):
        row = next((row for row in rows if not row or row[-1].end <= mark.start), None)
        if row is None:
            rows.append(row := [])
        row.append(mark)
    return rows
