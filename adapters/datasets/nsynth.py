"""NSynth: 305,979 notes of 4 s at 16 kHz by 1,006 instruments of 11 families (Engel et al., ICML 2017, arXiv 1704.01279).

Expected: ``nsynth-train``, ``nsynth-valid`` and ``nsynth-test``, each with ``examples.json`` and ``audio/*.wav``. The published
splits share no instrument, so they cannot serve to tell instruments apart; Zhong et al. (APSIPA 2023) classify all 1,006.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import Field, model_validator

from etude.adapters.annotations import Annotation
from etude.adapters.annotations.tags import Tag
from etude.adapters.config import Location
from etude.adapters.datasets import Dataset, DatasetConfig, Split, Track
from etude.adapters.errors import Problem, UserError
from etude.adapters.sound.audio import AudioInfo, probe

FOLDERS: dict[str, Split] = {"nsynth-train": "train", "nsynth-valid": "validation", "nsynth-test": "test"}
SHARES: dict[Split, float] = {"train": 0.9, "validation": 0.05, "test": 0.05}
"""Of the notes, where they are split one by one."""
FIELDS = {"instrument": "instrument_str", "family": "instrument_family_str"}
"""Label -> the field of ``examples.json`` that holds it."""
SOURCE = "get the JSON/WAV files of NSynth from magenta.tensorflow.org/datasets/nsynth and unpack all three"


class NsynthConfig(DatasetConfig):
    """NSynth on disk."""

    root: Location
    """The folder that holds what is expected."""
    label: Literal["instrument", "family"] = "instrument"
    """What notes are told apart by."""
    split: Literal["notes", "published"] = "notes"
    """``notes``: 90, 5 and 5 % of all notes, drawn note by note; ``published``: as released, by instruments."""
    seed: int = Field(0, ge=0)
    """Of the split by notes."""

    @model_validator(mode="after")
    def _split_can_be_learnt(self) -> Self:
        if self.label == "instrument" and self.split == "published":
            raise ValueError("the published splits share no instrument: choose 'split: notes', or 'label: family'")
        return self


class Nsynth(Dataset):
    """Reads the lists of notes and the names of the files; headers are read once per file size, for all files are alike."""

    Config = NsynthConfig
    config: NsynthConfig
    licence = "CC-BY-4.0"

    def __init__(self, config: NsynthConfig) -> None:
        super().__init__(config)
        self._found: tuple[str, ...] = ()

    @property
    def classes(self) -> Mapping[str, tuple[str, ...]]:
        """The sorted names of all instruments, or of all families."""
        self.check()
        return {"tags": self._found}

    def scan(self) -> tuple[list[Track], list[Problem]]:
        """Every note as a track; what many files have in common is one problem."""
        root = Path(self.config.root)
        if not root.is_dir():
            return [], [Problem("no such folder", str(root), SOURCE)]
        tracks: list[Track] = []
        problems: list[Problem] = []
        infos: dict[int, AudioInfo | None] = {}
        annotations: dict[str, Annotation] = {}
        for name in FOLDERS:
            labels, wrong = _labels(root / name / "examples.json", FIELDS[self.config.label])
            problems += wrong
            if not labels:
                continue
            audio = root / name / "audio"
            sizes = _sizes(audio)
            problems += self._missing(root / name, labels, sizes)
            for note, label in labels.items():
                size = sizes.get(f"{note}.wav")
                if size is None:
                    continue
                path = audio / f"{note}.wav"
                if size not in infos:
                    infos[size] = _info(path, problems)
                if info := infos[size]:
                    if label not in annotations:
                        annotations[label] = Annotation(tags=[Tag(label)])
                    tracks.append(Track(f"{name}/{note}", path, info, self._split(name, note), annotations[label]))
        self._found = tuple(sorted(annotations))
        return tracks, problems + _odd_ones(tracks)

    def _missing(self, folder: Path, labels: dict[str, str], sizes: dict[str, int]) -> list[Problem]:
        lacking = [note for note in labels if f"{note}.wav" not in sizes]
        if unlisted := [name for name in sizes if name.removesuffix(".wav") not in labels]:
            what = f"{len(unlisted)} recordings are not listed in examples.json, first {min(unlisted)}"
            self.notices.append(Problem(what, str(folder), "ignore this, or unpack the data set again"))
        if not lacking:
            return []
        what = f"{len(lacking)} of {len(labels)} recordings are missing, first {min(lacking)}.wav"
        return [Problem(what, str(folder / "audio"), "unpack the data set again")]

    def _split(self, folder: str, note: str) -> Split:
        if self.config.split == "published":
            return FOLDERS[folder]
        digest = hashlib.blake2b(f"{self.config.seed}:{note}".encode(), digest_size=8).digest()
        place = int.from_bytes(digest) / 2**64
        return "train" if place < SHARES["train"] else "validation" if place < 1 - SHARES["test"] else "test"


def _labels(path: Path, field: str) -> tuple[dict[str, str], list[Problem]]:
    """Note -> label. Only that is kept of each note while the file is read: all its fields would fill gigabytes."""

    def keep(entry: dict[str, Any]) -> Any:
        label = entry.get(field)
        return sys.intern(label) if isinstance(label, str) else entry

    try:
        with path.open(encoding="utf-8") as file:
            labels = json.load(file, object_hook=keep)
    except OSError as error:
        return {}, [Problem(f"cannot be read: {error.strerror}", str(path), SOURCE)]
    except ValueError:
        return {}, [Problem("is not a JSON file", str(path), "unpack the data set again")]
    if not isinstance(labels, dict) or not labels or not all(isinstance(label, str) for label in labels.values()):
        return {}, [Problem(f"is no list of notes with the field '{field}'", str(path), "unpack the data set again")]
    return labels, []


def _sizes(folder: Path) -> dict[str, int]:
    """Bytes of each WAV file by name; none where there is no such folder."""
    if not folder.is_dir():
        return {}
    with os.scandir(folder) as entries:
        return {entry.name: entry.stat().st_size for entry in entries if entry.name.endswith(".wav")}


def _info(path: Path, problems: list[Problem]) -> AudioInfo | None:
    try:
        return probe(path)
    except UserError as error:
        problems += error.problems
        return None


def _odd_ones(tracks: list[Track]) -> list[Problem]:
    """Recordings that are not like most: cut short, or converted."""
    counts = Counter(track.info for track in tracks)
    if len(counts) < 2:
        return []
    usual = counts.most_common(1)[0][0]
    return [
        Problem(f"has {_words(track.info)}, where others have {_words(usual)}", str(track.audio), "unpack the data set again")
        for track in tracks
        if track.info != usual
    ]


def _words(info: AudioInfo) -> str:
    return f"{info.duration:.2f} s at {info.sample_rate} Hz in {info.channels} channel{'' if info.channels == 1 else 's'}"
