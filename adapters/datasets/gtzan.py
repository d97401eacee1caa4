"""GTZAN: 1,000 clips of 30 s, 100 in each of 10 genres (Tzanetakis & Cook, IEEE TSAP 2002), split without its known faults.

The fault-filtered lists are those of Kereliuk, Sturm & Larsen ("Deep Learning and Music Adversaries", 2015, arXiv 1507.04761),
where no artist is in two splits. Expected: ``genres/<genre>/<genre>.00000.wav`` (or ``.au``; the folder may be called
``genres_original``), and ``train_filtered.txt``, ``valid_filtered.txt`` and ``test_filtered.txt`` with one path such as
``blues/blues.00029.wav`` per line.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from etude.adapters.annotations import Annotation
from etude.adapters.annotations.tags import Tag
from etude.adapters.config import Location
from etude.adapters.datasets import Dataset, DatasetConfig, Split, Track
from etude.adapters.errors import Problem, UserError, nearest
from etude.adapters.sound.audio import probe

GENRES = ("blues", "classical", "country", "disco", "hiphop", "jazz", "metal", "pop", "reggae", "rock")
FOLDERS = ("genres", "genres_original")
LISTS: dict[str, Split] = {
    "train_filtered.txt": "train",
    "valid_filtered.txt": "validation",
    "test_filtered.txt": "test",
}
BROKEN = "jazz/jazz.00054"
"""Cannot be read in some copies."""
SUFFIXES = (".wav", ".au")
SOURCE = "get GTZAN and unpack it, so that there is a folder 'genres' with one folder for each genre"
LISTS_SOURCE = "get the lists from github.com/jongpillee/music_dataset_split, folder GTZAN_split"


class GtzanConfig(DatasetConfig):
    """GTZAN on disk."""

    root: Location
    """The folder that holds what is expected."""
    splits: Location | None = None
    """Folder of the lists, where that is not ``root``."""


class Gtzan(Dataset):
    """Reads the recordings that the lists name."""

    Config = GtzanConfig
    config: GtzanConfig
    licence = "unknown"

    @property
    def classes(self) -> Mapping[str, tuple[str, ...]]:
        """The 10 genres in alphabetical order."""
        return {"tags": GENRES}

    def scan(self) -> tuple[list[Track], list[Problem]]:
        """Every usable recording and every problem; that the one known to be broken cannot be read is a notice."""
        root = Path(self.config.root)
        audio = next((root / name for name in FOLDERS if (root / name).is_dir()), None)
        if audio is None:
            return [], [Problem("no such folder", str(root / FOLDERS[0]), SOURCE)]
        tracks: list[Track] = []
        problems: list[Problem] = []
        listed: dict[str, str] = {}
        for name, split in LISTS.items():
            clips, wrong = _read_list(Path(self.config.splits or root) / name, listed)
            problems += wrong
            missing = []
            for clip in clips:
                paths = [audio / f"{clip}{suffix}" for suffix in SUFFIXES]
                path = next((path for path in paths if path.is_file()), paths[0])
                try:
                    track = Track(clip, path, probe(path), split, Annotation(tags=[Tag(clip.split("/")[0])]))
                except UserError as error:
                    if clip == BROKEN:
                        self.notices.append(Problem("cannot be read, as is known of it, and is left out", str(path)))
                    elif path.is_file():
                        problems += error.problems
                    else:
                        missing.append(clip)
                    continue
                tracks.append(track)
            if missing:
                what = f"{len(missing)} of the {len(clips)} recordings in {name} are missing, first {missing[0]}"
                problems.append(Problem(what, str(audio), SOURCE))
        return tracks, problems


def _read_list(path: Path, listed: dict[str, str]) -> tuple[list[str], list[Problem]]:
    """Recordings of one list, as paths without suffix. They are added to ``listed``, which says where each was found."""
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except OSError as error:
        return [], [Problem(f"cannot be read: {error.strerror}", str(path), LISTS_SOURCE)]
    except UnicodeDecodeError:
        return [], [Problem("is not a text file", str(path), LISTS_SOURCE)]
    clips: list[str] = []
    problems: list[Problem] = []
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        where, parts = f"{path}:{number}", re.fullmatch(r"(([\w-]+)/[\w.-]+)\.(wav|au)", line.strip())
        if not parts:
            problems.append(Problem(f"{line.strip()!r} is not of the form blues/blues.00029.wav", where, LISTS_SOURCE))
            continue
        clip, genre = parts[1], parts[2]
        if genre not in GENRES:
            problems.append(Problem(f"unknown genre {genre!r}", where, nearest(genre, GENRES)))
        elif clip in listed:
            what = f"{clip} is listed already in {listed[clip]}"
            problems.append(Problem(what, where, "keep it in one place: what is trained on must not be tested on"))
        else:
            listed[clip] = where
            clips.append(clip)
    if not clips and not problems:
        problems.append(Problem("lists no recording", str(path), LISTS_SOURCE))
    return clips, problems
