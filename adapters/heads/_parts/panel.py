"""A panel of small experts that judges segments: each reads one state, or the spectrum, in one way; they vote.

What is trained by gradient on a few hundred notes of one session learns the session. Here nothing is: every expert is a
discriminant with a strongly shrunk covariance (:mod:`discriminant`), in closed form, and the vote is the mean of their
log-probabilities, states and spectrum counting alike. Shrinkage is not chosen on the training session, where the weakest always
looks best, but fixed; only where the data has groups do folds over groups choose.

A panel may start from an older one of the same classes, its prior, which then votes beside what is fitted to the new segments.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.special import logsumexp
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
from etude.adapters.heads._parts.kernel_ridge import FEATURES, KernelRidge, fit_kernel_ridge, held_out_kernel
from etude.adapters.heads._parts.reach import Reach
from etude.adapters.heads._parts.segments import Kind, describe, loudness, sounding
from etude.adapters.heads._parts.temperature import calibrated, likeliest_temperature, likelihood
from etude.adapters.sound.descriptors import BANDS

SPECTRUM = "log_mel"
SHRINKAGE = 0.7
SHRINKAGES = (0.3, 0.5, 0.7, 0.9)
"""That are tried where there are groups."""
WITHIN = 0.01
"""The strongest shrinkage whose score over groups is this close to the best is taken."""
DEPTHS = (0.5, 0.75)
"""Where the states are read, as a share of the backbone's blocks: the last ones know their pretraining task best."""
HELPS = 0.5
"""The course of a segment is read as well where that leaves at most this share of the errors of its beginning, and what is not
linear is asked where it leaves at most this share of those of all others."""
MARGINS = {"beginning": 1.5, "spectrum": 2.3}
"""How many times the usual distance from the training notes is near, for the deepest state and for the spectrum: the next
recording of the same instrument lies within both, some other instruments beyond the first, noise beyond the second."""
KINDS: tuple[Kind, ...] = ("beginning", "course")
"""How states may be read."""
PRIOR_SHARES = (1.0, 0.75, 0.5, 0.25, 0.0)
"""Of the vote, that a prior may have. Held-out segments choose by their likelihood: a few notes leave most F1 scores equal."""
EVEN = 0.5
"""The share where nothing can be held out."""

Expert = tuple[str, str]
"""What it reads, and how."""
KERNEL: Expert = ("all", "kernel")
"""The one that reads what all others do."""
Segment = dict[Expert, NDArray[np.float32]]
"""What each expert reads of a segment."""
Judged = dict[Expert, NDArray[np.float64]]
"""Log-probabilities by those who judge, ``[n, classes]``."""


