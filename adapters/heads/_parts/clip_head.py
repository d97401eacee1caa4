"""What heads for tags of whole clips share: how a clip's frames become one, the loss, thresholds, decoding and scores.

The loss is that of one class of many (``softmax``) or of any number of classes at once (``sigmoid``), unless told otherwise.
Both and the average over windows follow Zhong et al., APSIPA 2023 (arXiv 2306.08850), who choose the threshold on their test
data; here it is chosen on validation data.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal, Self

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field, model_validator
from scipy.special import expit, softmax
from torch import Tensor
from torch.nn import functional as F

from etude.adapters.annotations import Annotation, Layer
from etude.adapters.annotations.tags import Tag
from etude.adapters.errors import UserError
from etude.adapters.heads import Activations, Excerpt, Head, HeadConfig
from etude.adapters.heads._parts.calibration import calibration_scores
from etude.adapters.heads._parts.losses import weighted_mean
from etude.adapters.heads._parts.tag_scoring import (
    Cells,
    exact_matches,
    labelled_cells,
    micro_f1,
    openmic_f1,
    tag_cells,
    tag_scores,
)
from etude.adapters.sound.windows import plan

GRID = tuple(round(0.02 * step, 2) for step in range(50))
"""Thresholds that are tried; the published grid ends at .78."""
DEFAULT = 0.5


class ClipConfig(HeadConfig):
    """How a clip is judged."""

    activation: Literal["sigmoid", "softmax"] = "sigmoid"
    """``softmax`` where every recording has exactly one tag, ``sigmoid`` where it may have any number."""
    loss: Literal["cross_entropy", "binary_cross_entropy"] | None = None
    """``cross_entropy`` judges a clip as a whole, ``binary_cross_entropy`` each of its classes by itself; by default what the
    activation asks for."""
    label_smoothing: float = Field(0.0, ge=0, lt=1)
    """Share of the target that all classes get alike."""
    clip_seconds: float = Field(1.0, gt=0)
    """In prediction, logits are averaged over windows of this length, which begin half of it apart."""

    @model_validator(mode="after")
    def _smoothing_is_for_single_labels(self) -> Self:
        if self.activation == "sigmoid" and self.loss == "cross_entropy":
            raise ValueError("loss: cross_entropy needs 'activation: softmax'")
        if self.label_smoothing and self.binary:
            raise ValueError("label_smoothing needs the loss cross_entropy, and 'activation: softmax'")
        return self

    @property
    def binary(self) -> bool:
        """Whether the loss judges each class by itself."""
        return self.loss == "binary_cross_entropy" or self.activation == "sigmoid"


def real_frames(mask: Tensor) -> Tensor:
    """Which frames count, ``[batch, frames]``, from the mask of a target ``[batch, frames, classes]``: 1 or 0."""
    return (mask.amax(dim=2) > 0).to(mask.dtype)


class ClipHead(Head):
    """One output ``tags``: logits ``[..., classes]``, or what :meth:`clip_logits` makes them of. They are its activations, too,
    and :meth:`pool` makes probabilities of the clip."""

    Config: ClassVar[type[HeadConfig]] = ClipConfig
    config: ClipConfig
    kind: ClassVar[str] = "tags"

    def __init__(self, config: ClipConfig, labels: Sequence[str], hidden_size: int, statistics: Mapping[str, Any]) -> None:
        super().__init__(config, labels, hidden_size, statistics)
        self.thresholds = {"tags": DEFAULT} if config.activation == "sigmoid" else {}

    @classmethod
    def measure(
        cls, config: ClipConfig, labels: Sequence[str], annotations: Sequence[Annotation], rate: float, *, frozen: bool = False
    ) -> dict[str, Any]:
        """Nothing is measured, but the annotations are checked.

        Raises :class:`UserError` when no recording has tags, and with ``softmax`` when one has not exactly one or when it is
        not known of every class whether it is the one.
        """
        where = f"heads.{cls.__module__.rpartition('.')[2]}"
        known = [annotation.tags for annotation in annotations if annotation.tags.known]
        if not known:
            raise UserError("no training recording has tags", where=where, fix="remove this head, or annotate some")
        partial = [layer.unjudged for layer in known if layer.unjudged]
        if partial and config.activation == "softmax":
            what = f"{len(partial)} of {len(known)} training recordings are partially labelled (one lacks {partial[0][0]!r})"
            raise UserError(
                what, where=f"{where}.activation", fix="set it to sigmoid, which learns from labelled classes alone"
            )
        wrong = [tags for tags in known if len(tags) != 1]
        if wrong and config.activation == "softmax":
            one = f"one has {', '.join(repr(tag.name) for tag in wrong[0])}" if wrong[0] else "one has none"
            what = f"{len(wrong)} of {len(known)} training recordings have not exactly one tag ({one})"
            raise UserError(what, where=f"{where}.activation", fix="set it to sigmoid")
        return {}

    def targets(self, excerpt: Excerpt) -> dict[str, NDArray[np.float32]]:
        """``tags`` ``[1, classes]`` and ``tags_mask`` ``[frames, classes]``: 1 in real frames of labelled classes.

        Of a soft track, tags hold their confidence in place of 1. With ``softmax``, what the one tag lacks is shared by the
        other classes: one of them it must be.
        """
        grid, layer = excerpt.grid, excerpt.annotation.tags
        mask = np.zeros((grid.frames, len(self.labels)), np.float32)
        mask[: grid.real] = labelled_cells([layer], self.labels)
        tags = tag_cells([layer], self.labels)
        values = tags.astype(np.float32)
        if excerpt.track.soft:
            for tag in layer:
                values[0, self.labels.index(tag.name)] = 1.0 if tag.confidence is None else tag.confidence
            if self.config.activation == "softmax":
                values[~tags] = (1.0 - values.sum()) / max(1, (~tags).sum())
        return {"tags": values, "tags_mask": mask}

    def loss(self, logits: Mapping[str, Tensor], targets: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Cross-entropy of the clips' logits: over labelled clips, or when it is binary over labelled (clip, class) cells.

        It is a mean by the clips' weights. What is unlabelled does not count; 0 when there is nothing else.
        """
        mask, truth = targets["tags_mask"], targets["tags"][:, 0]
        clips, known = self.clip_logits(logits["tags"].float(), real_frames(mask)), mask.amax(dim=1)
        if not self.config.binary:
            smoothing = self.config.label_smoothing
            terms = F.cross_entropy(clips, truth, reduction="none", label_smoothing=smoothing)
            labelled = known.amin(dim=1)
        else:
            terms = F.binary_cross_entropy_with_logits(clips, truth, reduction="none")
            labelled = known
        return {"clip": self.config.weight * weighted_mean(terms, labelled)}

    def clip_logits(self, frames: Tensor, real: Tensor) -> Tensor:
        """Output ``[batch, frames, ...]`` -> logits ``[batch, classes]``: its mean, unless a head says otherwise.

        Frames with ``real`` ``[batch, frames]`` 1 count, those with 0 do not.
        """
        return (frames * real[:, :, None]).sum(dim=1) / real.sum(dim=1, keepdim=True).clamp(min=1.0)

    def activations(self, logits: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The output itself, which :meth:`pool` makes probabilities of."""
        return {name: values.float() for name, values in logits.items()}

    @torch.no_grad()
    def pool(self, activations: Activations, rate: float) -> Activations:
        """Activations of all frames -> ``tags`` ``[1, classes]``, the mean over windows of the probabilities of their logits.

        Windows are ``clip_seconds`` long and begin half of that apart; the last one ends with the recording, and a recording
        that is shorter is one window.
        """
        frames = activations["tags"]
        length, hop = (max(1, round(seconds * rate)) for seconds in (self.config.clip_seconds, self.config.clip_seconds / 2))
        windows = plan(len(frames), length, length - hop)
        judged = np.concatenate([self._judged(frames[w.start : w.start + w.real], rate) for w in windows])
        mean = judged.mean(axis=0, keepdims=True) if len(judged) else np.zeros((1, len(self.labels)))
        return {"tags": mean.astype(np.float32)}

    def _judged(self, frames: NDArray[np.floating[Any]], rate: float) -> NDArray[np.floating[Any]]:
        """Output of a run of frames ``[frames, ...]`` -> probabilities ``[1, classes]``, or none where nothing sounds."""
        logits = self._window_logits(frames)
        found: NDArray[np.floating[Any]] = softmax(logits, axis=1) if self.config.activation == "softmax" else expit(logits)
        return found

    def _window_logits(self, frames: NDArray[np.floating[Any]]) -> NDArray[np.float64]:
        """Output of a run of frames ``[frames, ...]`` -> ``[1, classes]``."""
        device = next((parameter.device for parameter in self.parameters()), None)
        whole = torch.from_numpy(frames.astype(np.float32))[None].to(device)
        return self.clip_logits(whole, whole.new_ones(whole.shape[:2])).double().cpu().numpy()

    def tune(self, references: Sequence[Annotation], activations: Sequence[Activations], rate: float) -> None:
        """With ``sigmoid``, the one threshold for all classes with the best micro F1; of equal ones the nearest to .5."""
        if self.config.activation == "softmax":
            return
        truth, probabilities, labelled = self._labelled(references, activations)
        scores = [
            (micro_f1(truth, labelled & self._found(probabilities, threshold)), -round(abs(threshold - DEFAULT), 9), threshold)
            for threshold in GRID
        ]
        self.thresholds = {"tags": max(scores)[-1]}

    def decode(self, activations: Activations, rate: float) -> Layer:
        """The tags above the threshold, with ``softmax`` the most probable one; their confidences are the probabilities."""
        [row], [found] = activations["tags"], self._estimate(activations["tags"])
        return Layer(tuple(Tag(self.labels[index], float(row[index])) for index in np.flatnonzero(found)))

    def score(self, references: Sequence[Annotation], activations: Sequence[Activations], rate: float) -> dict[str, Any]:
        """See :func:`tag_scores`, and :func:`calibration_scores` for the tags that are found; with ``sigmoid`` also
        ``openmic_f1``, and with ``softmax`` ``accuracy``, the share of exact clips among those whose classes are all labelled.
        """
        truth, probabilities, labelled = self._labelled(references, activations)
        estimate = self._estimate(probabilities)
        scores = tag_scores(truth, probabilities, estimate, self.labels, labelled)
        if self.config.activation == "sigmoid":
            scores["openmic_f1"] = openmic_f1(truth, probabilities, labelled)
        else:
            whole = labelled.all(axis=1)
            scores["accuracy"] = exact_matches(truth[whole], estimate[whole])
        named = estimate & labelled
        return {**scores, **calibration_scores(probabilities[named], truth[named])}

    def _labelled(
        self, references: Sequence[Annotation], activations: Sequence[Activations]
    ) -> tuple[Cells, NDArray[np.floating[Any]], Cells]:
        """Truth, probabilities and what is labelled, ``[clips, classes]``, of the recordings with annotated tags."""
        pairs = [(truth.tags, own) for truth, own in zip(references, activations, strict=True) if truth.tags.known]
        layers = [layer for layer, _ in pairs]
        probabilities = np.concatenate([np.zeros((0, len(self.labels)), np.float32), *(own["tags"] for _, own in pairs)])
        return tag_cells(layers, self.labels), probabilities, labelled_cells(layers, self.labels)

    def _estimate(self, probabilities: NDArray[np.floating[Any]]) -> Cells:
        if self.config.activation == "sigmoid":
            return self._found(probabilities, self.thresholds["tags"])
        likeliest: Cells = np.arange(len(self.labels)) == probabilities.argmax(axis=1)[:, None]
        return likeliest & (probabilities > 0)

    def _found(self, probabilities: NDArray[np.floating[Any]], threshold: float) -> Cells:
        # A float64 threshold: NumPy would round a Python number to the precision of the probabilities.
        found: Cells = probabilities > np.float64(threshold)
        return found
