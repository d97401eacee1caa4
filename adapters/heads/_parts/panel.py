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
KINDS: tuple[Kind, ...] = ("beginning", "course")
"""How states may be read."""

Expert = tuple[str, Kind]
Segment = dict[Expert, NDArray[np.float32]]
"""What each expert reads of a segment."""


class Panel(nn.Module):
    """``statistics`` are what :meth:`fit` left there, empty before; ``classes`` are told apart.

    Its tensors are in the state of a head like others, but no gradient reaches them. There are always those of all experts,
    those of experts that are not asked being 0: another fit may ask others, and the state of a head must still fit it.
    """

    def __init__(self, statistics: Mapping[str, Any], classes: int, hidden: int, blocks: int) -> None:
        super().__init__()
        self.classes, self.hidden = classes, hidden
        self.layers = tuple(sorted({round(share * blocks) for share in DEPTHS}))
        """The states it reads."""
        self.statistics = dict(statistics)
        self._tensors = nn.ParameterDict()
        for source, kind in self._all(KINDS):
            width = (5 * BANDS) if source == SPECTRUM else self.hidden * (4 if kind == "course" else 1)
            shapes = {"mean": (width,), "scale": (width,), "weights": (width, self.classes), "bias": (self.classes,)}
            for name, shape in shapes.items():
                self._tensors[f"{source}_{kind}_{name}"] = nn.Parameter(torch.zeros(shape), requires_grad=False)

    @property
    def kinds(self) -> tuple[Kind, ...]:
        """How it reads states; none before it has learned."""
        return tuple(self.statistics.get("kinds", ()))

    @property
    def experts(self) -> tuple[Expert, ...]:
        """Those that vote."""
        return self._all(self.kinds) if self.kinds else ()

    def _all(self, kinds: Sequence[Kind]) -> tuple[Expert, ...]:
        return (*((str(layer), kind) for kind in kinds for layer in self.layers), (SPECTRUM, "spectrum"))

    def features(self, context: Context) -> Tensor:
        """What frames must be kept of, ``[batch, frames, states * hidden + bands]``.

        Each frame of a state is normalised by itself, which takes off what a room or a microphone adds to all of them.
        """
        states = [nn.functional.layer_norm(context.states[layer].float(), (self.hidden,)) for layer in self.layers]
        return torch.cat([*states, context.heard[SPECTRUM]], dim=-1)

    def segment(self, features: NDArray[np.floating[Any]], rate: float, kinds: Sequence[Kind] = KINDS) -> Segment | None:
        """:meth:`features` of some frames ``[frames, ...]`` -> what the experts of ``kinds`` read; ``None`` where nothing
        sounds. :meth:`fit` needs all kinds, :meth:`log_probabilities` those of :attr:`kinds`."""
        level = loudness(features[:, -BANDS:])
        if (heard := sounding(level)) is None:
            return None
        first, last = heard
        own, level = features[first:last].astype(np.float32), level[first:last]
        parts = {str(layer): own[:, i * self.hidden : (i + 1) * self.hidden] for i, layer in enumerate(self.layers)}
        parts[SPECTRUM] = own[:, -BANDS:]
        return {expert: describe(expert[1], parts[expert[0]], level, rate) for expert in self._all(kinds)}

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
        for tensor in self._tensors.values():
            tensor.zero_()
        for expert in self._all(kinds):
            self._store(expert, Scatter(inputs[expert], classes, self.classes).discriminant(shrinkage))
        votes = self._vote({expert: judged[expert] for expert in self._all(kinds)})
        found = votes.argmax(axis=1)
        self.statistics = {
            "kinds": list(kinds),
            "shrinkage": shrinkage,
            "temperature": _temperature(votes, classes),
            "cross_validated": round(macro_f1(classes, found, self.classes), 4),
        }

    def log_probabilities(self, segments: Sequence[Segment]) -> NDArray[np.float64]:
        """Of the classes, ``[n, classes]``, calibrated on held-out examples."""
        if not segments or not self.experts:
            return np.zeros((0, self.classes))
        logits = {
            expert: self._expert(expert).logits(np.stack([segment[expert] for segment in segments])) for expert in self.experts
        }
        votes = self._vote({expert: log_probabilities(own) for expert, own in logits.items()})
        return log_probabilities(votes / self.statistics["temperature"], floor=0.0)

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
