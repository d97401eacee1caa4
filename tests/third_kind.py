"""What another distribution may add: points in time with a label, a data set and a head for them, and a file format."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
from torch import nn

from etude.adapters.annotations import Annotation, Kind, Layer, kind_of
from etude.adapters.annotations._parts.shown import CardWords, Mark, ScoreNames
from etude.adapters.datasets import SPLITS, Dataset, DatasetConfig, Track
from etude.adapters.formats import Format
from etude.adapters.formats.csv import read_records
from etude.adapters.heads import Head, HeadConfig
from etude.adapters.heads._parts.losses import masked_bce
from etude.adapters.heads._parts.scoring import count_matches, summary
from etude.adapters.sound.audio import probe

GROUPS = ("annotations", "datasets", "formats", "heads")
NAMES = dict(zip(GROUPS, ("points", "clicks", "listing", "pointer"), strict=True))


@dataclass(frozen=True)
class Point:
    time: float
    label: str
    confidence: float | None = None


class Points(Kind):
    unit, plural, label = "point", "points", "sort"
    columns = required = ("time", "sort")
    scores = ScoreNames(
        headline={"point_micro_f1": ("point F1 micro", "Point F1, micro"), "point_macro_f1": ("macro", "Point F1, macro")},
        columns=(("point F1", "point", "f1"), ("points", "point", "ref"), ("found", "point", "est")),
    )
    card = CardWords(
        "point at moments", "moment detection", "for point in annotation.points:\n    print(point.time, point.label)"
    )

    def check(self, record):
        return None if record.time >= 0 else f"a point at {record.time:g} s is before the recording starts"

    def arrange(self, records):
        return tuple(sorted(records, key=lambda point: (point.time, point.label)))

    def class_of(self, record):
        return record.label

    def marks(self, layer, duration):
        return [Mark(point.time, point.time, point.label, confidence=point.confidence) for point in layer]

    def row(self, record):
        return {"time": f"{record.time:.4f}", "sort": record.label}

    def parse(self, row, duration=None):
        return Point(row.number("time"), row.class_name("sort") or "")


class ClicksConfig(DatasetConfig):
    root: str


class Clicks(Dataset):
    """The onsets of the toy data set."""

    Config = ClicksConfig
    licence = "CC0-1.0"

    @property
    def classes(self):
        return {"points": ("buzz", "tone")}

    def scan(self):
        tracks, problems = [], []
        for split in SPLITS:
            for path in sorted(Path(self.config.root).glob(f"{split}*.wav")):
                names = {"time": "onset_time", "sort": "technique"}
                points, found = read_records(path.with_suffix(".csv"), kind_of("points"), names=names)
                tracks.append(Track(path.stem, path, probe(path), split, Annotation(points=points)))
                problems += found
        return tracks, problems


class Pointer(Head):
    """A linear layer; every rise above .5 is a point."""

    Config: ClassVar[type[HeadConfig]] = HeadConfig
    kind: ClassVar[str] = "points"

    def __init__(self, config, labels, hidden_size, statistics):
        super().__init__(config, labels, hidden_size, statistics)
        self.last = nn.Linear(hidden_size, len(labels))
        self.thresholds = {}

    @classmethod
    def measure(cls, config, labels, annotations, rate):
        return {}

    def targets(self, excerpt):
        grid = excerpt.grid
        roll, mask = np.zeros((grid.frames, len(self.labels)), np.float32), np.zeros((grid.frames, 1), np.float32)
        mask[: grid.real] = 1
        for point in excerpt.annotation.points:
            frame = round(point.time * grid.rate) - grid.start
            if 0 <= frame < grid.frames:
                roll[frame, self.labels.index(point.label)] = 1
        return {"points": roll, "points_mask": mask}

    def forward(self, context):
        return {"points": self.last(context.mixed)}

    def loss(self, logits, targets):
        return {"points": masked_bce(logits["points"], targets["points"], targets["points_mask"], 10.0)}

    def tune(self, references, activations, rate):
        pass

    def decode(self, activations, rate):
        active = activations["points"] > 0.5
        rises = np.argwhere(active & ~np.pad(active, ((1, 0), (0, 0)))[:-1])
        return Layer(tuple(Point(f / rate, self.labels[c], float(activations["points"][f, c])) for f, c in rises))

    def score(self, references, activations, rate):
        counts = np.zeros((3, len(self.labels)), np.int64)
        for reference, item in zip(references, activations, strict=True):
            for index, label in enumerate(self.labels):
                layers = (reference.points, self.decode(item, rate))
                times = [np.array([p.time for p in layer if p.label == label]) for layer in layers]
                counts[:, index] += (count_matches(*times), len(times[0]), len(times[1]))
        return summary("point", self.labels, *counts)


class Listing(Format):
    suffix = ".lst"

    def write(self, path, annotation, origin):
        path.write_text("".join(f"{record}\n" for layer in annotation.values() for record in layer))
