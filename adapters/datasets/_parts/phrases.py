"""Writing made phrases as a folder that the data set ``manifest`` reads: FLAC, event CSVs and ``manifest.csv``."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile
from numpy.typing import NDArray

from etude.adapters.annotations import Annotation
from etude.adapters.annotations.notes import Note
from etude.adapters.datasets import Split
from etude.adapters.formats.csv import write_records

PEAK = 0.95
"""A phrase that is louder is scaled down to this, as a whole, so that 16 bits never clip."""


@dataclass(frozen=True, slots=True)
class Phrase:
    """Mono samples ``[samples]`` with the notes they hold; ``licence`` is an SPDX identifier, ``group`` that of the notes."""

    split: Split
    samples: NDArray[np.float32]
    notes: tuple[Note, ...]
    licence: str
    group: str = ""


def write_phrases(folder: Path, phrases: Iterable[Phrase], sample_rate: int) -> None:
    """Write ``<split>/<number>.flac`` (16 bit), ``<split>/<number>.csv`` and ``manifest.csv``, with a column ``group`` if any
    phrase has one; holds one phrase at a time."""
    counts: Counter[Split] = Counter()
    rows = []
    for phrase in phrases:
        stem = f"{phrase.split}/{counts[phrase.split]:04d}"
        counts[phrase.split] += 1
        (folder / phrase.split).mkdir(parents=True, exist_ok=True)
        peak = float(np.abs(phrase.samples).max(initial=0.0))
        samples = phrase.samples * np.float32(min(1.0, PEAK / peak) if peak else 1.0)
        soundfile.write(folder / f"{stem}.flac", samples, sample_rate, subtype="PCM_16")
        write_records(folder / f"{stem}.csv", Annotation(notes=phrase.notes))
        rows.append([f"{stem}.flac", f"{stem}.csv", phrase.split, phrase.licence, phrase.group])
    grouped = any(row[-1] for row in rows)
    with (folder / "manifest.csv").open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        table.writerow(["audio", "events", "split", "licence", *(["group"] if grouped else [])])
        table.writerows(row if grouped else row[:-1] for row in rows)
