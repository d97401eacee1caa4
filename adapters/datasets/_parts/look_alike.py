"""Names of classes that are likely one name, written in two ways."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from itertools import combinations, takewhile

SHORTEST = 5
"""Letters of a word in which one letter may be a slip; in shorter ones it makes another word."""
BETWEEN = r"[\s_.,/'\u2018\u2019()\[\]-]+"
"""What words are separated by; other signs (``C#``, ``bend+``) mean something."""


def look_alike(names: Iterable[str]) -> list[tuple[str, str]]:
    """Pairs of ``names`` that differ in case, Unicode form, spaces or punctuation, in one plural, or in one slip of a letter.

    A slip is a letter too many, too few, another one or two swapped, in a word of five letters or more, behind the first;
    nothing is one in numbers, nor in single letters at the end (``type A``, ``typeB``).
    """
    groups: dict[tuple[object, ...], list[tuple[str, tuple[str, ...]]]] = {}
    for name in sorted(set(names)):
        words = tuple(_WORD.findall(_folded(name)))
        shape = len(words), _WORD.sub("", re.sub(BETWEEN, " ", _folded(name)))
        groups.setdefault(shape, []).append((name, words))
    pairs = {
        (first, second)
        for group in groups.values()
        for (first, own), (second, others) in combinations(group, 2)
        if len(differing := [pair for pair in zip(own, others, strict=True) if pair[0] != pair[1]]) < 2
        and all(_plural(*pair) or _slip(*pair) for pair in differing)
    }
    joined: dict[str, list[str]] = {}
    for name in sorted(set(names)):
        joined.setdefault(re.sub(rf"(?<!\d){BETWEEN}|{BETWEEN}(?!\d)", "", _folded(name)), []).append(name)
    pairs.update(pair for group in joined.values() for pair in combinations(group, 2))
    return sorted(pairs)


_WORD = re.compile(r"[^\W\d_]+")


def _folded(name: str) -> str:
    """One form of letters; capitals within a word begin a new one."""
    return re.sub(r"(?<=[a-z])(?=[A-Z])", " ", unicodedata.normalize("NFKC", name)).casefold().strip()


def _plural(first: str, second: str) -> bool:
    short, long = sorted((first, second), key=len)
    return long == f"{short}s" and len(short) >= SHORTEST - 2 and not short.endswith("s")


def _slip(first: str, second: str) -> bool:
    if min(len(first), len(second)) < SHORTEST or first[0] != second[0]:
        return False
    start = _same(first, second)
    first, second = first[start:], second[start:]
    end = _same(first[::-1], second[::-1])
    first, second = first[: len(first) - end], second[: len(second) - end]
    return max(len(first), len(second)) == 1 or (len(first) == 2 and first == second[::-1])


def _same(first: str, second: str) -> int:
    """Letters with which both begin."""
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(first, second, strict=False)))
