"""A panel of small linear experts that judges segments: each reads one state, or the spectrum, in one way; they vote.

What is trained by gradient on a few hundred notes of one session learns the session. Here nothing is: every expert is a
discriminant with a strongly shrunk covariance (:mod:`discriminant`), in closed form, and the vote is the mean of their
log-probabilities, states and spectrum counting alike. Shrinkage is not chosen on the training session, where the weakest always
looks best, but fixed; only where the data has groups do folds over groups choose.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from etude.adapters.heads import Context
from etude.adapters.heads._parts.discriminant import (
    Discriminant,
    Scatter,
    folds,
    held_out,
    log_probabilities,
    macro_f1,
)
from etude.adapters.heads._parts.reach import Reach
from etude.adapters.heads._parts.segments import Kind, describe, loudness, sounding
from etude.adapters.sound.descriptors import BANDS

SPECTRUM = "log_mel"
SHRINKAGE = 0.7
SHRINKAGES = (0.3, 0.5, 0.7, 0.9)
"""That are tried where there are groups."""
WITHIN = 0.01
"""The strongest shrinkage whose score over groups is this close to the best is taken."""
DEPTHS = (0.5, 0.75)
"""Where the states are read, as a share of the backbone's blocks: the last ones know their pretraining task best."""
COURSE_HELPS = 0.5
"""The course of a segment is read as well where that leaves at most this share of the errors of its beginning."""
TEMPERATURES = tuple(round(float(value), 3) for value in np.geomspace(0.1, 4.0, 25))
MARGINS = {"beginning": 1.5, "spectrum": 2.3}
"""How many times the usual distance from the training notes is near, for the deepest state and for the spectrum: the next
recording of the same instrument lies within both, some other instruments beyond the first, noise beyond the second."""
KINDS: tuple[Kind, ...] = ("beginning", "course")
"""How states may be read."""

Expert = tuple[str, Kind]
Segment = dict[Expert, NDArray[np.float32]]
"""What each expert reads of a segment."""


