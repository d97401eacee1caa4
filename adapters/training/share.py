"""A share of the training tracks, to see how scores grow with the data."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np

from etude.adapters.annotations import Annotation
from etude.adapters.datasets import Track


def share_of(tracks: Sequence[Track], share: float, seed: int) -> list[Track]:
    """About ``share`` (0 to 1] of ``tracks``, in their order; chosen by ``seed`` alone, and a larger share holds a smaller one.

    Of tracks with classes that hold for the whole recording (tags), the share is taken class by class, each track by its
    rarest one, and every class keeps at least one track.
    """
    if share == 1:
        return list(tracks)
    order = np.random.default_rng(seed).permutation(len(tracks)).tolist()
    classes = [_classes(track.truth) for track in tracks]
    counts = Counter(name for own in classes for name in own)
    strata: dict[tuple[str, str] | None, list[int]] = {}
    for index in order:
        rarest = min(classes[index], key=lambda name: (counts[name], name), default=None)
        strata.setdefault(rarest, []).append(index)
    chosen = {index for stratum in strata.values() for index in stratum[: max(1, round(share * len(stratum)))]}
    seen = set[tuple[str, str]]().union(*(classes[index] for index in chosen))
    for index in order:  # a class that is nowhere the rarest has no stratum of its own
        if missing := classes[index] - seen:
            chosen.add(index)
            seen |= missing
    return [tracks[index] for index in sorted(chosen)]


def _classes(annotation: Annotation) -> set[tuple[str, str]]:
    """Kind and class of what holds for the whole recording."""
    return {(kind.name, name) for kind, layer in annotation.by_kind() if kind.whole for name in kind.classes(layer)}
