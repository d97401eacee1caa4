"""Playing techniques, with pitch and onset as auxiliary tasks (MERTech, Li et al., ICASSP 2024, arXiv 2310.09853).

One MLP gives a technique x pitch plane per frame: its sum over pitches is the technique logit, its sum over techniques the
pitch logit. A second MLP gives the onset logit; detached, it is joined to both and each is refined by self-attention over time.
``context``, which is not published, lets all of them see neighbouring frames. ``pitch`` and ``onset`` switch the auxiliary
tasks: technique only, + pitch, + onset are the paper's three steps.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, ClassVar, Literal, Self

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field, model_validator
from torch import Tensor, nn

from etude.adapters.annotations import Annotation, Layer
from etude.adapters.errors import UserError
from etude.adapters.heads import Activations, Context, Excerpt, FrameGrid, Head, HeadConfig
from etude.adapters.heads._parts import decoding, scoring
from etude.adapters.heads._parts.complete_notes import note_scores
from etude.adapters.heads._parts.decoding import Decoder
from etude.adapters.heads._parts.dropout import Dropout
from etude.adapters.heads._parts.frame_context import FrameContext
from etude.adapters.heads._parts.losses import class_weights, masked_bce
from etude.adapters.heads._parts.tuning import DEFAULT, tune_thresholds

MidiPitch = Annotated[int, Field(ge=0, le=127)]


class TechniqueConfig(HeadConfig):
    """Defaults are the published ones, but for ``thresholds``."""

    pitch: bool = True
    """The pitch task; it needs notes with pitches."""
    onset: bool = True
    """The onset task, and the refinement by it."""
    decoder: Decoder | None = None
    """How frames become events; ``onset_confirmed`` with an onset branch, else ``rising_edges``."""
    thresholds: Literal["tuned"] | Annotated[float, Field(gt=0, lt=1)] = "tuned"
    """What a probability must exceed: chosen on validation data for the best event macro F1, one per technique and one for
    onsets, or one number for all, as published .5."""
    pitch_range: tuple[MidiPitch, MidiPitch] | None = None
    """Lowest and highest MIDI pitch; from the training data when omitted."""
    context: int = Field(0, ge=0)
    """Frames to either side (a multiple of 4, or rounded up to one) that each frame is read with; 0, as published, leaves time
    to the backbone and the refinement."""
    hidden: int = Field(512, ge=1)
    """Width of the hidden layers."""
    dropout: float = Field(0.2, ge=0, lt=1)
    """Behind the hidden layers."""
    pitch_weight: float = Field(0.5, ge=0)
    onset_weight: float = Field(0.5, ge=0)
    onset_positive_weight: float = Field(10.0, gt=0)
    """Factor of the frames that have an onset."""
    class_weight_power: float = Field(0.3, ge=0)
    """How much more rare techniques count; 0 is not at all."""

    @model_validator(mode="after")
    def _decoder_has_onsets(self) -> Self:
        if not self.onset and self.decoder in ("onset_confirmed", "fusion"):
            raise ValueError(f"decoder '{self.decoder}' needs 'onset: true'")
        if self.pitch_range and self.pitch_range[0] > self.pitch_range[1]:
            raise ValueError("pitch_range must be (lowest, highest)")
        return self


class Refiner(nn.Module):
    """Onset-aware refinement: single-head self-attention over time with a residual, then a linear layer back to the classes."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(classes + 1, num_heads=1, batch_first=True)
        self.project = nn.Linear(classes + 1, classes)

    def forward(self, logits: Tensor, onset: Tensor) -> Tensor:
        """``[batch, frames, classes]`` and the detached onset logit ``[batch, frames, 1]`` -> refined logits."""
        joined = torch.cat([logits, onset], dim=-1)
        attended, _ = self.attention(joined, joined, joined, need_weights=False)
        refined: Tensor = self.project(joined + attended)
        return refined