class Panel(nn.Module):
    """``statistics`` are what :meth:`fit` returned, empty before; ``classes`` are told apart.

    Its tensors are in the state of a head like others, but no gradient reaches them.
    """

    def __init__(self, statistics: Mapping[str, Any], classes: int, hidden: int, blocks: int) -> None:
        super().__init__()
        self.classes, self.hidden = classes, hidden
        self.layers = tuple(sorted({round(share * blocks) for share in DEPTHS}))
        """The states it reads."""
        widths = {"beginning": hidden, "spectrum": 5 * BANDS}
        self.reach = Reach(MARGINS, widths, classes, statistics.get("reach", None if statistics else {}))
        self.statistics = dict(statistics)
        self.experts: tuple[Expert, ...] = ()
        self._tensors = nn.ParameterDict()
        if statistics:
            self._seat(tuple(statistics["kinds"]))

    def _seat(self, kinds: Sequence[Kind]) -> None:
        self.experts = self._all(kinds)
        self._tensors = nn.ParameterDict()
        for source, kind in self.experts:
            width = (5 * BANDS) if source == SPECTRUM else self.hidden * (4 if kind == "course" else 1)
            shapes = {"mean": (width,), "scale": (width,), "weights": (width, self.classes), "bias": (self.classes,)}
            for name, shape in shapes.items():
                self._tensors[f"{source}_{kind}_{name}"] = nn.Parameter(torch.zeros(shape), requires_grad=False)

    def _all(self, kinds: Sequence[Kind]) -> tuple[Expert, ...]:
        return (*((str(layer), kind) for kind in kinds for layer in self.layers), (SPECTRUM, "spectrum"))

    def features(self, context: Context) -> Tensor:
        """What frames must be kept of, ``[batch, frames, states * hidden + bands]``."""
        states = [nn.functional.layer_norm(context.states[layer].float(), (self.hidden,)) for layer in self.layers]
        return torch.cat([*states, context.heard[SPECTRUM]], dim=-1)

    def segment(self, features: NDArray[np.floating[Any]], rate: float) -> Segment | None:
        """:meth:`features` of some frames ``[frames, ...]`` -> what the experts read; ``None`` where nothing sounds."""
        level = loudness(features[:, -BANDS:])
        if (heard := sounding(level)) is None:
            return None
        first, last = heard
        own, level = features[first:last].astype(np.float32), level[first:last]
        parts = {str(layer): own[:, i * self.hidden : (i + 1) * self.hidden] for i, layer in enumerate(self.layers)}
        parts[SPECTRUM] = own[:, -BANDS:]
        return {expert: describe(expert[1], parts[expert[0]], level, rate) for expert in self.experts or self._all(KINDS)}

    def fit(
        self, segments: Sequence[Segment], classes: NDArray[np.intp], recordings: Sequence[str], groups: Sequence[str]
    ) -> None:
        """Learn from ``segments`` of ``classes`` ``[n]``, cut from ``recordings`` of ``groups`` (empty where not known)."""
        grouped = all(groups) and len(set(groups)) > 1
        fold = folds(groups if grouped else recordings)
        inputs = {expert: np.stack([segment[expert] for segment in segments]) for expert in self._all(KINDS)}
        judged = {expert: held_out(values, classes, fold, self.classes, SHRINKAGE) for expert, values in inputs.items()}
        scores = {kind: self._score(judged, (kind,), classes) for kind in KINDS}
        kinds = KINDS if 1 - scores["course"] <= COURSE_HELPS * (1 - scores["beginning"]) else KINDS[:1]
        shrinkage = SHRINKAGE
        if grouped:
            tried = {value: self._held_out_score(inputs, classes, fold, kinds, value) for value in SHRINKAGES}
            shrinkage = max(value for value, score in tried.items() if score >= max(tried.values()) - WITHIN)
        self._seat(kinds)
        for expert in self.experts:
            self._store(expert, Scatter(inputs[expert], classes, self.classes).discriminant(shrinkage))
        votes = self._vote({expert: judged[expert] for expert in self.experts})
        found = votes.argmax(axis=1)
        self.statistics = {
            "kinds": list(kinds),
            "shrinkage": shrinkage,
            "temperature": _temperature(votes, classes),
            "cross_validated": round(macro_f1(classes, found, self.classes), 4),
        }
        self.reach.fit({kind: inputs[expert] for kind, expert in self._reaching().items()}, classes, fold)
        self.statistics["reach"] = self.reach.statistics

    def log_probabilities(self, segments: Sequence[Segment]) -> NDArray[np.float64]:
        """Of the classes, ``[n, classes]``, calibrated on held-out examples."""
        if not segments or not self.experts:
            return np.zeros((0, self.classes))
        logits = {
            expert: self._expert(expert).logits(np.stack([segment[expert] for segment in segments])) for expert in self.experts
        }
        votes = self._vote({expert: log_probabilities(own) for expert, own in logits.items()})
        return log_probabilities(votes / self.statistics["temperature"], floor=0.0)

    def known(self, segments: Sequence[Segment]) -> NDArray[np.float64]:
        """See :meth:`Reach.known`, ``[n]``."""
        if not segments:
            return np.ones(0)
        return self.reach.known(
            {kind: np.stack([segment[expert] for segment in segments]) for kind, expert in self._reaching().items()}
        )

    def _reaching(self) -> dict[str, Expert]:
        """What the distances are measured in: the deepest state, and the spectrum."""
        return {"beginning": (str(self.layers[-1]), "beginning"), "spectrum": (SPECTRUM, "spectrum")}

    def _vote(self, judged: Mapping[Expert, NDArray[np.float64]]) -> NDArray[np.float64]:
        """The mean over the experts on states, and the one on the spectrum: two voices."""
        states = [own for (source, _), own in judged.items() if source != SPECTRUM]
        spectrum = [own for (source, _), own in judged.items() if source == SPECTRUM]
        voices = [np.mean(own, axis=0) for own in (states, spectrum) if own]
        found: NDArray[np.float64] = np.sum(voices, axis=0)
        return found

    def _score(self, judged: Mapping[Expert, NDArray[np.float64]], kinds: Sequence[Kind], classes: NDArray[np.intp]) -> float:
        """Of the experts on states alone."""
        votes = np.mean([judged[str(layer), kind] for kind in kinds for layer in self.layers], axis=0)
        return macro_f1(classes, votes.argmax(axis=1), self.classes)

    def _held_out_score(
        self,
        inputs: Mapping[Expert, NDArray[np.float32]],
        classes: NDArray[np.intp],
        fold: NDArray[np.intp],
        kinds: Sequence[Kind],
        shrinkage: float,
    ) -> float:
        judged = {expert: held_out(inputs[expert], classes, fold, self.classes, shrinkage) for expert in self._all(kinds)}
        return macro_f1(classes, self._vote(judged).argmax(axis=1), self.classes)

    def _store(self, expert: Expert, found: Discriminant) -> None:
        for name in ("mean", "scale", "weights", "bias"):
            self._tensors["_".join((*expert, name))].copy_(torch.from_numpy(getattr(found, name)))

    def _expert(self, expert: Expert) -> Discriminant:
        own = (self._tensors["_".join((*expert, name))].double().cpu().numpy() for name in ("mean", "scale", "weights", "bias"))
        return Discriminant(*own)


def _temperature(votes: NDArray[np.float64], classes: NDArray[np.intp]) -> float:
    """What votes on held-out examples are divided by to be log-probabilities: the likeliest (Guo et al., ICML 2017)."""
    rows = np.arange(len(classes))
    losses = {value: -log_probabilities(votes / value, floor=0.0)[rows, classes].mean() for value in TEMPERATURES}
    return min(losses, key=lambda value: losses[value])
