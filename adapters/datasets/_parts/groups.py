"""Groups: what recordings have in common that the next one will not (session, player, instrument, take).

A score on groups that training knows is one of the same session; only one on other groups says how it does elsewhere.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from etude.adapters.datasets import SPLITS, Track
from etude.adapters.errors import Problem
from etude.adapters.formats._parts.text import listed

MOST_NAMED = 8
"""Groups or classes in one line."""


def groups_of(tracks: Iterable[Track]) -> tuple[str, ...]:
    """The groups of ``tracks``, sorted; ``""`` is among them where one has none."""
    return tuple(sorted({track.group for track in tracks}))


def gaps(table: Path, rows: Iterable[tuple[int, str]]) -> list[Problem]:
    """A problem where some rows of ``table`` have a group and others none; ``rows`` are their lines and groups."""
    given = dict(rows)
    lacking = [str(line) for line, group in given.items() if not group]
    if not lacking or len(lacking) == len(given):
        return []
    what = f"{len(lacking)} of {len(given)} rows have no group: line{'s' if len(lacking) > 1 else ''} {some_of(lacking)}"
    return [Problem(what, str(table), "fill it in there, or leave it empty everywhere")]


def group_notices(tracks: Sequence[Track]) -> Iterator[Problem]:
    """What is worth a look: splits without a group of their own, groups in two splits, classes of one group."""
    splits: dict[str, dict[str, None]] = {}
    for track in tracks:
        if track.group:
            splits.setdefault(track.group, {})[track.split] = None
    inside = {split: [group for group, own in splits.items() if split in own] for split in SPLITS}
    known = [
        split for split in SPLITS[1:] if inside["train"] and inside[split] and not is_unseen(inside["train"], inside[split])
    ]
    if known:
        where = f"split{'s' if len(known) > 1 else ''} {listed(known)}"
        what = "no group that training lacks: scores are of the same session or player"
        yield Problem(what, where, "move a group there as a whole")
    shared = {group: own for group, own in splits.items() if len(own.keys() - known) > 1}
    for group, own in list(shared.items())[:1]:
        more = f"; {len(shared) - 1} more like it" if len(shared) > 1 else ""
        yield Problem(f"is in the splits {listed(own)}{more}", f"group '{group}'", "keep a group in one split")
    if len(splits) > 1:
        yield from _classes_of_one(tracks)


def _classes_of_one(tracks: Sequence[Track]) -> Iterator[Problem]:
    found: dict[str, dict[str, set[str]]] = {}
    for track in tracks:
        for kind, layer in track.truth.by_kind():
            for name in kind.classes(layer):
                found.setdefault(kind.label, {}).setdefault(name, set()).add(track.group)
    for label, classes in found.items():
        if alone := [f"'{name}'" for name, groups in sorted(classes.items()) if len(groups) == 1 and all(groups)]:
            what = f"{label}{'s' if len(alone) > 1 else ''} of one group only, not measured on another: {some_of(alone)}"
            yield Problem(what, fix="record another session or player with it")


def some_of(names: Sequence[str]) -> str:
    """The first of ``names`` in words, and how many more there are."""
    more = f" and {len(names) - MOST_NAMED} more" if len(names) > MOST_NAMED else ""
    return ", ".join(names[:MOST_NAMED]) + more


def is_unseen(trained: Collection[str] | None, scored: Iterable[str]) -> bool:
    """Whether scores on the groups ``scored`` are of some that training, on the groups ``trained``, has not seen."""
    return any(trained or ()) and bool(set(scored) - set(trained or ()) - {""})


def unseen_first(groups: Mapping[str, Sequence[str]], splits: Iterable[str]) -> list[str]:
    """The ``splits`` in their order, but those first whose groups (by split) training has not seen."""
    return sorted(splits, key=lambda split: not is_unseen(groups.get("train"), groups.get(split, ())))


def measured_on(trained: Sequence[str] | None, scored: Sequence[str]) -> str:
    """In plain words, what scores on recordings of the groups ``scored`` say after training on the groups ``trained``.

    ``""`` stands for recordings without a group; ``None`` for what is not known.
    """
    if trained is None:
        return "it is not known whether training had these sessions or players"
    if not (any(trained) and any(scored)):
        return "no groups are given: how it does on another session or player is not measured"
    unseen = [group for group in scored if group and group not in trained]
    seen = [group for group in scored if group in trained and group]
    rest = f" and on those of training ({some_of(seen)})" if seen else ""
    unknown = "; some recordings have no group" if "" in (*trained, *scored) else ""
    if not unseen:
        return f"measured on the same session or player only (groups: {some_of(seen)}){unknown}"
    return f"measured on unseen sessions or players (groups: {some_of(unseen)}){rest}{unknown}"
