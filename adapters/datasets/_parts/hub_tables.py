"""Annotated recordings in tables, as the Hugging Face Hub has them: Arrow and parquet files with the sound in a column.

A row has ``audio``, with the bytes of a sound file, and ``label`` with ``onset_time, offset_time, IPT, note`` (seconds,
technique, MIDI number), as a list of events or as a list of each field. Techniques are names, or numbers whose names the table
tells.
"""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from etude.adapters.datasets import Split
from etude.adapters.datasets._parts.splits import SPLIT_NAMES
from etude.adapters.errors import UserError
from etude.adapters.sound.audio import SUFFIXES

TABLES = (".arrow", ".parquet")
FIELDS = ("onset_time", "offset_time", "IPT", "note")
KINDS = {b"fLaC": ".flac", b"RIFF": ".wav", b"OggS": ".ogg"}
"""What a sound file begins with -> what its name ends in; else it is an MP3."""


def find_tables(root: Path) -> dict[Split, list[Path]]:
    """The tables of each split, which the last of the words in their paths that is the name of one tells, sorted.

    Left out are those of the configuration ``eval`` (spectrograms), and what libraries keep beside them.
    """
    found: dict[Split, list[Path]] = {}
    for path in sorted(path for suffix in TABLES for path in root.rglob(f"*{suffix}")):
        parts = path.relative_to(root).parts
        words = re.findall(r"[a-z]+", "/".join(parts).lower())
        splits = [SPLIT_NAMES[word] for word in words if word in SPLIT_NAMES]
        if splits and not ("eval" in words or path.name.startswith("cache-") or any(part.startswith(".") for part in parts)):
            found.setdefault(splits[-1], []).append(path)
    return found


def unpack(tables: Mapping[Split, Sequence[Path]], folder: Path, classes: Sequence[str]) -> None:
    """Write every row as ``data/SPLIT/NAME.flac`` (or what the sound is) and ``labels/SPLIT/NAME.csv``, one at a time.

    ``classes`` are the techniques by number, where no table tells. Raises :class:`UserError` without pyarrow, and for a table
    that is damaged or holds something else.
    """
    for split, paths in tables.items():
        audio, labels = (folder / part / split for part in ("data", "labels"))
        for made in (audio, labels):
            made.mkdir(parents=True)
        count = 0
        for path in paths:
            for sound, name, events in _rows(path, classes):
                stem = re.sub(r"[^\w.-]+", "_", Path(name).stem) or str(count)
                if (labels / f"{stem}.csv").exists():
                    stem = f"{stem}-{count}"
                suffix = Path(name).suffix.lower()
                ending = suffix if suffix in SUFFIXES else KINDS.get(bytes(memoryview(sound)[:4]), ".mp3")
                (audio / f"{stem}{ending}").write_bytes(sound)
                with (labels / f"{stem}.csv").open("w", newline="", encoding="utf-8") as file:
                    csv.writer(file).writerows([FIELDS, *events])
                count += 1


def _rows(path: Path, classes: Sequence[str]) -> Iterator[tuple[Any, str, list[tuple[Any, ...]]]]:
    """The sound (a buffer), its file name and the events of each row, in the order of ``FIELDS``."""
    try:
        import pyarrow as pa
    except ImportError:
        raise UserError("reading it needs pyarrow", where=str(path), fix='pip install "etude[arrow]"') from None
    try:
        for batch in _batches(path):
            names = _class_names(batch.schema.metadata or {}) or classes
            for row in range(batch.num_rows):
                audio, label = batch.column("audio")[row], batch.column("label")[row].as_py()
                if audio["bytes"].as_py() is None:
                    raise UserError(f"holds no sound in row {row + 1}", where=str(path), fix="get the data set again")
                yield audio["bytes"].as_buffer(), audio["path"].as_py() or "", _events(label, names)
    except (pa.ArrowException, KeyError, IndexError, TypeError, ValueError, OSError) as error:
        with path.open("rb") as file:
            pointer = file.read(20).startswith(b"version https://git")
        what = "is a Git LFS pointer, not the data" if pointer else f"is no table of annotated recordings: {_line(error)}"
        raise UserError(what, where=str(path), fix="get the data set again") from None


def _batches(path: Path) -> Iterator[Any]:
    """Record batches. What is mapped is not in memory; of a parquet file, one of its pages at a time is."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    if path.suffix == ".parquet":
        with pq.ParquetFile(path, memory_map=True) as table:
            yield from table.iter_batches(batch_size=1, columns=["audio", "label"])
        return
    with pa.memory_map(str(path)) as source:
        if source.read(6) == b"ARROW1":
            table = pa.ipc.open_file(source)
            yield from (table.get_batch(index) for index in range(table.num_record_batches))
        else:
            source.seek(0)
            yield from pa.ipc.open_stream(source)


def _class_names(metadata: Mapping[bytes, bytes]) -> list[str]:
    """The names of the techniques by number, from what the library ``datasets`` notes about a table."""

    def names(part: Any) -> list[str]:
        if not isinstance(part, dict):
            return []
        if isinstance(part.get("IPT"), dict):
            own = part["IPT"].get("feature", part["IPT"])
            return list(own.get("names") or ())
        return next(filter(None, map(names, part.values())), [])

    return names(json.loads(metadata.get(b"huggingface", b"{}")))


def _events(label: Any, names: Sequence[str]) -> list[tuple[Any, ...]]:
    """``label`` is a list of events, or for each field a list of all events'."""
    if isinstance(label, dict):
        label = [dict(zip(FIELDS, values, strict=True)) for values in zip(*(label[field] for field in FIELDS), strict=True)]
    rows = [tuple(event[field] for field in FIELDS) for event in label or ()]
    return [(f"{on:.6f}", f"{off:.6f}", ipt if isinstance(ipt, str) else names[ipt], note) for on, off, ipt, note in rows]


def _line(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__
