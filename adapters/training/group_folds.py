"""Folds that leave groups out: what is held out is neither trained on, nor does it choose a checkpoint or a threshold."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace

from numpy.random import default_rng

from etude.adapters.annotations import Annotation, kind_of
from etude.adapters.datasets import Track
from etude.adapters.datasets._parts.splits import assign, items_of

MOST_FOLDS = 5
"""More groups are put together."""


@dataclass(frozen=True)
class Fold:
    """``test`` are the recordings of ``groups``; nothing of these is in the rest."""

    groups: tuple[str, ...]
    train: list[Track]
    validation: list[Track]
    test: list[Track]


def group_folds(train: Sequence[Track], validation: Sequence[Track], kinds: Collection[str], seed: int) -> list[Fold]:
    """A fold for each group of ``train``, or for some together, of about as many records (of ``kinds``) each.

    None for fewer than two groups. Recordings without a group are never held out. Where nothing is left of ``validation``, the
    groups of the next fold validate in its place, and where there are only two folds, a part of the recordings. What training
    without the groups does not know (a class that only they have) is not judged in ``test``, and recordings that hold nothing
    else are not in it.
    """
    held = _dealt(train, validation, kinds, seed)
    folds = []
    for number, groups in enumerate(held):
        rest, judged = ([track for track in tracks if track.group not in groups] for tracks in (train, validation))
        if not judged and len(held) > 2:
            turn = held[(number + 1) % len(held)]
            judged = [track for track in rest if track.group in turn]
            rest = [track for track in rest if track.group not in turn]
        elif not judged:
            rest, judged = _parted(rest, seed)
        own = [track for track in (*train, *validation) if track.group in groups]
        folds.append(Fold(groups, rest, judged, _judged(own, rest, kinds)))
    return folds


def _dealt(train: Sequence[Track], validation: Sequence[Track], kinds: Collection[str], seed: int) -> list[tuple[str, ...]]:
    """The groups of ``train`` in at most ``MOST_FOLDS`` parts: the largest first, each to the part that has least by then."""
    names = sorted({track.group for track in train} - {""})
    if len(names) < 2:
        return []
    sizes = Counter[str]()
    for track in (*train, *validation):
        sizes[track.group] += sum(len(layer) for name, layer in track.annotation.items() if name in kinds)
    order = [names[place] for place in default_rng(seed).permutation(len(names))]
    parts: list[list[str]] = [[] for _ in range(min(MOST_FOLDS, len(names)))]
    loads = [(0, 0)] * len(parts)
    for name in sorted(order, key=lambda name: -sizes[name]):
        place = loads.index(min(loads))
        parts[place].append(name)
        loads[place] = loads[place][0] + sizes[name], len(parts[place])
    return sorted(tuple(sorted(part)) for part in parts)


def _parted(tracks: list[Track], seed: int) -> tuple[list[Track], list[Track]]:
    """Some to train and some to validate on; a single recording does both."""
    if len(tracks) == 1:
        return tracks, tracks
    places = assign(items_of(tracks), [[place] for place in range(len(tracks))], ("train", "validation"), seed)
    named = list(zip(tracks, places, strict=True))
    return [track for track, place in named if place == "train"], [track for track, place in named if place != "train"]


def _judged(tracks: Sequence[Track], train: Sequence[Track], kinds: Collection[str]) -> list[Track]:
    """``tracks`` as they can be judged after training on ``train``."""
    known, own = _classes(train, kinds), _classes(tracks, kinds)
    lacking = {kind: sorted(own[kind] - known[kind]) for kind in kinds if own[kind] - known[kind]}
    found = []
    for track in tracks:
        layers = {
            name: kind_of(name).without(track.annotation[name], lacking[name]) for name in lacking if name in track.annotation
        }
        shown = replace(track, annotation=Annotation(track.annotation, **layers))
        had, has = (any(_classes([one], kinds).values()) for one in (track, shown))
        if has or not had:
            found.append(shown)
    return found


def _classes(tracks: Sequence[Track], kinds: Collection[str]) -> dict[str, set[str]]:
    """Kind -> the classes that occur."""
    return {
        name: {found for track in tracks if name in track.annotation for found in kind_of(name).classes(track.annotation[name])}
        for name in kinds
    }
