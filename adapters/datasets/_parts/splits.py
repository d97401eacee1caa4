"""Which recordings train, validate and test: whole groups in one split, and every class in each, as far as that can be."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from numpy.random import Generator, default_rng
from numpy.typing import NDArray

from etude.adapters.datasets import SPLITS, Split, Track

SPLIT_NAMES: dict[str, Split] = {**{split: split for split in SPLITS}, "val": "validation", "valid": "validation"}
SHARES: dict[Split, float] = {"train": 0.7, "validation": 0.15, "test": 0.15}
SEARCHED = 1000
"""Assignments that are tried where there are too many to try all."""
IMPROVED = 300
"""The best of them is improved, unless there are more units than this, of which the shares are right without."""


@dataclass(frozen=True, slots=True)
class Item:
    """Something that is in one split: its size (seconds, say), its classes, and the group that it must not leave, if any."""

    size: float
    classes: frozenset[str]
    group: str = ""


def named_splits(paths: Iterable[Path]) -> list[Split]:
    """The split that a folder in each path names, in lower case or not; empty unless there is one in all of them."""
    folders = [[part.lower() for part in path.parent.parts] for path in paths]
    said = [next((SPLIT_NAMES[part] for part in own if part in SPLIT_NAMES), None) for own in folders]
    return [name for name in said if name] if all(said) else []


def split(items: Sequence[Item], seed: int = 0) -> list[Split]:
    """The split of each item.

    Of three groups or more, none is in two splits; of two, the smaller one tests, and the other trains and validates. Of one
    group, or where none is known, each item stands for itself. Splits that cannot be filled (of two items there is no third)
    stay empty, the test split first.
    """
    if not items:
        return []
    groups: dict[str, list[int]] = defaultdict(list)
    for index, item in enumerate(items):
        groups[item.group or f"\0{index}"].append(index)
    found: list[Split] = ["train"] * len(items)
    if len(groups) == 1:
        groups = {str(index): [index] for index in range(len(items))}
    if len(groups) == 2 and max(map(len, groups.values())) > 1:
        small, large = sorted(groups.values(), key=lambda group: sum(items[index].size for index in group))
        alone = [[place] for place in range(len(large))]
        inner = assign([items[index] for index in large], alone, ("train", "validation"), seed)
        for index, name in zip(large, inner, strict=True):
            found[index] = name
        for index in small:
            found[index] = "test"
        return found
    return assign(items, list(groups.values()), SPLITS[: max(1, len(groups))], seed)


def divided(tracks: Sequence[Track], seed: int) -> list[Track]:
    """The tracks in splits: those that folders in their names say, else drawn, whole groups in one."""
    splits = named_splits(Path(track.id) for track in tracks) or split(items_of(tracks), seed)
    return [replace(track, split=name) for track, name in zip(tracks, splits, strict=True)]


def items_of(tracks: Sequence[Track]) -> list[Item]:
    """The tracks as what is divided: sizes are seconds."""
    classes = [
        frozenset(f"{kind.name} {name}" for kind, layer in track.annotation.by_kind() for name in kind.classes(layer))
        for track in tracks
    ]
    return [Item(track.info.duration, own, track.group) for track, own in zip(tracks, classes, strict=True)]


def assign(items: Sequence[Item], units: Sequence[Sequence[int]], splits: Sequence[Split], seed: int) -> list[Split]:
    """The split of each item when ``units`` (places of items) go to ``splits``: the best assignment that is found."""
    names = sorted({name for item in items for name in item.classes})
    held = np.zeros((len(units), len(names)), np.bool_)
    for row, unit in zip(held, units, strict=True):
        row[[names.index(name) for index in unit for name in items[index].classes]] = True
    sizes = np.array([sum(items[index].size for index in unit) for unit in units])
    goal = np.array([SHARES[name] for name in splits])
    rng = default_rng(seed)
    if len(splits) ** len(units) <= SEARCHED:
        tried = np.array(list(product(range(len(splits)), repeat=len(units))))
    else:
        tried = np.stack([_drawn(held, sizes, goal / goal.sum(), rng) for _ in range(max(2, SEARCHED // len(units)))])
    cost = partial(_cost, held=held, sizes=sizes, goal=goal / goal.sum())
    best = min(tried, key=cost)
    if len(units) <= IMPROVED:
        best = _improved(best, len(splits), cost)
    found: list[Split] = ["train"] * len(items)
    for unit, place in zip(units, best, strict=True):
        for index in unit:
            found[index] = splits[place]
    return found


def _drawn(held: NDArray[Any], sizes: NDArray[Any], goal: NDArray[Any], rng: Generator) -> NDArray[Any]:
    """Units in random order, those of the rarest class first; each goes where most of its rarest class, then most size, is
    lacking (iterative stratification, Sechidis et al., ECML PKDD 2011)."""
    places, order = np.full(len(sizes), -1), rng.permutation(len(sizes))
    lacking, room, counts = goal[:, None] * held.sum(axis=0), goal * sizes.sum(), held.sum(axis=0)
    while (places < 0).any():
        left = order[places[order] < 0]
        if counts.any():
            rarest = int(np.argmin(np.where(counts > 0, counts, len(sizes) + 1)))
            left = left[held[left, rarest]]
        for unit in left:
            need = 1e-3 * room / sizes.sum() + (lacking[:, rarest] if held[unit].any() else 0)
            places[unit] = place = int(np.argmax(need))
            lacking[place] -= held[unit]
            room[place] -= sizes[unit]
            counts -= held[unit]
    return places


def _improved(places: NDArray[Any], splits: int, cost: Callable[[NDArray[Any]], float]) -> NDArray[Any]:
    """``places`` after every move of a unit that lowers the cost: shares alone leave a class of four units out of a split."""
    best, lowest = places.copy(), cost(places)
    while True:
        before = lowest
        for unit, place in product(range(len(places)), range(splits)):
            moved = best.copy()
            moved[unit] = place
            if (found := cost(moved)) < lowest:
                best, lowest = moved, found
        if lowest == before:
            return best


def _cost(places: NDArray[Any], held: NDArray[Any], sizes: NDArray[Any], goal: NDArray[Any]) -> float:
    """Classes that training lacks count most, then empty splits, then classes that another split lacks, then sizes."""
    inside = np.stack([places == place for place in range(len(goal))])
    absent = (inside.astype(int) @ held.astype(int) == 0).sum(axis=1)
    empty = (~inside.any(axis=1)).sum()
    uneven = np.abs(inside @ sizes / sizes.sum() - goal).sum()
    return float(1e6 * absent[0] + 1e4 * empty + 10 * absent[1:].sum() + uneven)
