"""Guzheng_Tech99: 99 solo pieces (2.52 h) with 7 playing techniques, as split by its authors into 79, 10 and 10 pieces.

Li et al., "Frame-Level Multi-Label Playing Technique Detection Using Multi-Scale Network and Self-Attention Mechanism", ICASSP
2023. The map of raw names to 7 classes is the one of MERTech (Li et al., ICASSP 2024); scores made with other maps do not
compare. Expected is any of its releases:

- the Hub's: ``default/SPLIT/*.arrow``, or parquet files; unpacked once into the cache (needs ``etude[arrow]``);
- ModelScope's, unpacked: ``audio/SPLIT/*.flac`` and ``label/SPLIT/*.csv``;
- CMI-Bench's: ``data/audio/SPLIT/*.flac`` and ``data/label/SPLIT/*.csv``;
- MERTech's: ``data/SPLIT/*.flac`` and ``labels/SPLIT/*.csv``.

Recordings, which may be in any audio format, and tables are paired by file name; tables have the columns ``onset_time,
offset_time, IPT, note`` (seconds, raw name, MIDI number).
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from itertools import chain
from pathlib import Path

from etude.adapters.config import Location
from etude.adapters.datasets import SPLITS, Dataset, DatasetConfig, Split, Track
from etude.adapters.datasets._parts.hub_tables import find_tables, unpack
from etude.adapters.datasets._parts.labelled import doubled
from etude.adapters.datasets._parts.published_notes import PublishedNotes
from etude.adapters.errors import Problem, UserError
from etude.adapters.formats import Entry
from etude.adapters.formats.csv import read_table
from etude.adapters.sound.audio import SUFFIXES
from etude.adapters.storage.cache import cached_folder

LABELS = {
    "chanyin": "vibrato",
    "boxian": "plucks",
    "shanghua": "upward_portamento",
    "xiahua": "downward_portamento",
    "huazhi": "glissando",
    "guazou": "glissando",
    "lianmo": "glissando",
    "liantuo": "glissando",
    "huazhi/guazou/lianmo/liantuo": "glissando",
    "yaozhi": "tremolo",
    "dianyin": "point_note",
}
"""Raw name -> class; the classes appear in the order of their ids."""
HUB_CLASSES = ("chanyin", "boxian", "shanghua", "xiahua", "huazhi/guazou/lianmo/liantuo", "yaozhi", "dianyin")
"""The Hub's names by number."""
COLUMNS = {"onset_time": "onset_time", "offset_time": "offset_time", "technique": "IPT", "pitch": "note"}
LAYOUTS = (("data", "labels"), ("audio", "label"), ("audio", "labels"), ("data/audio", "data/label"))
"""Folders of the recordings and of their tables, each with one for every split."""
SOURCE = (
    "hf download ccmusic-database/Guzheng_Tech99 --repo-type dataset --local-dir Guzheng_Tech99, or unpack data/audio.zip and "
    "data/label.zip of modelscope.cn/datasets/ccmusic-database/Guzheng_Tech99 into one folder, as audio/SPLIT and label/SPLIT"
)
VERSION = 1
"""Part of the cache key; raise it when tables are unpacked differently."""


class GuzhengTech99Config(DatasetConfig):
    """Guzheng_Tech99 on disk."""

    root: Location
    """The folder that holds what is expected."""


class GuzhengTech99(Dataset):
    """Reads whichever release is there."""

    Config = GuzhengTech99Config
    config: GuzhengTech99Config
    licence = "CC-BY-NC-ND-4.0"

    @property
    def classes(self) -> Mapping[str, tuple[str, ...]]:
        """The 7 techniques in the order of their ids."""
        return {"notes": tuple(dict.fromkeys(LABELS.values()))}

    def scan(self) -> tuple[list[Track], list[Problem]]:
        """Every usable track and every problem; events that do not fit their recording are cut or left out, with a notice."""
        try:
            root, layout = _laid_out(Path(self.config.root))
        except UserError as error:
            return [], list(error.problems)
        notes = PublishedNotes(LABELS)
        for split in SPLITS:
            for audio, table in _pair(root, layout, split, notes.problems):
                notes.add(f"{split}/{audio.stem}", audio, split, _entries(table, notes.problems))
        self.notices = notes.notices() + doubled(notes.tracks)
        return notes.tracks, notes.problems


def _laid_out(root: Path) -> tuple[Path, tuple[str, str]]:
    """The folder in which recordings are, and their layout; tables are unpacked first. Raises :class:`UserError`."""
    if not root.is_dir():
        raise UserError("no such folder", where=str(root), fix=SOURCE)
    layouts = [layout for layout in LAYOUTS if any(_files(root / layout[0] / split, SUFFIXES) for split in SPLITS)]
    if layouts:
        return root, max(layouts, key=lambda layout: (root / layout[1]).is_dir())
    if tables := find_tables(root):
        stamps = [
            (path.relative_to(root).as_posix(), stat.st_size, stat.st_mtime_ns)
            for path in chain(*tables.values())
            for stat in [path.stat()]
        ]
        key = {"tables": stamps, "version": VERSION}
        return cached_folder("guzheng_tech99", key, lambda folder: unpack(tables, folder, HUB_CLASSES)), LAYOUTS[0]
    for audio, _ in LAYOUTS:
        if _files(root / audio, SUFFIXES):
            what = "holds recordings, but not in the folders train, validation and test: nothing tells the published split"
            raise UserError(what, where=str(root / audio), fix=SOURCE)
    raise UserError("holds neither tables (.arrow, .parquet) nor recordings of Guzheng_Tech99", where=str(root), fix=SOURCE)


def _files(folder: Path, suffixes: Collection[str]) -> list[Path]:
    return sorted(path for path in folder.glob("*") if path.suffix.lower() in suffixes and not path.name.startswith("."))


def _pair(root: Path, layout: tuple[str, str], split: Split, problems: list[Problem]) -> Iterator[tuple[Path, Path]]:
    """Recordings and tables of one split with equal stems; what has no partner, or two, is added to ``problems``."""
    stems: list[dict[str, Path]] = []
    for folder, suffixes, kind in ((layout[0], SUFFIXES, "audio"), (layout[1], {".csv"}, "CSV")):
        paths = _files(root / folder / split, suffixes)
        if not paths:
            problems.append(Problem(f"no {kind} file in it", str(root / folder / split), SOURCE))
        unique: dict[str, Path] = {}
        for path in paths:
            if unique.setdefault(path.stem, path) != path:
                problems.append(Problem(f"has the same name as {unique[path.stem].name}", str(path), "remove one of them"))
        stems.append(unique)
    audio, labels = stems
    if audio and labels:
        for mine, theirs, missing in ((audio, labels, "no label file"), (labels, audio, "no recording")):
            lone = [path for stem, path in mine.items() if stem not in theirs]
            problems.extend(Problem(f"has {missing} of the same name", str(path), "add or rename it") for path in lone)
    yield from ((audio[stem], labels[stem]) for stem in audio if stem in labels)


def _entries(table: Path, problems: list[Problem]) -> Iterator[Entry]:
    rows, found = read_table(table, list(COLUMNS.values())[:3])
    problems += found
    for number, cells in rows:
        yield Entry({column: cells.get(name, "") for column, name in COLUMNS.items()}, f"{table}:{number}")