class Technique(Head):
    """Outputs ``technique`` ``[..., classes]`` and, if switched on, ``pitch`` ``[..., pitches]`` and ``onset`` ``[..., 1]``."""

    Config: ClassVar[type[HeadConfig]] = TechniqueConfig
    config: TechniqueConfig
    kind: ClassVar[str] = "notes"

    def __init__(self, config: TechniqueConfig, labels: Sequence[str], hidden_size: int, statistics: Mapping[str, Any]) -> None:
        super().__init__(config, labels, hidden_size, statistics)
        self.lowest, highest = statistics["pitch_range"]
        self.pitches = highest - self.lowest + 1 if config.pitch else 1
        self.class_weights: Tensor
        self.register_buffer("class_weights", torch.tensor(statistics["class_weights"]), persistent=False)
        self.context = FrameContext(hidden_size, config.context) if config.context else None
        self.plane = self._mlp(hidden_size, len(labels) * self.pitches)
        self.onset = self._mlp(hidden_size, 1) if config.onset else None
        self.refine = nn.ModuleDict()
        if config.onset:
            self.refine["technique"] = Refiner(len(labels))
            if config.pitch:
                self.refine["pitch"] = Refiner(self.pitches)
        self.decoder: Decoder = config.decoder or ("onset_confirmed" if config.onset else "rising_edges")
        self.untuned = DEFAULT if config.thresholds == "tuned" else config.thresholds
        self.thresholds = {"technique": [self.untuned] * len(labels), "onset": self.untuned}

    def _mlp(self, inputs: int, outputs: int) -> nn.Sequential:
        hidden = self.config.hidden
        return nn.Sequential(nn.Linear(inputs, hidden), Dropout(self.config.dropout), nn.ReLU(), nn.Linear(hidden, outputs))

    @classmethod
    def measure(
        cls, config: TechniqueConfig, labels: Sequence[str], annotations: Sequence[Annotation], rate: float
    ) -> dict[str, Any]:
        """Class weights from the classes' shares of positive frames, and the pitch range.

        Raises :class:`UserError` when the pitch branch would have nothing to learn from: it would report arbitrary pitches.
        """
        frames = dict.fromkeys(labels, 0)
        pitches = [note.pitch for annotation in annotations for note in annotation.notes if note.pitch is not None]
        for annotation in annotations:
            for note in annotation.notes:
                if note.technique is not None:
                    start, stop = decoding.frame_span(note, rate)
                    frames[note.technique] += stop - start
        lowest, highest = config.pitch_range or (math.floor(min(pitches, default=0)), math.ceil(max(pitches, default=0)))
        if config.pitch and not any(lowest <= round(pitch) <= highest for pitch in pitches):
            among = f" from {lowest} to {highest}" if config.pitch_range else ""
            raise UserError(f"no training note has a pitch{among}", where="heads.technique.pitch", fix="set it to false")
        weights = class_weights(list(frames.values()), config.class_weight_power)
        return {"pitch_range": [lowest, highest], "class_weights": [round(float(weight), 4) for weight in weights]}

    def targets(self, excerpt: Excerpt) -> dict[str, NDArray[np.float32]]:
        """``technique``, ``pitch``, ``onset`` rolls and their masks (``..._mask``, ``[frames, 1]``).

        Where classes are unjudged, ``technique_mask`` is ``[frames, classes]``. Of a soft track, all three rolls hold the
        confidence of an event in place of 1, the largest where several meet: what may not be there may have no onset and no
        pitch either. An event without a confidence is certain.
        """
        return self._rolls(excerpt.annotation.notes, excerpt.grid, soft=excerpt.track.soft)

    def _rolls(self, layer: Layer, grid: FrameGrid, *, soft: bool = False) -> dict[str, NDArray[np.float32]]:
        rolls = {
            "technique": np.zeros((grid.frames, len(self.labels)), np.float32),
            "pitch": np.zeros((grid.frames, self.pitches), np.float32),
            "onset": np.zeros((grid.frames, 1), np.float32),
        }
        masks = {f"{name}_mask": np.zeros((grid.frames, 1), np.float32) for name in rolls}
        for mask in masks.values():
            mask[: grid.real] = 1.0
            for begin, end in layer.unknown((grid.start + grid.frames) / grid.rate):
                mask[max(0, math.floor(begin * grid.rate) - grid.start) : max(0, math.ceil(end * grid.rate) - grid.start)] = 0.0
        for note in layer:
            begin, end = decoding.frame_span(note, grid.rate)
            start, stop = max(0, begin - grid.start), min(grid.frames, end - grid.start)
            if stop <= start:
                continue
            value = note.confidence if soft and note.confidence is not None else 1.0
            if note.technique is None:
                masks["technique_mask"][start:stop] = 0.0
            else:
                _raise(rolls["technique"][start:stop, self.labels.index(note.technique)], value)
            index = None if note.pitch is None else round(note.pitch) - self.lowest
            if index is None or not 0 <= index < self.pitches:
                masks["pitch_mask"][start:stop] = 0.0
            else:
                _raise(rolls["pitch"][start:stop, index], value)
            if begin >= grid.start:
                _raise(rolls["onset"][start], value)
        if layer.unjudged:
            judged = np.array([label not in layer.unjudged for label in self.labels], np.float32)
            masks["technique_mask"] = masks["technique_mask"] * judged
        return {**rolls, **masks}

    def forward(self, context: Context) -> dict[str, Tensor]:
        """See :class:`Head`."""
        mixed = context.mixed if self.context is None else self.context(context.mixed)
        plane = self.plane(mixed).unflatten(-1, (len(self.labels), self.pitches))
        logits = {"technique": plane.sum(dim=-1)}
        if self.config.pitch:
            logits["pitch"] = plane.sum(dim=-2)
        if self.onset is not None:
            onset = self.onset(mixed)
            for name, refiner in self.refine.items():
                logits[name] = refiner(logits[name], onset.detach())
            logits["onset"] = onset
        return logits

    def loss(self, logits: Mapping[str, Tensor], targets: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """L_technique + .5 L_pitch + .5 L_onset (MERTech, section III; weights of the positives from its released code)."""
        weights: dict[str, tuple[float, Tensor | float]] = {
            "technique": (1.0, self.class_weights),
            "pitch": (self.config.pitch_weight, 1.0),
            "onset": (self.config.onset_weight, self.config.onset_positive_weight),
        }
        return {
            name: self.config.weight * factor * masked_bce(logits[name], targets[name], targets[f"{name}_mask"], positive)
            for name, (factor, positive) in weights.items()
            if name in logits
        }

    def tune(self, references: Sequence[Annotation], activations: Sequence[Activations], rate: float) -> None:
        """Thresholds that maximise event macro F1 on validation data; ``before``: without post-processing, for that score."""
        if self.config.thresholds != "tuned":
            return
        onsets = [a["onset"] for a in activations] if self.config.onset else None
        rolls = [a["technique"] for a in activations]
        layers = [reference.notes for reference in references]
        self.thresholds = tune_thresholds(layers, rolls, onsets, self.decoder, self.labels, rate)
        if self.decoder != "rising_edges":
            self.thresholds["before"] = tune_thresholds(layers, rolls, None, "rising_edges", self.labels, rate)["technique"]

    def decode(self, activations: Activations, rate: float) -> Layer:
        """Events by the configured decoder, with pitches when there is a pitch branch."""
        return self._decode(activations, rate, self.decoder, self.thresholds)

    def _decode(self, activations: Activations, rate: float, decoder: Decoder, thresholds: Mapping[str, Any]) -> Layer:
        onset = activations["onset"][:, 0] if self.config.onset else None
        pitch = activations["pitch"] if self.config.pitch else None
        notes = decoding.decode(
            activations["technique"], onset, thresholds, decoder, rate, self.labels, pitch=pitch, lowest_pitch=self.lowest
        )
        return Layer(tuple(notes))

    def score(self, references: Sequence[Annotation], activations: Sequence[Activations], rate: float) -> dict[str, Any]:
        """Scores of frames, events and complete notes after post-processing; ``before`` holds those of frames and events of
        the thresholded activations themselves.

        They have thresholds of their own, since a decoder's are chosen for it; an adapter that was saved without takes .5.
        ``pitch_frame_f1`` is micro F1 over all (pitch, frame) cells at threshold .5 (MERTech, released code).
        """
        layers = [reference.notes for reference in references]
        lengths = [len(item["technique"]) for item in activations]
        found = [self.decode(item, rate) for item in activations]
        scores = self._scores(layers, found, lengths, rate)
        scores |= note_scores(layers, found, self.labels, pitched=self.config.pitch)
        if self.decoder != "rising_edges":
            own = {**self.thresholds, "technique": self.thresholds.get("before", [self.untuned] * len(self.labels))}
            estimates = [self._decode(item, rate, "rising_edges", own) for item in activations]
            scores["before"] = self._scores(layers, estimates, lengths, rate)
            del scores["before"]["per_class"], scores["before"]["absent"]
        if self.config.pitch:
            scores["pitch_frame_f1"] = self._pitch_f1(layers, activations, rate)
        return scores

    def _scores(
        self, references: Sequence[Layer], estimates: Sequence[Layer], lengths: Sequence[int], rate: float
    ) -> dict[str, Any]:
        truth, guess = (
            [decoding.render(item, self.labels, frames, rate) for item, frames in zip(layers, lengths, strict=True)]
            for layers in (references, estimates)
        )
        masks = [scoring.judged_at(item, np.arange(n) / rate, self.labels) for item, n in zip(references, lengths, strict=True)]
        return scoring.merge_scores(
            scoring.frame_scores(truth, guess, masks, self.labels), scoring.event_scores(references, estimates, self.labels)
        )

    def _pitch_f1(self, references: Sequence[Layer], activations: Sequence[Activations], rate: float) -> float:
        hits = total = 0.0
        for reference, item in zip(references, activations, strict=True):
            frames = len(item["pitch"])
            target = self._rolls(reference, FrameGrid(0, frames, rate, frames))
            labelled = target["pitch_mask"][:, 0] > 0
            truth, guess = target["pitch"][labelled] > 0, item["pitch"][labelled] > 0.5
            hits += float((truth & guess).sum())
            total += float(truth.sum() + guess.sum())
        return 2 * hits / total if total else 0.0


def _raise(cells: NDArray[np.float32], value: float) -> None:
    np.maximum(cells, value, out=cells)
