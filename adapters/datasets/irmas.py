"""IRMAS: predominant instruments of recorded music (Bosch et al., ISMIR 2012), 6,705 training clips and 2,874 test excerpts.

Expected: ``IRMAS-TrainingData/<class>/*.wav`` (3 s, one instrument each) and ``IRMAS-TestingData-Part1`` to ``-Part3`` (5-20 s,
one or more instruments each), the latter with or without a folder ``Part1`` in them, with ``NAME.txt`` beside ``NAME.wav``: one
label per line. Of the songs of each class in the training data, which are named by the number before ``__``
(``[cel][cla]0001__1.wav``, ``008__[cel][nod][cla]0058__1.wav``), 15 % validate, as in Zhong et al. (APSIPA 2023).

The release holds 66 clips twice, 9 of them under two instruments. A clip that is there twice counts once, with the labels of
both, and songs that share a clip validate together.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import numpy as np
from pydantic import Field

from etude.adapters.annotations import Annotation
from etude.adapters.annotations.tags import Tag
from etude.adapters.config import Location
from etude.adapters.datasets import Dataset, DatasetConfig, Split, Track
from etude.adapters.datasets._parts.equal_files import equal_files
from etude.adapters.errors import Problem, UserError, nearest
from etude.adapters.sound.audio import probe

CLASSES = ("cel", "cla", "flu", "gac", "gel", "org", "pia", "sax", "tru", "vio", "voi")
"""Cello, clarinet, flute, acoustic and electric guitar, organ, piano, saxophone, trumpet, violin, voice."""
TRAINING = "IRMAS-TrainingData"
TESTING = ("IRMAS-TestingData-Part1", "IRMAS-TestingData-Part2", "IRMAS-TestingData-Part3")
VALIDATION_SHARE = 0.15
SOURCE = "get IRMAS from zenodo.org/records/1290750 and unpack it"


class IrmasConfig(DatasetConfig):
    """IRMAS on disk."""

    root: Location
    """The folder that holds what is expected."""
    seed: int = Field(730, ge=0, lt=2**32)
    """Of the split of the songs into training and validation; the default is the published one."""


class Irmas(Dataset):
    """Reads the layout of the release."""

    Config = IrmasConfig
    config: IrmasConfig
    licence = "CC-BY-NC-SA-3.0"

    @property
    def classes(self) -> Mapping[str, tuple[str, ...]]:
        """The 11 instruments in alphabetical order."""
        return {"tags": CLASSES}

    def scan(self) -> tuple[list[Track], list[Problem]]:
        """Every usable clip and every problem; missing parts of the testing data are notices."""
        root = Path(self.config.root)
        if not (root / TRAINING).is_dir():
            return [], [Problem("no such folder", str(root / TRAINING), SOURCE)]
        files, problems = self._training(root / TRAINING)
        for name in TESTING:
            if not (root / name).is_dir():
                self.notices.append(Problem("no such folder; its excerpts are not tested on", str(root / name), SOURCE))
                continue
            for path, tags in _excerpts(root / name, problems):
                files.append((path, "test", tags))
        tracks = []
        for path, split, tags in files:
            try:
                tracks.append(
                    Track(path.relative_to(root).as_posix(), path, probe(path), split, Annotation(tags=map(Tag, tags)))
                )
            except UserError as error:
                problems += error.problems
        return tracks, problems

    def _training(self, folder: Path) -> tuple[list[tuple[Path, Split, tuple[str, ...]]], list[Problem]]:
        clips: dict[Path, tuple[str, str]] = {}
        problems: list[Problem] = []
        for label in CLASSES:
            paths = sorted(path for path in (folder / label).glob("*.wav") if not path.name.startswith("."))
            if not paths:
                problems.append(Problem("no .wav file in it", str(folder / label), SOURCE))
            for path in paths:
                if song := re.search(r"(\d+)__\d+\.wav$", path.name):
                    clips[path] = label, song[1]
                else:
                    fix = "give it back the name it had in the release, such as [cel][cla]0001__1.wav"
                    problems.append(Problem("names no song by a number before '__'", str(path), fix))
        tags = {path: {label} for path, (label, _) in clips.items()}
        doubles = equal_files(clips)
        for kept, *others in doubles:
            tags[kept].update(*(tags.pop(path) for path in others))
        if doubles:
            several = sum(len(tags[kept]) > 1 for kept, *_ in doubles)
            what = (
                f"holds {len(doubles)} clips more than once, {several} of them under several instruments, first {doubles[0][0]}"
            )
            self.notices.append(Problem(what, str(folder), "each counts once, with all of its instruments"))
        validating = _validating(clips.values(), [{clips[path][1] for path in group} for group in doubles], self.config.seed)
        return [
            (path, "validation" if clips[path][1] in validating else "train", tuple(sorted(own))) for path, own in tags.items()
        ], problems


def _validating(clips: Iterable[tuple[str, str]], shared: Iterable[set[str]], seed: int) -> set[str]:
    """The songs that validate, 15 % of those of each class; ``clips`` are pairs of class and song.

    Songs that ``shared`` names together count as one, of the class of the first of them.
    """
    songs = {song: label for label, song in sorted(clips, reverse=True)}
    first = {song: song for song in songs}
    for together in shared:
        merged = {first[song] for song in together}
        first = {song: min(merged) if one in merged else one for song, one in first.items()}
    held_out = set[str]().union(
        *(validation_songs({one for one in first.values() if songs[one] == label}, seed) for label in CLASSES)
    )
    return {song for song, one in first.items() if one in held_out}


def validation_songs(songs: set[str], seed: int) -> set[str]:
    """15 % of ``songs``: those that scikit-learn's ``train_test_split`` of the sorted names holds out."""
    order = np.random.RandomState(seed).permutation(len(songs))
    names = sorted(songs)
    return {names[index] for index in order[: math.ceil(VALIDATION_SHARE * len(songs))]}


def _excerpts(folder: Path, problems: list[Problem]) -> Iterator[tuple[Path, tuple[str, ...]]]:
    """Testing excerpts of one part with their labels; adds to ``problems``."""
    paths = sorted(path for path in folder.rglob("*.wav") if not path.name.startswith("."))
    if not paths:
        problems.append(Problem("no .wav file in it", str(folder), SOURCE))
    for path in paths:
        text = path.with_suffix(".txt")
        try:
            lines = [(number, line.strip()) for number, line in enumerate(text.read_text(encoding="latin-1").splitlines(), 1)]
        except OSError as error:
            problems.append(Problem(f"cannot be read: {error.strerror}", str(text), "each excerpt needs its labels"))
            continue
        labels = [(number, label) for number, label in lines if label]
        unknown = [(number, label) for number, label in labels if label not in CLASSES]
        problems += [
            Problem(f"unknown instrument {label!r}", f"{text}:{number}", nearest(label, CLASSES)) for number, label in unknown
        ]
        if not labels:
            problems.append(Problem("names no instrument", str(text), "write one label per line"))
        elif not unknown:
            yield path, tuple(label for _, label in labels)
