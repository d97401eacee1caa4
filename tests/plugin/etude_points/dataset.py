"""A folder with ``SPLIT/NAME.wav`` and, beside it, the points in ``NAME.csv`` (columns ``time, label``)."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from etude.adapters.config import Location
from etude.adapters.datasets import SPLITS, Dataset, DatasetConfig, Track
from etude.adapters.errors import Problem, UserError
from etude.adapters.formats import Reading, read_annotation
from etude.adapters.sound.audio import probe

LABELS = ("low", "high")


class ClicksConfig(DatasetConfig):
    """Where it is."""

    root: Location


class Clicks(Dataset):
    """Reads the folder."""

    Config = ClicksConfig
    config: ClicksConfig
    licence = "CC0-1.0"

    @property
    def classes(self) -> Mapping[str, tuple[str, ...]]:
        """The labels of points."""
        return {"points": LABELS}

    def scan(self) -> tuple[list[Track], list[Problem]]:
        """Every usable recording and every problem."""
        tracks: list[Track] = []
        problems: list[Problem] = []
        if not Path(self.config.root).is_dir():
            return [], [Problem("no such folder", self.config.root, "check data.root")]
        for split in SPLITS:
            for audio in sorted((Path(self.config.root) / split).glob("*.wav")):
                try:
                    info = probe(audio)
                except UserError as error:
                    problems += error.problems
                    continue
                labels = {name: name for name in LABELS}
                table = audio.with_suffix(".csv")
                read = read_annotation(table, Reading("points", labels, duration=info.duration))
                problems += read.problems
                tracks.append(Track(f"{split}/{audio.stem}", audio, info, split, read.annotation))
        return tracks, problems
