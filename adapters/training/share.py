"""A share of the training tracks, to see how scores grow with the data."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np

from etude.adapters.datasets import Track


def share_of(tracks: Sequence[Track], share: float, seed: int) -> list[Track]:
    """About ``share`` (0 to 1] of ``tracks``, in their order; chosen by ``seed`` alone, and a larger share holds a smaller one.

    Of tagged tracks, the share is taken tag by tag, each track by its rarest tag, and every tag keeps at least one track.
    """
    if share == 1:
        return list(tracks)
    order = np.random.default_rng(seed).permutation(len(tracks)).tolist()
    counts = Counter(tag for track in tracks for tag in track.annotation.tags or ())
    strata: dict[str | None, list[int]] = {}
    for index in order:
        rarest = min(tracks[index].annotation.tags or (), key=lambda tag: (counts[tag], tag), default=None)
        strata.setdefault(rarest, []).append(index)
    chosen = {index for stratum in strata.values() for index in stratum[: max(1, round(share * len(stratum)))]}
    seen = {tag for index in chosen for tag in tracks[index].annotation.tags or ()}
    for index in order:  # a tag that is nowhere the rarest has no stratum of its own
        if missing := set(tracks[index].annotation.tags or ()) - seen:
            chosen.add(index)
            seen |= missing
    return [tracks[index] for index in sorted(chosen)]
