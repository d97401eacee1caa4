"""``adapt convert``."""

from __future__ import annotations

from dataclasses import fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from etude.adapters.errors import Problem, UserError, nearest

if TYPE_CHECKING:
    from etude.adapters.annotations import Annotation
    from etude.adapters.formats import Reading


def convert(
    source: Annotated[Path, typer.Argument(metavar="IN", help="Annotation file, or a folder of them.")],
    target: Annotated[Path, typer.Argument(metavar="OUT", help="File, or a folder for what is in a folder.")],
    to: Annotated[str | None, typer.Option(help="Format; as the name of OUT ends unless told otherwise.")] = None,
    tiers: Annotated[list[str] | None, typer.Option(help="Which tier holds what, such as technique=IPT; repeatable.")] = None,
    columns: Annotated[
        list[str] | None, typer.Option(help="Which column of a table holds what, such as technique=Art; repeatable.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace files that exist already.")] = False,
) -> None:
    """Translate annotations from any format into another. A file with a problem is not translated; what is lost is told."""
    from etude.adapters.formats import Reading
    from etude.cli.folders import check_writable
    from etude.cli.outcome import conclude

    how = Reading(tiers=_pairs(tiers, "--tiers"), columns=_pairs(columns, "--columns"))
    format = _format(source, target, to)
    pairs = _targets(source, target, format)
    check_writable(target if source.is_dir() else target.parent, "OUT")
    if not force and (existing := [path for path in pairs.values() if path.exists()]):
        more = f", and so do {len(existing) - 1} more" if len(existing) > 1 else ""
        raise UserError(f"exists already{more}", where=str(existing[0]), fix="pass --force to replace, or name another place")
    problems: list[Problem] = []
    failed = 0
    for file, path in pairs.items():
        try:
            _translate(file, path, format, how)
        except UserError as error:
            problems += error.problems
            failed += 1
    conclude(problems, failed, len(pairs))


def _pairs(given: list[str] | None, option: str) -> dict[str, str]:
    parts = [text.partition("=") for text in given or []]
    if wrong := ["".join(part) for part in parts if not (part[0] and part[2])]:
        raise UserError(f"is {wrong[0]!r}, not WHAT=NAME", where=option, fix="write it as in technique=IPT")
    return {column: name for column, _, name in parts}


def _format(source: Path, target: Path, to: str | None) -> str:
    """What to write. Raises :class:`UserError` where that is unknown, or nobody says."""
    from etude.adapters.formats import format_of, writable

    if to is not None:
        if to not in writable():
            raise UserError(f"unknown format '{to}'", where="--to", fix=nearest(to, writable()))
        return to
    for name in writable():
        if not source.is_dir() and target.suffix.lower() in (format_of(name).suffix.lower(), *format_of(name).other_suffixes):
            return name
    raise UserError("says nothing of the format", where=str(target), fix=f"add --to and one of {', '.join(writable())}")


def _targets(source: Path, target: Path, format: str) -> dict[Path, Path]:
    """File to read -> file to write. Raises :class:`UserError` where there is none, or two would be one."""
    from etude.adapters.formats import format_of, readable

    suffix = format_of(format).suffix
    if not source.is_dir():
        return {source: target / f"{source.stem}{suffix}" if target.is_dir() else target}
    known = {end.lower() for name in readable() for end in (format_of(name).suffix, *format_of(name).other_suffixes)}
    files = sorted(path for path in source.rglob("*") if path.suffix.lower() in known and not path.name.startswith("."))
    if not files:
        raise UserError("holds no annotation file", where=str(source), fix=f"their names end in {' '.join(sorted(known))}")
    found: dict[Path, Path] = {}
    problems = []
    for file in files:
        path = (target / file.relative_to(source)).with_suffix(suffix)
        if same := next((other for other, its in found.items() if its == path), None):
            problems.append(Problem(f"would become {path}, as {same} does", str(file), "rename or remove one of them"))
        found[file] = path
    if problems:
        raise UserError(problems)
    return found


def _translate(source: Path, target: Path, format: str, how: Reading) -> None:
    """Translate a file, and tell what was understood and what is lost. Raises :class:`UserError` with all its problems."""
    from etude.adapters.formats import Reading, export, read_annotation, readable
    from etude.adapters.sound.audio import SUFFIXES, probe
    from etude.cli.folders import make_folder

    audio = next((path for suffix in sorted(SUFFIXES) if (path := source.with_suffix(suffix)).is_file()), None)
    duration = probe(audio).duration if audio else None
    read = read_annotation(source, replace(how, duration=duration))
    if read.problems:
        raise UserError(read.problems)
    found = read.annotation
    ends = [mark.end for kind, layer in found.by_kind() for mark in kind.marks(layer, 0.0)]
    make_folder(target.parent)
    export(found, target, format, duration=duration or max(ends, default=0.0), source=audio or source)
    for notice in read.notices:
        typer.echo(f"notice: {notice}", err=True)
    if format in readable():
        back = read_annotation(target, Reading(next(iter(found)), duration=duration)).annotation
        for what in lost(found, back):
            typer.echo(f"notice: {target}: {format} does not hold {what}", err=True)
    summary = "; ".join(kind.summary(layer) for kind, layer in found.by_kind())
    typer.echo(f"{source}: {summary} -> {target}")


def lost(before: Annotation, after: Annotation) -> list[str]:
    """What is in ``before`` and not in ``after``, in words."""
    found = []
    for kind, layer in before.by_kind():
        rest = getattr(after, kind.name)
        if len(rest) < len(layer):
            found.append(f"{len(layer) - len(rest)} of {len(layer)} {kind.plural}")
            continue
        for field in fields(layer[0]) if layer else ():
            known, kept = (sum(getattr(record, field.name) is not None for record in one) for one in (layer, rest))
            if kept < known:
                found.append(f"the {field.name} of {known - kept} of {len(layer)} {kind.plural}")
    return found
