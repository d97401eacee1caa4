"""All recordings of a data set, listened to once: what hinders, what is worth a look, and statistics."""

from __future__ import annotations

import math
import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from statistics import median

import numpy as np

from etude.adapters.annotations import Kind, Mark
from etude.adapters.datasets import Track
from etude.adapters.datasets._parts.hearing import Heard, hear
from etude.adapters.datasets._parts.lateness import LEAST, NONE, Onsets, around
from etude.adapters.errors import Problem, UserError

AHEAD = 256
"""Recordings that are given to the threads at a time."""
SILENT_SHARE = 0.8
"""Of an event, from which on it lies in silence."""
CANCELLED = -20.0
"""dB; recordings of equal, different, or one silent channel lose at most 3 (two channels) to 18 (64)."""
LEVEL_RANGE = 20.0
"""dB around the median."""
MOST = 0.75
"""Of the recordings that tell, so that they speak for all."""


@dataclass(frozen=True, slots=True)
class Spread:
    """Of ``count`` values."""

    count: int
    low: float
    median: float
    high: float


@dataclass(frozen=True, slots=True)
class Statistics:
    """Spreads are ``None`` of nothing."""

    seconds: Spread | None
    """Length of recordings."""
    level: Spread | None
    """RMS of recordings, dBFS; of those that are not silent."""
    lateness: Spread | None
    """Seconds by which labels are later than what is heard, by recording; of those that tell."""
    sample_rates: dict[int, int]
    """Hz -> recordings."""
    channels: dict[int, int]
    """Channels -> recordings."""
    lasting: dict[str, dict[str, Spread]]
    """Kind -> class -> seconds that its records last; of those that do."""


@dataclass(frozen=True, slots=True)
class Survey:
    """What was found; statistics are of the recordings without problems."""

    problems: list[Problem]
    notices: list[Problem]
    statistics: Statistics


def survey(tracks: Sequence[Track], advance: Callable[[int], None] = lambda count: None) -> Survey:
    """Decode every recording, as many at a time as there are cores; ``advance`` is told of each that is done."""
    problems: list[Problem] = []
    notices: list[Problem] = []
    heard: list[tuple[Track, float]] = []
    late: list[tuple[Track, float, float | None]] = []
    onsets = NONE
    for track, found in _listened(tracks):
        advance(1)
        if isinstance(found, UserError):
            problems += found.problems
            continue
        heard.append((track, found.level))
        notices += found.notices
        onsets += found.onsets
        if (seconds := found.onsets.lateness()) is not None:
            late.append((track, seconds, found.onsets.shift()))
    notices += [*_quiet_or_loud(heard), *_late(onsets, late)]
    statistics = Statistics(
        seconds=_spread(track.info.duration for track, _ in heard),
        level=_spread(level for _, level in heard if level > -math.inf),
        lateness=_spread(seconds for _, seconds, _ in late),
        sample_rates=dict(Counter(track.info.sample_rate for track, _ in heard).most_common()),
        channels=dict(Counter(track.info.channels for track, _ in heard).most_common()),
        lasting=_lasting(track for track, _ in heard),
    )
    return Survey(problems, _gathered(notices), statistics)


@dataclass(frozen=True, slots=True)
class _Found:
    notices: list[Problem]
    level: float
    onsets: Onsets


def _listened(tracks: Sequence[Track]) -> Iterator[tuple[Track, _Found | UserError]]:
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for start in range(0, len(tracks), AHEAD):
            some = tracks[start : start + AHEAD]
            yield from zip(some, pool.map(_listen, some), strict=True)


def _listen(track: Track) -> _Found | UserError:
    try:
        heard = hear(track.audio, track.info)
    except UserError as error:
        return error
    onsets = around((mark.start for _, marks in _marked(track) for mark in marks), heard.strength, heard.hop)
    return _Found(list(_notices(track, heard)), heard.level, onsets)


def _marked(track: Track) -> list[tuple[Kind, list[Mark]]]:
    """What has a place in the recording, by kind."""
    return [(kind, kind.marks(layer, track.info.duration)) for kind, layer in track.annotation.by_kind() if not kind.whole]


