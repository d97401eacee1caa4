"""What the adapters of a command find, and which of the formats asked for hold it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from etude.adapters.annotations import Kind
from etude.adapters.artifact import read_header
from etude.adapters.errors import UserError, nearest
from etude.adapters.formats import format_of, left_out, writable
from etude.adapters.heads._parts.labels import head_kind

PRINTED = "-"
"""The format that is a CSV on standard output."""
TABLES = ("csv", "jsonl")
"""Formats in which what holds for whole recordings is one table of all of them."""


class Finder(NamedTuple):
    """An adapter: its folder below those of the results, the kinds it finds, the formats in which there is a file for each
    recording and those of its tables, and its labels; those of events have ``lanes`` in a picture."""

    folder: Path
    kinds: tuple[Kind, ...]
    formats: tuple[str, ...]
    tables: tuple[str, ...]
    labels: tuple[str, ...]
    lanes: tuple[str, ...]


def known_formats(wanted: Iterable[str]) -> tuple[str, ...]:
    """``wanted``, each once. Raises :class:`UserError` for an unknown one."""
    names = tuple(dict.fromkeys(wanted))
    known = (*writable(), *TABLES, PRINTED)
    if unknown := [name for name in names if name not in known]:
        raise UserError(f"unknown format '{unknown[0]}'", where="--to", fix=nearest(unknown[0], set(known)))
    return names


def finders(adapters: Sequence[Path], wanted: Sequence[str], say: Callable[[str], None]) -> dict[str, Finder]:
    """The adapters by their own names; ``say`` is told what a format loses.

    Raises :class:`UserError` where two have one name, since their results would share a folder, and for a format that can hold
    nothing of what an adapter finds.
    """
    found: dict[str, Finder] = {}
    for path in adapters:
        manifest = read_header(path).manifest
        name = manifest.name
        if name.casefold() in map(str.casefold, found):  # many file systems take A for a
            fix = "predict with one after the other"
            raise UserError(f"is called '{name}', as another of these adapters is", where=str(path), fix=fix)
        by_head = {head: head_kind(head) for head in manifest.labels}
        kinds = tuple(sorted(set(by_head.values()), key=lambda kind: kind.name))
        files, tables = _formats(name, kinds, wanted, say)
        labels = tuple(dict.fromkeys(label for own in manifest.labels.values() for label in own))
        lanes = tuple(label for head, own in manifest.labels.items() if not by_head[head].whole for label in own)
        folder = Path(name if len(adapters) > 1 else "")
        found[name] = Finder(folder, kinds, files, tables, labels, lanes)
    return found


def _formats(
    name: str, kinds: Sequence[Kind], wanted: Sequence[str], say: Callable[[str], None]
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Of ``wanted``, the formats of files for single recordings and those of tables."""
    files, tables = [], []
    for to in wanted:
        tabled = [kind for kind in kinds if kind.whole and to in (*TABLES, PRINTED)]
        rest = [kind for kind in kinds if kind not in tabled]
        if tabled and to != PRINTED:
            tables.append(to)
        if to == "jsonl":
            lost = rest
            if not tabled:
                fitting = [other for other in writable() if all(map(format_of(other).holds, kinds))]
                what = f"finds {' and '.join(kind.plural for kind in kinds)}, which jsonl cannot hold"
                raise UserError(what, where=name, fix=f"choose another format: {', '.join(fitting)}")
        elif rest:
            lost = left_out("csv" if to == PRINTED else to, [kind.name for kind in rest], name)
            files += [to] if to != PRINTED else []
        else:
            lost = []
        if lost:
            kept = " and ".join(kind.plural for kind in kinds if kind not in lost)
            say(f"notice: {name}: {to} holds no {' and no '.join(kind.plural for kind in lost)}; only {kept} are written")
    return tuple(files), tuple(tables)
