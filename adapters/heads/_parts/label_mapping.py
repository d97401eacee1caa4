"""From the classes that a model was trained for to those of a data set: many source classes to one target.

``fixed`` is what neural model reprogramming does (Hung et al., arXiv 2211.01317): the first source classes in the order of
their index, in groups of equal size, whatever they are called. The other two follow likeness, of names or on training data.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from etude.adapters.errors import Problem, UserError, nearest

Mapped = dict[str, list[str]]
"""Target class -> its source classes."""

LIKE = 0.6
"""Likeness of names from which on one may stand for the other."""


def check_map(chosen: Mapping[str, Sequence[str]], targets: Sequence[str], sources: Sequence[str]) -> Mapped:
    """A map as given by hand. Raises :class:`UserError` with all unknown and missing names."""
    where = "heads.mapped_tags.mapping"
    problems = [
        Problem(f"'{name}' is not a class of the data", where, nearest(name, targets)) for name in chosen if name not in targets
    ]
    problems += [
        Problem(f"lacks the class '{name}'", where, "add its source classes") for name in targets if not chosen.get(name)
    ]
    problems += [
        Problem(f"'{source}' is not a class of the backbone", f"{where}.{target}", nearest(source, sources))
        for target, names in chosen.items()
        for source in names
        if source not in sources
    ]
    if problems:
        raise UserError(problems)
    return {target: list(chosen[target]) for target in targets}


def fixed_map(targets: Sequence[str], sources: Sequence[str], group: int) -> Mapped:
    """Target ``i`` gets the sources ``group * i`` and following. Raises :class:`UserError` when there are too few."""
    if len(targets) * group > len(sources):
        needed = f"{len(targets)} classes of {group} source classes each need {len(targets) * group}"
        raise UserError(
            f"{needed}, the backbone has {len(sources)}",
            where="heads.mapped_tags.group",
            fix=f"use {len(sources) // len(targets)} or less" if len(sources) >= len(targets) else "use the head tags",
        )
    return {target: list(sources[group * i : group * (i + 1)]) for i, target in enumerate(targets)}


def name_map(targets: Sequence[str], sources: Sequence[str], group: int) -> Mapped:
    """At most ``group`` sources per target, whose names are most like its own; each source for one target at most.

    Raises :class:`UserError` with the targets that are like no source.
    """
    likeness = np.array([[name_likeness(target, source) for source in sources] for target in targets])
    found = _assign(likeness, targets, sources, group, LIKE)
    if lonely := [target for target in targets if not found[target]]:
        what = f"no class of the backbone is called like {', '.join(map(repr, lonely))}"
        raise UserError(what, where="heads.mapped_tags.mapping", fix="name the source classes of every class, or use data")
    return found


def data_map(
    targets: Sequence[str],
    sources: Sequence[str],
    group: int,
    logits: NDArray[np.floating],
    truth: NDArray[np.bool_],
    labelled: NDArray[np.bool_],
) -> Mapped:
    """At most ``group`` sources per target, whose logits ``[clips, sources]`` go best with its labels ``[clips, targets]``.

    "Best" is the correlation over the clips in which the target is ``labelled``.
    """
    likeness = np.full((len(targets), len(sources)), -1.0)
    for row in range(len(targets)):
        clips = labelled[:, row]
        likeness[row] = _correlations(logits[clips].astype(np.float64), truth[clips, row].astype(np.float64))
    return _assign(likeness, targets, sources, group, -np.inf)


def matrix(
    mapped: Mapping[str, Sequence[str]], targets: Sequence[str], sources: Sequence[str], *, mean: bool
) -> NDArray[np.float32]:
    """``[targets, sources]``: what source logits are multiplied by; with ``mean`` their mean is taken, else their sum."""
    weights = np.zeros((len(targets), len(sources)), np.float32)
    for row, target in zip(weights, targets, strict=True):
        row[[sources.index(source) for source in mapped[target]]] = 1 / len(mapped[target]) if mean else 1
    return weights


def name_likeness(target: str, source: str) -> float:
    """Share of the target's letter triples that are in the source's name, a little more the shorter that is: at most 1."""
    wanted, found = _triples(target), _triples(source)
    return len(wanted & found) / len(wanted) - 0.001 * len(found - wanted)


def _triples(name: str) -> set[str]:
    squeezed = re.sub(r"[^a-z0-9]", "", name.lower())
    return {squeezed[i : i + 3] for i in range(max(1, len(squeezed) - 2))}


def _correlations(logits: NDArray[np.float64], truth: NDArray[np.float64]) -> NDArray[np.float64]:
    """Of each column of ``logits`` with ``truth``; -1 where either does not vary."""
    if not len(truth):
        return np.full(logits.shape[1], -1.0)
    centred, wanted = logits - logits.mean(axis=0), truth - truth.mean()
    scale = np.sqrt((centred**2).sum(axis=0) * (wanted**2).sum())
    found = np.full(logits.shape[1], -1.0)
    np.divide(wanted @ centred, scale, out=found, where=scale > 0)
    return found


def _assign(likeness: NDArray[np.float64], targets: Sequence[str], sources: Sequence[str], group: int, least: float) -> Mapped:
    """Pairs by falling likeness, each source once, ``group`` sources per target at most."""
    found: Mapped = {target: [] for target in targets}
    taken: set[int] = set()
    for place in np.argsort(-likeness, axis=None, kind="stable"):
        row, column = divmod(int(place), len(sources))
        own = found[targets[row]]
        if likeness[row, column] >= least and column not in taken and len(own) < group:
            own.append(sources[column])
            taken.add(column)
    return found