def _notices(track: Track, heard: Heard) -> Iterator[Problem]:
    where = str(track.audio)
    if heard.silent.all():
        yield Problem("is digital silence", where, "remove it, or export it again")
        return
    if heard.mixdown < CANCELLED:
        what = f"its channels cancel each other when they are mixed down ({heard.mixdown:.0f} dB)"
        yield Problem(what, where, "invert one of them, or keep only one")
    if heard.clipped:
        what = f"is clipped {len(heard.clipped)} times, first at {heard.clipped[0]:.2f} s"
        yield Problem(what, where, "export it at a lower level, unless it is meant")
    before = np.concatenate([[0], np.cumsum(heard.silent)])
    for kind, marks in _marked(track):
        bounds = np.array([(mark.start, mark.end) for mark in marks]).reshape(-1, 2) / heard.hop
        first, last = np.clip(np.rint(bounds).astype(int), 0, len(before) - 1).T
        (silent,) = np.nonzero(before[last] - before[first] >= SILENT_SHARE * np.maximum(1, last - first))
        if len(silent):
            begin = marks[silent[0]].start
            what = f"{len(silent)} of {len(marks)} {kind.plural} lie in digital silence, first at {begin:.2f} s"
            yield Problem(what, where, "shift or remove them, or export the recording again")


def _quiet_or_loud(heard: Sequence[tuple[Track, float]]) -> Iterator[Problem]:
    sounding = [(track, level) for track, level in heard if level > -math.inf]
    usual = median(level for _, level in sounding) if sounding else 0.0
    for track, level in sounding:
        if abs(level - usual) > LEVEL_RANGE:
            side = "below" if level < usual else "above"
            what = f"its level of {level:.0f} dBFS (RMS) is {abs(level - usual):.0f} dB {side} the median"
            yield Problem(what, str(track.audio), "check it, or bring it to the level of the others")


def _late(onsets: Onsets, late: Sequence[tuple[Track, float, float | None]]) -> Iterator[Problem]:
    """What is said of all recordings, and of those that are not like all; ``late`` has their lateness and their shift."""
    shared = onsets.shift()
    agreeing = sum(shared is not None and abs(seconds - shared) < LEAST for _, seconds, _ in late)
    if shared is not None and agreeing >= MOST * len(late):
        told = f", {agreeing} of {len(late)} recordings that tell by themselves" if late else ""
        yield Problem(f"{_off(shared)} ({onsets.count} labels{told})", fix=f"shift them by {-1000 * shared:+.0f} ms")
    else:
        shared = None
    for track, seconds, own in late:
        if own is not None and (shared is None or abs(seconds - shared) >= LEAST):
            yield Problem(_off(own), str(track.audio), "shift the labels, or export the recording again")


def _off(shift: float) -> str:
    return f"labels are {abs(1000 * shift):.0f} ms {'late' if shift > 0 else 'early'} on average"


def _lasting(tracks: Iterable[Track]) -> dict[str, dict[str, Spread]]:
    found: dict[str, dict[str, list[float]]] = {}
    for track in tracks:
        for kind, marks in _marked(track):
            for mark in marks:
                if mark.end > mark.start:
                    found.setdefault(kind.name, {}).setdefault(mark.text, []).append(mark.end - mark.start)
    return {
        kind: {name: spread for name, values in sorted(classes.items()) if (spread := _spread(values))}
        for kind, classes in sorted(found.items())
    }


def _spread(values: Iterable[float]) -> Spread | None:
    known = sorted(values)
    return Spread(len(known), known[0], median(known), known[-1]) if known else None


def _gathered(notices: Iterable[Problem]) -> list[Problem]:
    """One notice for all that have one fix: the first, with how many more there are."""
    alike: dict[str, list[Problem]] = {}
    for notice in notices:
        alike.setdefault(notice.fix, []).append(notice)
    return [
        first if not more else replace(first, what=f"{first.what}; {len(more)} more like it") for first, *more in alike.values()
    ]
