"""What a data set holds, as tables in the terminal."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from etude.adapters.annotations import kind_of
from etude.adapters.datasets import Track
from etude.adapters.datasets._parts.survey import Spread, Statistics

MOST_LISTED = 60
"""Of more classes, only the number and the sizes are shown."""


def contents(tracks: Sequence[Track]) -> list[dict[str, Any]]:
    """What each split holds: recordings, minutes, and by kind the number of records, and of classes as often as they occur."""
    return [_split(split, tracks) for split in dict.fromkeys(track.split for track in tracks)]


def _split(split: str, tracks: Sequence[Track]) -> dict[str, Any]:
    own = [track for track in tracks if track.split == split]
    layers: dict[str, Any] = {}
    for kind in map(kind_of, sorted(set[str]().union(*(track.annotation for track in tracks)))):
        known = [getattr(track.truth, kind.name) for track in own]
        counts = Counter(name for layer in known for name in kind.counts(layer))
        layers[kind.name] = {"records": sum(map(len, known)), "classes": dict(sorted(counts.items()))}
    return {
        "split": split,
        "recordings": len(own),
        "minutes": sum(track.info.duration for track in own) / 60,
        "annotations": layers,
    }


def print_contents(splits: Sequence[Mapping[str, Any]]) -> None:
    """One row for each of :func:`contents`."""
    table = Table("split", box=SIMPLE_HEAD, pad_edge=False)
    kinds = [kind_of(name) for name in (splits[0]["annotations"] if splits else ())]
    for column in ("recordings", "minutes", *(kind.plural for kind in kinds if not kind.whole)):
        table.add_column(column, justify="right", no_wrap=True)
    for kind in kinds:
        table.add_column(kind.heading)
    for row in splits:
        layers = row["annotations"]
        totals = [str(layers[kind.name]["records"]) for kind in kinds if not kind.whole]
        listed = [escape(_listed(layers[kind.name]["classes"])) for kind in kinds]
        table.add_row(row["split"], str(row["recordings"]), f"{row['minutes']:.1f}", *totals, *listed)
    Console().print(table)


def _listed(counts: Mapping[str, int]) -> str:
    if len(counts) > MOST_LISTED:
        return f"{len(counts)} classes of {min(counts.values())} to {max(counts.values())} each"
    return ", ".join(f"{name} {count}" for name, count in counts.items())


def print_statistics(found: Statistics) -> None:
    """How long and how loud recordings are, how late labels, and how long events, by class."""
    rows: list[tuple[str, Spread | None, float, int]] = [
        ("recordings, s", found.seconds, 1, 2),
        ("level, dBFS (RMS)", found.level, 1, 1),
        ("labels late by, ms", found.lateness, 1000, 0),
    ]
    for name, classes in found.lasting.items():
        if len(classes) <= MOST_LISTED:
            rows += [(f"{kind_of(name).plural} '{label}', s", spread, 1, 2) for label, spread in classes.items()]
    table = Table("", box=SIMPLE_HEAD, pad_edge=False)
    for column in ("number", "lowest", "median", "highest"):
        table.add_column(column, justify="right", no_wrap=True)
    for title, spread, factor, digits in rows:
        if spread:
            values = (f"{factor * value:.{digits}f}" for value in (spread.low, spread.median, spread.high))
            table.add_row(escape(title), str(spread.count), *values)
    Console().print(table)
    rates, channels = (_counted(counts) for counts in (found.sample_rates, found.channels))
    Console().print(f"sample rates: {rates} Hz; channels: {channels}", soft_wrap=True, highlight=False)


def _counted(counts: Mapping[int, int]) -> str:
    """The one that all recordings have, or each with the number of those."""
    return ", ".join(f"{value} ({count})" if len(counts) > 1 else f"{value}" for value, count in counts.items())
