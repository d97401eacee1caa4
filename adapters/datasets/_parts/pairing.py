"""What lies in a folder: recordings, the annotation files that belong to them, and what they have in common."""

from __future__ import annotations

import os
import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path

from etude.adapters.errors import Problem, UserError
from etude.adapters.formats import format_of, readable
from etude.adapters.sound.audio import SUFFIXES

PLAIN = frozenset(
    (
        *("annotation", "annotations", "audio", "audios", "data", "label", "labels", "recording", "recordings", "sound"),
        *("sounds", "flac", "mp3", "wav", "wavs", "wave", "waves", "ogg"),
        *("train", "training", "valid", "val", "validation", "dev", "test", "testing"),
    )
)
"""Names of folders that say nothing of a session or a player."""


def files_in(folder: Path) -> tuple[list[Path], list[Path]]:
    """The recordings and the annotation files below ``folder``, sorted; what is hidden, and what runs and adapters left, is not
    looked at. Raises :class:`UserError` for a folder that is none."""
    if not folder.is_dir():
        raise UserError(
            "is a file, not a folder" if folder.exists() else "no such folder", where=str(folder), fix="check the path"
        )
    suffixes = {end.lower() for name in readable() for end in (format_of(name).suffix, *format_of(name).other_suffixes)}
    audio: list[Path] = []
    notes: list[Path] = []
    for place, folders, names in os.walk(folder, followlinks=True):
        made = {"adapter.json", "checkpoint.pt", "history.jsonl"}.intersection(names)
        folders[:] = [] if made else sorted(name for name in folders if not name.startswith("."))
        paths = [] if made else [Path(place, name) for name in sorted(names) if not name.startswith(".")]
        audio += [path for path in paths if path.suffix.lower() in SUFFIXES]
        notes += [path for path in paths if path.suffix.lower() in suffixes]
    return audio, notes


def paired(folder: Path, audio: Sequence[Path], notes: Sequence[Path]) -> tuple[dict[Path, Path], list[Problem]]:
    """Recording -> its annotation file: the one of the same name in the same folder, or in the folder elsewhere whose path ends
    most alike. A name may go on behind that of the recording (``take1_notes.csv``). What is left over is noticed."""
    by_stem: dict[str, list[Path]] = defaultdict(list)
    for path in notes:
        for stem in _beginnings(path.stem.lower()):
            by_stem[stem].append(path)
    found: dict[Path, Path] = {}
    notices: list[Problem] = []
    for path in audio:
        ranked = sorted((_distance(folder, path, other), other) for other in by_stem[path.stem.lower()])
        if not ranked:
            continue
        nearest, found[path] = ranked[0]
        if rivals := [other.name for distance, other in ranked[1:] if distance == nearest]:
            fix = "move the other away, or name the right one in a manifest"
            notices.append(Problem(f"is read, and {rivals[0]} is not", str(found[path]), fix))
    lone = [path for path in audio if path not in found]
    if found and lone:
        what = f"{len(lone)} of {len(audio)} recordings have no annotation file of their name"
        notices.append(Problem(what, f"{lone[0]}{', ...' if len(lone) > 1 else ''}", "add them, or ignore this"))
    return found, notices


def _beginnings(stem: str) -> Iterable[str]:
    """``a_b.c`` -> itself, ``a_b`` and ``a``."""
    return [stem, *(stem[: match.start()] for match in re.finditer(r"[ ._-]", stem) if match.start())]


def _distance(folder: Path, audio: Path, notes: Path) -> tuple[bool, bool, int]:
    """How little a file seems to belong to a recording; smaller is nearer."""
    mine, theirs = (path.relative_to(folder).parent.parts for path in (audio, notes))
    alike = 0
    while alike < min(len(mine), len(theirs)) and mine[-1 - alike] == theirs[-1 - alike]:
        alike += 1
    return mine != theirs, audio.stem.lower() != notes.stem.lower(), -alike


def groups(folder: Path, files: Sequence[Path], pattern: str | None, skip: int = 0) -> dict[Path, str]:
    """Session, player or take of each recording; empty where that is not known.

    It is what ``pattern`` finds in its path below ``folder`` (its first group, if it has one). Without one, it is the outermost
    folder that differs among the recordings, the innermost ``skip`` left out of account; a recording that lies in none is a
    group of its own. Raises :class:`UserError` for a
    pattern that is none or finds nothing in a recording.
    """
    below = {path: path.relative_to(folder) for path in files}
    if pattern is None:
        parents = {path: other.parent.parts for path, other in below.items()}
        parts = {path: [n for n in own[: len(own) - skip] if n.lower() not in PLAIN] for path, own in parents.items()}
        for depth in range(max(map(len, parts.values()), default=0)):
            found = {path: own[depth] if len(own) > depth else below[path].as_posix() for path, own in parts.items()}
            if len(set(found.values())) > 1:
                return found
        return dict.fromkeys(files, "")
    try:
        matches = {path: re.search(pattern, other.as_posix()) for path, other in below.items()}
    except re.error as error:
        what = f"{pattern!r} is not a regular expression: {error}"
        raise UserError(what, where="group", fix=r"such as 'player(\d+)'") from None
    if missing := [path for path, match in matches.items() if match is None]:
        raise UserError(f"{pattern!r} is not in the path", where=str(missing[0]), fix="choose a pattern that is in every path")
    return {path: match[1] or "" if match.re.groups else match[0] for path, match in matches.items() if match}
