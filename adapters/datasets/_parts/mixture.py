"""Several data sets as one, which may know different kinds of annotation, or different classes of one kind."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cache

from etude.adapters.annotations import Annotation
from etude.adapters.config import distinct
from etude.adapters.datasets import Dataset, DatasetConfig, Track, joined_licence
from etude.adapters.errors import Problem


class Mixture(Dataset):
    """The recordings of all members, with the classes of all, in the order in which they are first named.

    Of a class that a member does not name, nobody said whether it occurs in the member's recordings; they have no layer of a
    kind that it does not annotate. A recording whose id another one has is called by its member's name as well.
    """

    Config = DatasetConfig

    def __init__(self, members: Sequence[Dataset]) -> None:
        self.members = dict(zip(distinct(member.config.name for member in members), members, strict=True))
        super().__init__(DatasetConfig(name=" + ".join(self.members)))
        self.licence = joined_licence(*(member.licence for member in members))

    @property
    def classes(self) -> Mapping[str, tuple[str, ...]]:
        """See :class:`Dataset`."""
        found: dict[str, dict[str, None]] = {}
        for member in self.members.values():
            for kind, names in member.classes.items():
                found.setdefault(kind, {}).update(dict.fromkeys(names))
        return {kind: tuple(names) for kind, names in found.items()}

    def scan(self) -> tuple[list[Track], list[Problem]]:
        """See :class:`Dataset`."""
        tracks: list[Track] = []
        problems: list[Problem] = []
        ids = Counter(track.id for member in self.members.values() for track in member.check()[0])
        for name, member in self.members.items():
            own, found = member.check()
            problems += [_placed(problem, name) for problem in found]
            self.notices += [_placed(notice, name) for notice in member.notices]
            judged = cache(lambda annotation, known=member.classes: _judged(annotation, known, self.classes))
            for track in own:
                clear = track.id if ids[track.id] == 1 else f"{name}/{track.id}"
                tracks.append(replace(track, id=clear, annotation=judged(track.annotation)))
        self.licence = joined_licence(*(member.licence for member in self.members.values()))
        return tracks, problems


def _placed(problem: Problem, name: str) -> Problem:
    """``problem`` with the data set that it is of, where it does not say."""
    return problem if problem.where else replace(problem, where=f"data set '{name}'")


def _judged(annotation: Annotation, known: Mapping[str, tuple[str, ...]], classes: Mapping[str, tuple[str, ...]]) -> Annotation:
    """What is ``known`` of ``classes``, by kind: the rest is unjudged."""
    layers = {}
    for kind, layer in annotation.items():
        if known.get(kind):
            others = set(classes[kind]).difference(known[kind]) if layer.known else ()
            layers[kind] = replace(layer, unjudged=(*layer.unjudged, *others))
    return Annotation(layers)
