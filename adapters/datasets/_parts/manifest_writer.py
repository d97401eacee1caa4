"""Writing any data set as a folder that the data set ``manifest`` reads."""

from __future__ import annotations

import csv
import re
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain, count
from pathlib import Path

from etude.adapters.annotations import Annotation
from etude.adapters.datasets import Dataset, Track
from etude.adapters.datasets.manifest import NO_TAGS, TAG_SEPARATOR
from etude.adapters.errors import Problem, UserError
from etude.adapters.formats.csv import write_records
from etude.adapters.sound.audio import SUFFIXES

HELD = ("notes", "tags")
COLUMNS = ("audio", "events", "tags", "split", "group", "weight", "licence")


def write_manifest(dataset: Dataset, folder: Path, *, link: bool = False) -> Iterator[Track]:
    """Write ``SPLIT/NAME.wav`` (or what the recording is) and ``SPLIT/NAME.csv`` of every track, and ``manifest.csv``; yields
    each track once it is there. With ``link``, recordings are symbolic links.

    Raises :class:`UserError` for a faulty data set, and where it knows what a manifest cannot hold.
    """
    tracks, problems = dataset.check()
    if problems := problems or dataset.leaks() or _lost(tracks):
        raise UserError(problems)
    place: Callable[[Path, Path], object] = (lambda source, to: to.symlink_to(source.absolute())) if link else shutil.copyfile
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "manifest.csv").open("w", newline="", encoding="utf-8") as file:
        rows = csv.DictWriter(file, COLUMNS)
        rows.writeheader()
        for track, stem in zip(tracks, _stems(tracks), strict=True):
            (folder / track.split).mkdir(exist_ok=True)
            row = {
                "audio": f"{stem}{track.audio.suffix}",
                "split": track.split,
                "group": track.group,
                "licence": dataset.licence,
            }
            place(track.audio, folder / row["audio"])
            if "notes" in track.annotation:
                row["events"] = f"{stem}.csv"
                write_records(folder / row["events"], Annotation(notes=track.annotation.notes))
            if "tags" in track.annotation:
                row["tags"] = TAG_SEPARATOR.join(tag.name for tag in track.truth.tags) or NO_TAGS
            row["weight"] = "" if track.weight == 1 else repr(track.weight)
            rows.writerow({**row, "licence": dataset.licence})
            yield track


def _stems(tracks: Iterable[Track]) -> Iterator[str]:
    """Where each track goes, without suffix: its name, as any file system takes it, in the folder of its split."""
    seen = set()
    for track in tracks:
        name = track.id.removeprefix(f"{track.split}/")
        name = name.removesuffix(track.audio.suffix) if track.audio.suffix.lower() in SUFFIXES else name
        plain = re.sub(r"[^-\w.()\[\] ]+", "_", name).strip(" .") or "track"
        numbered = chain([plain], (f"{plain}-{number}" for number in count(2)))
        stem = next(stem for stem in numbered if (track.split, stem.lower()) not in seen)
        seen.add((track.split, stem.lower()))
        yield f"{track.split}/{stem}"


def _lost(tracks: Sequence[Track]) -> list[Problem]:
    """What a manifest cannot hold."""
    layers = [(kind, layer) for track in tracks for kind, layer in track.annotation.by_kind()]
    partly = sum(bool(layer.unjudged) or len(layer.unknown(1.0)) > 0 for _, layer in layers)
    counts = {
        "hold other annotations than notes and tags": sum(kind.name not in HELD for kind, _ in layers),
        "are annotated in part: of the rest, nobody said anything": partly,
        f"have a tag with a '{TAG_SEPARATOR}' in it, or called '{NO_TAGS}'": sum(
            any(TAG_SEPARATOR in tag.name or tag.name == NO_TAGS for tag in track.annotation.tags) for track in tracks
        ),
        "are annotated neither with notes nor with tags": sum(not set(HELD) & set(track.annotation) for track in tracks),
    }
    fix = "train on the data set as it is"
    return [
        Problem(f"{count} recordings {what}, which a manifest cannot hold", "", fix) for what, count in counts.items() if count
    ]
