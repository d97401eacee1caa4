"""Everything frozen is computed once: arrays with one row per window, found again by what they were computed from.

``<cache>/features/<group>-<rows>/`` is one data set: ``<group>`` identifies how the rows were computed (a hash of weights,
code, window, precision ...), ``<rows>`` the windows (a hash of the audio's bytes and the windows' starts). Each part in
it, such as the states of one layer, is one :class:`RowFile`. Nothing is ever reused under another key: a changed
recording or weight gives another name, and the old files are the first to go when the limit is reached.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from etude.adapters.errors import UserError
from etude.adapters.storage.atomic import replace_file
from etude.adapters.storage.cache import FEATURES, cache_root
from etude.adapters.storage.row_file import RowFile

DEFAULT_GB = 50.0
POLL_SECONDS = 0.2
COPY_ROWS = 64


@dataclass(frozen=True)
class FeatureSet:
    """One data set in the store: rows, in order, and where they lie."""

    folder: Path
    ids: tuple[str, ...]
    shapes: Mapping[str, tuple[int, ...]]
    """Of one row of each part."""
    dtype: str

    def part(self, name: str) -> RowFile:
        """A part of the set; it need not exist yet."""
        return RowFile(self.folder, name, len(self.ids), self.shapes[name], self.dtype)

    @property
    def lock(self) -> FileLock:
        """Held by whoever computes rows of this set."""
        return FileLock(self.folder.with_suffix(".lock"))


class FeatureStore:
    """All data sets below ``root`` (the cache folder's ``features``), at most ``limit_gb`` GB of them.

    The limit is ``$ETUDE_CACHE_GB``, 50 unless set.
    """

    def __init__(self, root: Path | None = None, limit_gb: float | None = None) -> None:
        self.root = cache_root() / FEATURES if root is None else root
        self.limit = (_limit_gb() if limit_gb is None else limit_gb) * 1e9
        self._used: set[Path] = set()

    def describe(
        self, key: Mapping[str, Any], ids: Sequence[str], shapes: Mapping[str, tuple[int, ...]], dtype: str
    ) -> FeatureSet:
        """The set of rows ``ids`` (each names its audio, window and view) computed as ``key`` says. Nothing is written.

        ``shapes``: of one row of each part that is wanted; they follow from ``key``.
        """
        group = _digest(json.dumps({**key, "dtype": dtype}, sort_keys=True))
        folder = self.root / f"{group}-{_digest(*ids)}"
        self._used.add(folder)
        return FeatureSet(folder, tuple(ids), shapes, dtype)

    @contextmanager
    def filling(self, features: FeatureSet, about: Mapping[str, Any], wait: Callable[[], None]) -> Iterator[bool]:
        """Hold the lock of ``features`` with files for its parts in place; yields whether there is room for them.

        Rows that another set of the group has are copied. ``about`` says in plain words what the set is; ``wait`` is called
        now and then while another process holds the lock. Raises :class:`OSError` when the disk refuses.
        """
        self.root.mkdir(parents=True, exist_ok=True)
        lock = features.lock
        while True:
            try:
                lock.acquire(timeout=POLL_SECONDS)
                break
            except Timeout:
                wait()
        try:
            names = list(features.shapes)
            parts = [features.part(name) for name in names]
            room = self._make_room(sum(part.bytes for part in parts if not part.rows.exists()))
            if room:
                features.folder.mkdir(exist_ok=True)
                _write(features.folder / "ids.txt", "\n".join(features.ids))
                _write(features.folder / "about.json", json.dumps(dict(about), indent=2, ensure_ascii=False))
                for name, part in zip(names, parts, strict=True):
                    part.create()
                    self._copy_known(features, name, part)
            yield room
        finally:
            lock.release()

    def _copy_known(self, features: FeatureSet, name: str, part: RowFile) -> None:
        """Take over rows from other sets of the group: a data set that grew, or a share of a larger one."""
        group, _, _ = features.folder.name.partition("-")
        for path in self.root.glob(f"{group}-*/ids.txt"):
            folder, missing = path.parent, part.missing()
            if folder == features.folder or not len(missing):
                continue
            other = _read_ids(path)
            places = {row: index for index, row in enumerate(other)}
            source = RowFile(folder, name, len(other), features.shapes[name], features.dtype)
            absent = set(source.missing().tolist())
            pairs = [(i, places[features.ids[i]]) for i in missing if places.get(features.ids[i], -1) not in absent | {-1}]
            if not pairs:
                continue
            try:
                source.open()
            except FileNotFoundError:
                continue  # another run has made room
            for first in range(0, len(pairs), COPY_ROWS):
                some = pairs[first : first + COPY_ROWS]
                values, damaged = source.read([there for _, there in some])
                sound = [entry for entry in range(len(some)) if entry not in damaged]
                part.write([int(some[entry][0]) for entry in sound], values[sound])
            source.close()

    def _make_room(self, needed: int) -> bool:
        """Delete the least recently used parts until ``needed`` bytes more fit the limit and the disk."""
        if needed > self.limit:
            return False
        entries = self.entries()
        total = sum(entry.bytes for entry in entries)
        for entry in entries:
            if total + needed <= self.limit and self._disk_has(needed):
                break
            if entry.folder not in self._used and self._remove(entry):
                total -= entry.bytes
        return total + needed <= self.limit and self._disk_has(needed)

    def _disk_has(self, needed: int) -> bool:
        disk = shutil.disk_usage(self.root)
        return needed == 0 or needed <= disk.free - min(5e9, disk.total / 20)

    def entries(self) -> list[Entry]:
        """All parts in the store, the least recently used first."""
        found = []
        for sums in self.root.glob("*/*.sums"):
            rows = sums.with_suffix(".rows")
            try:
                size = sums.stat().st_size + (rows.stat().st_size if rows.exists() else 0)
                found.append(Entry(sums.parent, sums.stem, size, sums.stat().st_mtime))
            except FileNotFoundError:
                continue  # deleted meanwhile
        return sorted(found, key=lambda entry: entry.used)

    def _remove(self, entry: Entry) -> bool:
        """Delete a part unless somebody is computing it; returns whether it was deleted."""
        lock = FileLock(entry.folder.with_suffix(".lock"))
        try:
            with lock.acquire(timeout=0):
                for suffix in (".sums", ".rows"):
                    (entry.folder / f"{entry.part}{suffix}").unlink(missing_ok=True)
                if not list(entry.folder.glob("*.rows")):
                    shutil.rmtree(entry.folder, ignore_errors=True)
        except (Timeout, OSError):
            return False
        if not entry.folder.exists():
            Path(lock.lock_file).unlink(missing_ok=True)
        return True


@dataclass(frozen=True)
class Entry:
    """One part of one data set on disk."""

    folder: Path
    part: str
    bytes: int
    used: float
    """When it was last written or opened, in seconds since 1970."""


def _digest(*texts: str) -> str:
    digest = hashlib.sha256()
    for text in texts:
        digest.update(f"{len(text)}:{text}".encode())
    return digest.hexdigest()[:16]


def _write(path: Path, text: str) -> None:
    if not path.exists() or path.read_text(encoding="utf-8") != text:
        with replace_file(path) as partial:
            partial.write_text(text, encoding="utf-8")


def _read_ids(path: Path) -> list[str]:
    """The row ids of a data set; none when they are not those that gave its folder its name."""
    try:
        ids = path.read_text(encoding="utf-8").split("\n")
    except (OSError, UnicodeDecodeError):
        return []
    return ids if path.parent.name.endswith(f"-{_digest(*ids)}") else []


def _limit_gb() -> float:
    text = os.environ.get("ETUDE_CACHE_GB", str(DEFAULT_GB))
    try:
        limit = float(text)
    except ValueError:
        limit = -1.0
    if not limit >= 0:
        raise UserError(f"'{text}' is not a size in GB", where="ETUDE_CACHE_GB", fix="set it to a number such as 50")
    return limit
