"""NSynth: 305,979 notes of 4 s at 16 kHz by 1,006 instruments of 11 families (Engel et al., ICML 2017, arXiv 1704.01279).

Expected: ``nsynth-train``, ``nsynth-valid`` and ``nsynth-test``, each with ``examples.json`` and ``audio/*.wav``. The published
training split shares no instrument with the others, so it cannot serve to tell instruments apart; Zhong et al. (APSIPA 2023)
classify all 1,006. Validation and test share theirs with each other.

Silent notes are left out, as by Zhong et al.: those whose mean absolute sample is below 0.0005. To find them, all notes are
read once, and the cache keeps which they are. Notes that are equal byte by byte are split as one.
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

import numpy as np
from pydantic import Field, model_validator

from etude.adapters.annotations import Annotation
from etude.adapters.annotations.tags import Tag
from etude.adapters.config import Location
from etude.adapters.datasets import Dataset, DatasetConfig, Split, Track
from etude.adapters.datasets._parts.equal_files import equal_files
from etude.adapters.errors import Problem, UserError
from etude.adapters.sound.audio import AudioInfo, probe, read_window
from etude.adapters.storage.cache import cached_folder

FOLDERS: dict[str, Split] = {"nsynth-train": "train", "nsynth-valid": "validation", "nsynth-test": "test"}
SHARES: dict[Split, float] = {"train": 0.9, "validation": 0.05, "test": 0.05}
"""Of the notes, where they are split one by one."""
FIELDS = {"instrument": "instrument_str", "family": "instrument_family_str"}
"""Label -> the field of ``examples.json`` that holds it."""
QUIET = 5e-4
"""Mean absolute sample below which a note counts as silent."""
VERSION = 1
"""Part of the cache key; raise it when something else is found in the recordings."""
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
            raise ValueError(
                "the published training split shares no instrument with the others: choose 'split: notes', or 'label: family'"
            )
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
        notes: dict[str, tuple[Path, AudioInfo, str]] = {}
        stamps = hashlib.sha256()
        for name in FOLDERS:
            labels, wrong = _labels(root / name / "examples.json", FIELDS[self.config.label])
            problems += wrong
            if not labels:
                continue
            audio = root / name / "audio"
            files = _files(audio)
            problems += self._missing(root / name, labels, files)
            for note, label in labels.items():
                if f"{note}.wav" not in files:
                    continue
                path, (size, _) = audio / f"{note}.wav", files[f"{note}.wav"]
                if size not in infos:
                    infos[size] = _info(path, problems)
                if info := infos[size]:
                    notes[f"{name}/{note}"] = path, info, label
                    stamps.update(f"{name}/{note}:{files[path.name]}".encode())
        silent, doubled = _heard(notes, stamps.hexdigest())
        annotations: dict[str, Annotation] = {}
        for id, (path, info, label) in notes.items():
            if id not in silent:
                if label not in annotations:
                    annotations[label] = Annotation(tags=[Tag(label)])
                tracks.append(Track(id, path, info, self._split(doubled.get(id, id)), annotations[label]))
        self._found = tuple(sorted(annotations))
        self._notice(root, list(silent), tracks)
        return tracks, problems + _odd_ones(tracks)

    def _notice(self, root: Path, silent: list[str], tracks: list[Track]) -> None:
        if silent:
            self.notices.append(Problem(f"{len(silent)} notes are silent and are left out, first {silent[0]}", str(root)))
        if self.config.split == "published":
            players = {(track.split, track.audio.stem.rsplit("-", 2)[0]) for track in tracks}  # instrument-pitch-velocity
            if shared := {name for split, name in players if split == "validation" and ("test", name) in players}:
                what = f"nsynth-valid and nsynth-test share {len(shared)} instruments, first {min(shared)}"
                fix = "test scores are not those of instruments that nothing was chosen on"
                self.notices.append(Problem(what, str(root), fix))

    def _missing(self, folder: Path, labels: dict[str, str], files: Mapping[str, object]) -> list[Problem]:
        lacking = [note for note in labels if f"{note}.wav" not in files]
        if unlisted := [name for name in files if name.removesuffix(".wav") not in labels]:
            what = f"{len(unlisted)} recordings are not listed in examples.json, first {min(unlisted)}"
            self.notices.append(Problem(what, str(folder), "ignore this, or unpack the data set again"))
        if not lacking:
            return []
        what = f"{len(lacking)} of {len(labels)} recordings are missing, first {min(lacking)}.wav"
        return [Problem(what, str(folder / "audio"), "unpack the data set again")]

    def _split(self, id: str) -> Split:
        folder, note = id.split("/")
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


def _files(folder: Path) -> dict[str, tuple[int, int]]:
    """Bytes and time of change of each WAV file by name; none where there is no such folder."""
    if not folder.is_dir():
        return {}
    with os.scandir(folder) as entries:
        found = ((entry.name, entry.stat()) for entry in entries if entry.name.endswith(".wav"))
        return {name: (stat.st_size, stat.st_mtime_ns) for name, stat in found}


def _heard(notes: Mapping[str, tuple[Path, AudioInfo, str]], stamp: str) -> tuple[dict[str, None], dict[str, str]]:
    """The ids of silent notes, in order, and of the notes that equal an earlier one byte by byte, with the id of that one.

    Found once for files of one ``stamp``.
    """

    def listen(folder: Path) -> None:
        loud = {path: id for id, (path, info, _) in notes.items() if not _silent(path, info)}
        groups = [[loud[path] for path in group] for group in equal_files(loud)]
        doubled = {other: first for first, *others in groups for other in others}
        silent = [id for id, (path, *_) in notes.items() if path not in loud]
        (folder / "heard.json").write_text(json.dumps([silent, doubled]), encoding="utf-8")

    folder = cached_folder("nsynth", {"files": stamp, "quiet": QUIET, "version": VERSION}, listen)
    silent, doubled = json.loads((folder / "heard.json").read_text(encoding="utf-8"))
    return dict.fromkeys(silent), doubled


def _silent(path: Path, info: AudioInfo) -> bool:
    """Whether it is; what cannot be read is not, and is told of elsewhere."""
    try:
        samples = read_window(path, 0, info.frames, info.sample_rate, info)
    except UserError:
        return False
    return float(np.abs(samples).mean()) < QUIET


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
