"""What labels alone tell of a split: classes that it lacks, groups that it shares, and names that are likely one."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

from etude.adapters.annotations import kind_of
from etude.adapters.datasets import SPLITS, Track
from etude.adapters.datasets._parts.groups import group_notices, some_of
from etude.adapters.datasets._parts.look_alike import look_alike
from etude.adapters.errors import Problem

HANDFUL = 5
"""Of fewer events (or recordings, by kind), a score is mostly chance."""


def coverage(tracks: Sequence[Track], classes: Mapping[str, Sequence[str]]) -> list[Problem]:
    """Notices for a data set with these ``classes`` by kind."""
    splits = [split for split in SPLITS if any(track.split == split for track in tracks)]
    return [
        *_splits(splits),
        *(notice for kind in classes for notice in _classes(kind, classes[kind], tracks, splits)),
        *group_notices(tracks),
    ]


def _splits(splits: Sequence[str]) -> Iterator[Problem]:
    fix = "move some recordings there, a session or a player as a whole"
    if len(splits) == 1:
        yield Problem(f"all recordings are in the split '{splits[0]}'", fix=fix.replace("there", "to the other splits"))
    elif splits:
        yield from (Problem("no recording", f"split '{split}'", fix) for split in SPLITS if split not in splits)


def _classes(name: str, known: Sequence[str], tracks: Sequence[Track], splits: Sequence[str]) -> Iterator[Problem]:
    kind = kind_of(name)
    counts: dict[str, Counter[str]] = {split: Counter() for split in splits}
    for track in tracks:
        counts[track.split].update(filter(None, map(kind.class_of, getattr(track.truth, name))))
    unit = "recordings" if kind.whole else kind.plural
    named = list(dict.fromkeys((*known, *(label for split in splits for label in counts[split]))))
    for split in splits:
        none = [f"'{label}'" for label in named if not counts[split][label]]
        few = [f"'{label}' ({counts[split][label]})" for label in named if 0 < counts[split][label] < HANDFUL]
        where, fix = f"split '{split}'", "move recordings from another split, or leave these classes out"
        if len(none) == len(named):
            yield Problem(f"no {unit} of any {kind.label}", where, fix)
        elif none:
            yield Problem(f"no {unit} of {some_of(none)}", where, fix)
        if few:
            yield Problem(f"few {unit} of {some_of(few)}", where, fix)
    total = sum(counts.values(), Counter[str]())
    for pair in look_alike(named):
        one, other = (f"'{label}' ({total[label]})" for label in pair)
        yield Problem(f"the {kind.label}s {one} and {other} look alike", fix="give them one name, if they are one")
