"""Finds points: convolutions over several windows at a time, at a lower rate than the backbone's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import mir_eval
import numpy as np
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor, nn

from etude.adapters.annotations import Annotation, Layer
from etude.adapters.heads import Activations, Context, Excerpt, Head, HeadConfig
from etude.adapters.heads._parts.losses import masked_bce
from etude_points.kind import Point

TOLERANCE = 0.07
"""Seconds within which a point is found, as for beats."""
GRID = (0.2, 0.3, 0.4, 0.5, 0.6, 0.7)


class PointFinderConfig(HeadConfig):
    """How much is seen at a time."""

    seconds: float = Field(3.0, gt=0)
    rate: float = Field(25.0, gt=0)
    """Frames per second."""
    hidden: int = Field(16, ge=1)


class PointFinder(Head):
    """Output ``points``, ``[..., classes]``."""

    Config = PointFinderConfig
    config: PointFinderConfig
    kind = "points"

    def __init__(
        self, config: PointFinderConfig, labels: Sequence[str], hidden_size: int, statistics: Mapping[str, Any]
    ) -> None:
        super().__init__(config, labels, hidden_size, statistics)
        self.layers = nn.Sequential(
            nn.Conv1d(hidden_size, config.hidden, 5, padding=2), nn.ReLU(), nn.Conv1d(config.hidden, len(labels), 5, padding=2)
        )
        self.thresholds = {"points": 0.5}

    @property
    def span(self) -> float:
        """See :class:`Head`."""
        return self.config.seconds

    @property
    def rate(self) -> float:
        """See :class:`Head`."""
        return self.config.rate

    @classmethod
    def measure(
        cls, config: Any, labels: Sequence[str], annotations: Sequence[Annotation], rate: float, *, frozen: bool = False
    ) -> dict[str, Any]:
        """Nothing."""
        return {}

    def targets(self, excerpt: Excerpt) -> dict[str, NDArray[np.float32]]:
        """``points`` ``[frames, classes]`` and ``points_mask`` ``[frames, 1]``."""
        grid, layer = excerpt.grid, excerpt.annotation.points
        points = np.zeros((grid.frames, len(self.labels)), np.float32)
        times = (grid.start + np.arange(grid.frames)) / grid.rate
        mask = layer.known_at(times)[:, None].astype(np.float32)
        mask[grid.real :] = 0
        for point in layer:
            frame = round(point.time * grid.rate) - grid.start
            points[max(0, frame) : max(0, frame + 1), self.labels.index(point.label)] = 1
        return {"points": points, "points_mask": mask}

    def forward(self, context: Context) -> dict[str, Tensor]:
        """See :class:`Head`."""
        found: Tensor = self.layers(context.mixed.mT)
        return {"points": found.mT}

    def loss(self, logits: Mapping[str, Tensor], targets: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Weighted, since points are rare."""
        return {"points": self.config.weight * masked_bce(logits["points"], targets["points"], targets["points_mask"], 8.0)}

    def tune(self, references: Sequence[Annotation], activations: Sequence[Activations], rate: float) -> None:
        """The threshold with the best F1."""
        found = []
        for threshold in GRID:
            self.thresholds = {"points": threshold}
            found.append((self.score(references, activations, rate)["point_f1"], threshold))
        self.thresholds = {"points": max(found)[1]}

    def decode(self, activations: Activations, rate: float) -> Layer:
        """Local maxima above the threshold."""
        values = activations["points"].astype(np.float64)
        before, after = np.pad(values, ((1, 1), (0, 0)))[:-2], np.pad(values, ((1, 1), (0, 0)))[2:]
        frames, classes = np.nonzero((values > self.thresholds["points"]) & (values > before) & (values >= after))
        pairs = zip(frames.tolist(), classes.tolist(), strict=True)
        return Layer(tuple(Point(frame / rate, self.labels[own], float(values[frame, own])) for frame, own in pairs))

    def score(self, references: Sequence[Annotation], activations: Sequence[Activations], rate: float) -> dict[str, Any]:
        """``point_f1``, ``point_macro_f1`` and ``per_class``."""
        counts = {label: np.zeros(3, int) for label in self.labels}
        for reference, own in zip(references, activations, strict=True):
            found = self.decode(own, rate)
            for label in self.labels:
                truth, guess = ([point.time for point in layer if point.label == label] for layer in (reference.points, found))
                matched = mir_eval.util.match_events(np.array(truth), np.array(guess), TOLERANCE) if truth and guess else []
                counts[label] += len(matched), len(truth), len(guess)
        rows = {label: {"point": _ratios(*map(int, own))} for label, own in counts.items()}
        total = _ratios(*map(int, sum(counts.values(), np.zeros(3, int))))
        macro = sum(row["point"]["f1"] for row in rows.values()) / len(rows)
        return {"point_f1": total["f1"], "point_macro_f1": macro, "per_class": rows}


def _ratios(matched: int, reference: int, estimated: int) -> dict[str, Any]:
    f1 = 2 * matched / (reference + estimated) if reference + estimated else 0.0
    return {"f1": f1, "tp": matched, "ref": reference, "est": estimated}
