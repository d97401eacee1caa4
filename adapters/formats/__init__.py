"""The contract of a file format for annotations, and the one way to read and to write them.

Times are seconds from the start of the recording, whatever its sample rate; pitches are MIDI numbers.
"""

from __future__ import annotations

from abc import ABC
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from etude.adapters import registry
from etude.adapters.annotations import Annotation, Kind, Row, alike, kind_of
from etude.adapters.errors import Problem, UserError
from etude.adapters.formats._parts.text import listed
from etude.adapters.storage.atomic import replace_file

START_BYTES = 65_536
"""What a format is told by."""


@dataclass(frozen=True, slots=True)
class Origin:
    """Where records come from: the recording, its length in seconds, and the adapter that found them (``None``: a person)."""

    source: Path
    duration: float
    adapter: str | None = None


@dataclass(frozen=True, slots=True)
class Reading:
    """How a file is to be read."""

    kind: str = "notes"
    """What its records are, where it does not say so itself."""
    labels: Mapping[str, str] | None = None
    """Raw names of classes -> class names; a name that it lacks is a problem."""
    columns: Mapping[str, str] = field(default_factory=dict)
    """Columns of the kind -> what the header of a table calls them."""
    tiers: Mapping[str, str] = field(default_factory=dict)
    """Columns of the kind -> the names of the tiers that hold them."""
    duration: float | None = None
    """Of the recording, in seconds; bounds the times."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One record as a file has it: the ``cells`` that its kind parses, by column, and its ``place`` in the file, such as
    ``:12``; ``kind`` where the file says it."""

    cells: Mapping[str, str]
    place: str = ""
    kind: str = ""


@dataclass(slots=True)
class Contents:
    """The entries of a file; what is wrong with it, and what was guessed about it, both without the name of the file.

    ``kinds`` are those that it knows all about, even if it has no record of them.
    """

    entries: list[Entry] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    notices: list[Problem] = field(default_factory=list)
    kinds: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Read:
    """What :func:`read_annotation` found: the valid records, and *every* problem, each with its place."""

    annotation: Annotation = field(default_factory=Annotation)
    problems: list[Problem] = field(default_factory=list)
    notices: list[Problem] = field(default_factory=list)


class Format(ABC):
    """A file format; its name is that of its file. It can be written, or read, or both: what it lacks it does not define."""

    suffix: ClassVar[str]
    """What the names of its files end in."""
    other_suffixes: ClassVar[tuple[str, ...]] = ()
    """What else they may end in."""

    def holds(self, kind: Kind) -> bool:
        """Whether it can hold records of ``kind``."""
        return True

    def recognises(self, start: bytes) -> bool:
        """Whether a file that begins with ``start``, up to ``START_BYTES``, is one; of no file is this true of two formats."""
        return False

    def read(self, path: Path, how: Reading) -> Contents:
        """What is in a file that it recognises. Raises :class:`UserError` or :class:`OSError` where nothing can be read."""
        raise NotImplementedError

    def write(self, path: Path, annotation: Annotation, origin: Origin) -> None:
        """Write an annotation whose kinds it holds. Raises :class:`UserError` for records that it cannot hold all the same."""
        raise NotImplementedError


def format_of(name: str) -> Format:
    """The format of this name. Raises :class:`UserError` for an unknown one."""
    found: Format = registry.find("formats", name)()
    return found


def _able(ability: str) -> tuple[str, ...]:
    formats = registry.usable("formats")
    return tuple(name for name, one in formats.items() if getattr(one, ability) is not getattr(Format, ability))


def readable() -> tuple[str, ...]:
    """The names of the formats that can be read."""
    return _able("read")


def writable() -> tuple[str, ...]:
    """The names of the formats that can be written."""
    return _able("write")


def recognise(path: Path) -> Format:
    """The format of a file, told by its content, and by its suffix where that says nothing.

    Raises :class:`UserError` for a file that cannot be read, and for one in no format that is known.
    """
    try:
        with path.open("rb") as file:
            start = file.read(START_BYTES)
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        reason = getattr(error, "strerror", None) or str(error)
        raise UserError(f"cannot be read: {reason}", where=str(path), fix="check the path") from None
    formats = [format_of(name) for name in readable()]
    for known in (
        lambda one: one.recognises(start),
        lambda one: path.suffix.lower() in (one.suffix.lower(), *one.other_suffixes),
    ):
        if found := next(filter(known, formats), None):
            return found
    what = "is empty" if not start.strip() else "is no annotation in a format that is known"
    raise UserError(what, where=str(path), fix=f"known: {', '.join(readable())}")


def read_annotation(path: Path, how: Reading | None = None) -> Read:
    """Read an annotation file in any format; never raises for what is in it."""
    how = how or Reading()
    try:
        reader = recognise(path)
    except UserError as error:
        return Read(problems=list(error.problems))
    try:
        contents = reader.read(path, how)
    except UserError as error:
        contents = Contents(problems=list(error.problems))
    except OSError as error:
        contents = Contents(problems=[Problem(f"cannot be read: {error.strerror}", fix="check the path")])
    problems, notices = (
        [Problem(one.what, f"{path}{one.where}", one.fix) for one in found] for found in (contents.problems, contents.notices)
    )
    records: dict[str, list[Any]] = {name: [] for name in contents.kinds}
    for entry in contents.entries:
        name = entry.kind or how.kind
        row = Row(entry.cells, how.columns, how.labels if name == how.kind else None)
        try:
            records.setdefault(name, []).append(kind_of(name).parse(row, how.duration))
        except UserError as error:
            problems += [Problem(problem.what, f"{path}{entry.place}", problem.fix) for problem in error.problems]
    for name, found in records.items():
        for names in alike(map(kind_of(name).class_of, found)):
            what = f"{listed(names)} differ only in case, spaces or Unicode form"
            problems.append(Problem(what, str(path), "write one of them everywhere, or map them in data.labels"))
    return Read(Annotation(records or {how.kind: []}), problems, notices)


def left_out(format: str, kinds: Iterable[str], where: str) -> list[Kind]:
    """Those of ``kinds`` that ``format`` cannot hold. Raises :class:`UserError` if it holds none; ``where`` has found them."""
    found = [kind_of(name) for name in kinds]
    lost = [kind for kind in found if not format_of(format).holds(kind)]
    if lost and len(lost) == len(found):
        what = " and ".join(f"{kind.plural} of whole recordings" if kind.whole else kind.plural for kind in lost)
        fitting = [name for name in writable() if all(map(format_of(name).holds, lost))]
        fix = f"choose another format: {', '.join(fitting)}"
        raise UserError(f"finds {what}, which {format} cannot hold", where=where, fix=fix)
    return lost


def export(
    annotation: Annotation, path_out: Path, format: str, *, duration: float, source: Path, adapter: str | None = None
) -> None:
    """Write what was found in ``source``, a recording of ``duration`` seconds, to ``path_out``, where it appears once complete.

    Kinds that ``format`` cannot hold are left out. Raises :class:`UserError` for an unknown format, a file that cannot be
    written, records that the format cannot hold, and where nothing of what was found can be held.
    """
    writer = format_of(format)
    if any(annotation.values()):
        left_out(format, annotation, adapter or str(source))
    held = Annotation({kind.name: layer for kind, layer in annotation.by_kind() if writer.holds(kind)})
    with replace_file(path_out) as partial:
        writer.write(partial, held, Origin(source, duration, adapter))
