"""The recordings that a command line names, names for what is made of them, and what becomes of results that exist."""

from __future__ import annotations

import glob
import os
from collections.abc import Callable, Collection, Sequence
from pathlib import Path

from etude.adapters.errors import Problem, UserError


def expand(recordings: Sequence[str]) -> list[Path]:
    """Files as given, and the audio files below folders and among the matches of globs; each once.

    Raises :class:`UserError` for what leads to no audio file.
    """
    from etude.adapters.sound.audio import SUFFIXES

    files: dict[str, Path] = {}
    problems: list[Problem] = []
    for item in recordings:
        path = Path(item)
        if path.is_dir():
            found = [p for p in path.rglob("*") if not p.name.startswith(".")]
        elif path.exists() or not glob.has_magic(item):
            found = [path]
        else:
            found = [Path(p) for p in glob.glob(item, recursive=True)]
        if found != [path]:
            found = sorted(p for p in found if p.suffix.lower() in SUFFIXES and p.is_file())
        if not found:
            problems.append(Problem("no recording found", item, f"audio files end in {' '.join(sorted(SUFFIXES))}"))
        for file in found:
            files.setdefault(os.path.abspath(file), file)
    if problems:
        raise UserError(problems)
    return list(files.values())


def result_names(files: Sequence[Path], taken: Collection[str] = ()) -> list[str]:
    """A name without suffix for the result of each recording, all different and none of those that are ``taken``.

    They are the recordings' own names; where two are equal, the folders are kept, from the first one that is not common to all
    recordings; where that does not suffice (``x.wav`` beside ``x.flac``), the audio suffix is kept as well.
    """
    absolute = [Path(os.path.abspath(file)) for file in files]
    common = os.path.commonpath([file.parent for file in absolute])
    paths = [file.relative_to(common) for file in absolute]
    for names in ([file.stem for file in files], [str(path.with_suffix("")) for path in paths]):
        different = {name.casefold() for name in names} - set(taken)
        if len(different) == len(names):  # casefold: many file systems take A.csv for a.csv
            return names
    return [str(path) for path in paths]


def check_options(skip_existing: bool, force: bool) -> None:
    """Raise :class:`UserError` for options that contradict each other."""
    if skip_existing and force:
        raise UserError("contradict each other", where="--skip-existing --force", fix="leave one of them out")


def refuse_existing(paths: Sequence[Path]) -> None:
    """Raise :class:`UserError` if there are any ``paths``, results that nobody asked to replace."""
    if paths:
        more = f", and so do {len(paths) - 1} more results" if len(paths) > 1 else ""
        fix = "pass --force to replace, --skip-existing to go on, or name another folder with --out"
        raise UserError(f"exists already{more}", where=str(paths[0]), fix=fix)


def tell_skipped(say: Callable[[str], None], skipped: int, total: int) -> None:
    """Say what is not computed."""
    say(f"{skipped} of {total} recordings have their results and are skipped")
