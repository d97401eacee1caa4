"""Guzheng_Tech99: 99 solo pieces (2.52 h) with 7 playing techniques, as split by its authors into 79, 10 and 10 pieces.

Li et al., "Frame-Level Multi-Label Playing Technique Detection Using Multi-Scale Network and Self-Attention Mechanism", ICASSP
2023. The map of 10 raw names to 7 classes is the one of MERTech (Li et al., ICASSP 2024); scores made with other maps do not
compare. Expected: ``data/<split>/*.flac`` (or ``.wav``) and ``labels/<split>/*.csv``, paired by file name, the latter with the
columns ``onset_time, offset_time, IPT, note`` (seconds, raw name, MIDI number).
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from etude.adapters.config import Location
from etude.adapters.datasets import SPLITS, Dataset, DatasetConfig, Split, Track
from etude.adapters.datasets._parts.labelled import LabelledFile, doubled, read_tracks
from etude.adapters.errors import Problem
from etude.adapters.formats import Reading

LABELS = {
    "chanyin": "vibrato",
    "boxian": "plucks",
    "shanghua": "upward_portamento",
    "xiahua": "downward_portamento",
    "huazhi": "glissando",
    "guazou": "glissando",
    "lianmo": "glissando",
    "liantuo": "glissando",
    "yaozhi": "tremolo",
    "dianyin": "point_note",
}
"""Raw name -> class; the classes appear in the order of their ids."""
SOURCE = "get ccmusic-database/Guzheng_Tech99 from the Hugging Face Hub and lay it out as data/SPLIT/*.flac, labels/SPLIT/*.csv"


class GuzhengTech99Config(DatasetConfig):
    """Guzheng_Tech99 on disk."""

    root: Location
    """The folder that holds what is expected."""


class GuzhengTech99(Dataset):
    """Reads the folder layout of the original release."""

    Config = GuzhengTech99Config
    config: GuzhengTech99Config
    licence = "CC-BY-NC-ND-4.0"

    @property
    def classes(self) -> Mapping[str, tuple[str, ...]]:
        """The 7 techniques in the order of their ids."""
        return {"notes": tuple(dict.fromkeys(LABELS.values()))}

    def scan(self) -> tuple[list[Track], list[Problem]]:
        """Every usable track and every problem."""
        root = Path(self.config.root)
        if not root.is_dir():
            return [], [Problem("no such folder", str(root), SOURCE)]
        files: list[LabelledFile] = []
        problems: list[Problem] = []
        for split in SPLITS:
            found, wrong = _pair(root, split)
            files.extend(found)
            problems.extend(wrong)
        read = read_tracks(files, Reading(labels=LABELS, columns={"technique": "IPT", "pitch": "note"}))
        self.notices = doubled(read.tracks)
        return read.tracks, problems + read.problems


def _pair(root: Path, split: Split) -> tuple[list[LabelledFile], list[Problem]]:
    """Recordings and label files of one split with equal stems; what has no partner, or two, is a problem."""
    problems: list[Problem] = []
    stems: list[dict[str, Path]] = []
    for folder, suffixes in ((root / "data" / split, (".flac", ".wav")), (root / "labels" / split, (".csv",))):
        paths = sorted(path for path in folder.glob("*") if path.suffix.lower() in suffixes)
        if not paths:
            problems.append(Problem(f"no {' or '.join(suffixes)} file in it", str(folder), SOURCE))
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
    files = [LabelledFile(f"{split}/{stem}", audio[stem], labels[stem], split) for stem in audio if stem in labels]
    return files, problems