class Panel(nn.Module):
    """``statistics`` are what :meth:`fit` left there, empty before; ``classes`` are told apart.

    Its tensors are in the state of a head like others, but no gradient reaches them. There are always those of all experts,
    those of experts that are not asked being 0: another fit may ask others, and the state of a head must still fit it.
    """

    def __init__(self, statistics: Mapping[str, Any], classes: int, hidden: int, blocks: int) -> None:
        super().__init__()
        self.classes, self.hidden, self.blocks = classes, hidden, blocks
        self.layers = tuple(sorted({round(share * blocks) for share in DEPTHS}))
        """The states it reads."""
        widths = {"beginning": hidden, "spectrum": 5 * BANDS}
        self.reach = Reach(MARGINS, widths, classes, statistics.get("reach", None if "kinds" in statistics else {}))
        self.statistics = dict(statistics)
        self._tensors = nn.ParameterDict()
        for expert in self._all(KINDS):
            self._seat(expert, self._width(expert), self._width(expert))
        self._seat(KERNEL, sum(map(self._width, self._all(KINDS))), FEATURES)
        self.prior: Panel | None = None
        """The older panel, whose statistics are among this one's."""
        if "prior" in statistics:
            self.prior = Panel(statistics["prior"], classes, hidden, blocks)

    def _width(self, expert: Expert) -> int:
        source, kind = expert
        return 5 * BANDS if source == SPECTRUM else self.hidden * (4 if kind == "course" else 1)

    def _seat(self, expert: Expert, width: int, features: int) -> None:
        shapes = {"mean": (width,), "scale": (width,), "weights": (features, self.classes), "bias": (self.classes,)}
        for name, shape in shapes.items():
            self._tensors["_".join((*expert, name))] = nn.Parameter(torch.zeros(shape), requires_grad=False)

    def start_from(self, statistics: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> None:
        """Let an older panel of the same classes vote from the next :meth:`fit` on, and alone until then."""
        self.prior = Panel(statistics, self.classes, self.hidden, self.blocks)
        self.prior.load_state_dict(tensors)
        self.statistics["prior"] = self.prior.statistics

    @property
    def seated(self) -> bool:
        """Whether anyone can judge."""
        return bool(self.experts) or (self.prior is not None and self.prior.seated)

    @property
    def kinds(self) -> tuple[Kind, ...]:
        """How it reads states; none before it has learned."""
        return tuple(self.statistics.get("kinds", ()))

    @property
    def asked(self) -> tuple[Kind, ...]:
        """How it and the older panel read states."""
        own = KINDS if self.statistics.get("kernel") else self.kinds
        return tuple(dict.fromkeys((*own, *(self.prior.asked if self.prior else ()))))

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

    def segment(self, features: NDArray[np.floating[Any]], rate: float, kinds: Sequence[Kind] = ()) -> Segment | None:
        """:meth:`features` of some frames ``[frames, ...]`` -> what the experts of ``kinds`` read; ``None`` where nothing
        sounds. :meth:`fit` needs all kinds, :meth:`log_probabilities` those of :attr:`asked`."""
        level = loudness(features[:, -BANDS:])
        if (heard := sounding(level)) is None:
            return None
        first, last = heard
        own, level = features[first:last].astype(np.float32), level[first:last]
        parts = {str(layer): own[:, i * self.hidden : (i + 1) * self.hidden] for i, layer in enumerate(self.layers)}
        parts[SPECTRUM] = own[:, -BANDS:]
        read = self._all(kinds or self.asked or KINDS)
        return {expert: describe(cast(Kind, expert[1]), parts[expert[0]], level, rate) for expert in read}

    def fit(
        self, segments: Sequence[Segment], classes: NDArray[np.intp], recordings: Sequence[str], groups: Sequence[str]
    ) -> None:
        """Learn from ``segments`` of ``classes`` ``[n]``, cut from ``recordings`` of ``groups`` (empty where not known)."""
        grouped = all(groups) and len(set(groups)) > 1
        fold = folds(groups if grouped else recordings)
        inputs = {expert: np.stack([segment[expert] for segment in segments]) for expert in self._all(KINDS)}

        def held(shrinkage: float, kinds: Sequence[Kind]) -> Judged:
            return {one: held_out(inputs[one], classes, fold, self.classes, shrinkage) for one in self._all(kinds)}

        def errors(votes: NDArray[np.float64]) -> float:
            return 1 - macro_f1(classes, votes.argmax(axis=1), self.classes)

        judged, shrinkage = held(SHRINKAGE, KINDS), SHRINKAGE
        beginning, course = (errors(np.mean([judged[str(layer), kind] for layer in self.layers], axis=0)) for kind in KINDS)
        kinds = KINDS if _helps(course, beginning) else KINDS[:1]
        judged = {expert: judged[expert] for expert in self._all(kinds)}
        if grouped:
            tried = {value: held(value, kinds) for value in SHRINKAGES}
            left = {value: errors(self._vote(own)) for value, own in tried.items()}
            shrinkage = max(value for value, share in left.items() if share <= min(left.values()) + WITHIN)
            judged = tried[shrinkage]
        for tensor in self._tensors.values():
            tensor.zero_()
        for expert in self._all(kinds):
            self._store(expert, Scatter(inputs[expert], classes, self.classes).discriminant(shrinkage))
        every = [inputs[expert] for expert in self._all(KINDS)]
        kernel = held_out_kernel(every, classes, fold, self.classes)
        if helps := _helps(errors(kernel), errors(self._vote(judged))):
            self._store(KERNEL, fit_kernel_ridge(every, classes, self.classes))
            judged[KERNEL] = kernel
        votes = self._vote(judged)
        self.statistics = {
            "kinds": list(kinds),
            "kernel": helps,
            "shrinkage": shrinkage,
            "temperature": likeliest_temperature(votes, classes),
        }
        self.reach.fit({kind: inputs[expert] for kind, expert in self._reaching().items()}, classes, fold)
        self.statistics["reach"] = self.reach.statistics
        if self.prior is not None:
            self._weigh(self.prior, segments, votes, classes, apart=len(np.unique(fold)) > 1)
            votes = self._joined(votes, self.prior.log_probabilities(segments))
        self.statistics["cross_validated"] = round(macro_f1(classes, votes.argmax(axis=1), self.classes), 4)

    def _weigh(
        self, prior: Panel, segments: Sequence[Segment], votes: NDArray[np.float64], classes: NDArray[np.intp], *, apart: bool
    ) -> None:
        """Choose the share of ``prior`` beside ``votes`` on ``segments``, made without these if they are ``apart``."""
        known = prior.log_probabilities(segments)
        lacking = np.flatnonzero(np.bincount(classes, minlength=self.classes) == 0).tolist()
        self.statistics |= {
            "prior": prior.statistics,
            "prior_temperature": likeliest_temperature(known, classes),
            "lacking": lacking,
        }
        tried = {}
        for share in PRIOR_SHARES:
            self.statistics["prior_share"] = share
            tried[share] = likelihood(self._joined(votes, known), classes)
        self.statistics["prior_share"] = max(tried, key=lambda share: tried[share]) if apart else EVEN

    def log_probabilities(self, segments: Sequence[Segment]) -> NDArray[np.float64]:
        """Of the classes, ``[n, classes]``, calibrated on held-out examples."""
        if not segments or not self.seated:
            return np.zeros((0, self.classes))
        known = None if self.prior is None else self.prior.log_probabilities(segments)
        if known is not None and not self.experts:
            return known
        logits = {
            expert: self._expert(expert).logits(np.stack([segment[expert] for segment in segments])) for expert in self.experts
        }
        judged = {expert: log_probabilities(own) for expert, own in logits.items()}
        if self.statistics.get("kernel"):
            every = np.stack([np.concatenate([segment[expert] for expert in self._all(KINDS)]) for segment in segments])
            judged[KERNEL] = KernelRidge(*self._stored(KERNEL)).log_probabilities(every)
        votes = self._vote(judged)
        if known is not None:
            return self._joined(votes, known)
        return calibrated(votes, self.statistics["temperature"])

    def _joined(self, votes: NDArray[np.float64], known: NDArray[np.float64]) -> NDArray[np.float64]:
        """Log-probabilities by own ``votes`` and by what the prior says, ``known``: their mean by the share of the prior.

        Of classes that no new segment had, only the prior says something.
        """
        share, lacking = self.statistics["prior_share"], self.statistics["lacking"]
        known = calibrated(known, self.statistics["prior_temperature"])
        seen = np.setdiff1d(np.arange(self.classes), lacking)
        own = known.copy()
        among = logsumexp(known[:, seen], axis=1, keepdims=True)
        own[:, seen] = calibrated(votes[:, seen], self.statistics["temperature"]) + among
        return calibrated(share * known + (1 - share) * own, 1.0)

    def known(self, segments: Sequence[Segment]) -> NDArray[np.float64]:
        """See :meth:`Reach.known`, ``[n]``; of a prior, what is near its examples is known as well."""
        if not segments or not self.seated:
            return np.ones(len(segments))
        near = [] if self.prior is None else [self.prior.known(segments)]
        if self.experts:
            read = {kind: np.stack([segment[expert] for segment in segments]) for kind, expert in self._reaching().items()}
            near.append(self.reach.known(read))
        found: NDArray[np.float64] = np.max(near, axis=0)
        return found

    @property
    def tells_unknown(self) -> bool:
        """Whether :meth:`known` says anything: not of panels that were made before it was learned."""
        asked = [panel for panel in (self, self.prior) if panel is not None and panel.experts]
        return bool(asked) and all(panel.reach.statistics for panel in asked)

    def _reaching(self) -> dict[str, Expert]:
        """What the distances are measured in: the deepest state, and the spectrum."""
        return {"beginning": (str(self.layers[-1]), "beginning"), "spectrum": (SPECTRUM, "spectrum")}

    def _vote(self, judged: Judged) -> NDArray[np.float64]:
        """The mean over the linear experts on states, and the one on the spectrum; what is not linear counts as both."""
        states = [own for (source, _), own in judged.items() if source not in (SPECTRUM, KERNEL[0])]
        voices = [np.mean(states, axis=0), judged[SPECTRUM, "spectrum"]]
        if KERNEL in judged:
            voices.append(2 * judged[KERNEL])
        found: NDArray[np.float64] = np.sum(voices, axis=0)
        return found

    def _store(self, expert: Expert, found: Discriminant | KernelRidge) -> None:
        for name in ("mean", "scale", "weights", "bias"):
            self._tensors["_".join((*expert, name))].copy_(torch.from_numpy(getattr(found, name)))

    def _expert(self, expert: Expert) -> Discriminant:
        return Discriminant(*self._stored(expert))

    def _stored(self, expert: Expert) -> list[NDArray[np.float64]]:
        return [
            self._tensors["_".join((*expert, name))].double().cpu().numpy() for name in ("mean", "scale", "weights", "bias")
        ]


def _helps(errors: float, otherwise: float) -> bool:
    """Whether so many errors are few enough beside those that there are otherwise; where there are none, nothing helps."""
    return otherwise > 0 and errors <= HELPS * otherwise
