"""Playing techniques, with pitch and onset as auxiliary tasks (MERTech, Li et al., ICASSP 2024, arXiv 2310.09853).

As published (``judge: frames``), one MLP gives a technique x pitch plane per frame: its sum over pitches is the technique
logit, its sum over techniques the pitch logit. A second MLP gives the onset logit; detached, it is joined to both and each is
refined by self-attention over time. ``context``, which is not published, lets all of them see neighbouring frames. ``pitch``
and ``onset`` switch the auxiliary tasks: technique only, + pitch, + onset are the paper's three steps.

With ``judge: notes`` the plane has one row, which says whether any note sounds: notes are found by onset and activity, and each
is judged as a whole by what does not forget the next recording (:mod:`panel`).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from etude.adapters.annotations import Annotation, Layer
from etude.adapters.errors import UserError
from etude.adapters.heads import Activations, Context, Example, Excerpt, FrameGrid, HeadConfig
from etude.adapters.heads._parts import decoding, scoring
from etude.adapters.heads._parts.complete_notes import note_scores
from etude.adapters.heads._parts.decoding import Decoder, Spans
from etude.adapters.heads._parts.dropout import Dropout
from etude.adapters.heads._parts.frame_context import FrameContext
from etude.adapters.heads._parts.losses import class_weights, masked_bce
from etude.adapters.heads._parts.note_borders import find_borders, tune_borders
from etude.adapters.heads._parts.note_judge import judge_notes
from etude.adapters.heads._parts.note_pitches import SALIENCE, with_heard_pitches
from etude.adapters.heads._parts.note_rolls import activity_rolls, note_rolls
from etude.adapters.heads._parts.panel import Panel
from etude.adapters.heads._parts.panel_head import PanelHead
from etude.adapters.heads._parts.reach import UNKNOWN, is_unknown
from etude.adapters.heads._parts.segment_fit import fit_notes
from etude.adapters.heads._parts.technique_config import TechniqueConfig
from etude.adapters.heads._parts.tuning import DEFAULT, tune_thresholds


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


class Technique(PanelHead):
    """Outputs ``technique`` ``[..., classes]``, or where notes are judged ``activity`` ``[..., 1]``, and, if switched on,
    ``pitch`` ``[..., pitches]`` and ``onset`` ``[..., 1]``; in prediction also what notes and pitches are judged by."""

    Config: ClassVar[type[HeadConfig]] = TechniqueConfig
    config: TechniqueConfig
    kind: ClassVar[str] = "notes"

    def __init__(self, config: TechniqueConfig, labels: Sequence[str], hidden_size: int, statistics: Mapping[str, Any]) -> None:
        super().__init__(config, labels, hidden_size, statistics)
        self.lowest, highest = statistics["pitch_range"]
        self.pitches = highest - self.lowest + 1 if config.learns_pitch else 1
        self.class_weights: Tensor
        self.register_buffer("class_weights", torch.tensor(statistics["class_weights"]), persistent=False)
        self.roll = "activity" if self.judged else "technique"
        """The output that the rows of the plane are."""
        self.rows = 1 if self.judged else len(labels)
        self.context = FrameContext(hidden_size, config.context) if config.context else None
        self.plane = self._mlp(hidden_size, self.rows * self.pitches)
        self.onset = self._mlp(hidden_size, 1) if config.onset else None
        self.refine = nn.ModuleDict()
        if config.onset:
            self.refine[self.roll] = Refiner(self.rows)
            if config.learns_pitch:
                self.refine["pitch"] = Refiner(self.pitches)
        self.decoder: Decoder = config.decoder or ("onset_confirmed" if config.onset else "rising_edges")
        self.untuned = DEFAULT if config.thresholds == "tuned" else config.thresholds
        own = {"activity": self.untuned} if self.judged else {"technique": [self.untuned] * len(labels)}
        self.thresholds = {**own, "onset": self.untuned}

    @property
    def hears(self) -> tuple[str, ...]:
        """See :class:`Head`."""
        return (*super().hears, SALIENCE) if self.config.pitch == "tracker" else super().hears

    def _mlp(self, inputs: int, outputs: int) -> nn.Sequential:
        hidden = self.config.hidden
        return nn.Sequential(nn.Linear(inputs, hidden), Dropout(self.config.dropout), nn.ReLU(), nn.Linear(hidden, outputs))

    @classmethod
    def measure(
        cls,
        config: TechniqueConfig,
        labels: Sequence[str],
        annotations: Sequence[Annotation],
        rate: float,
        *,
        frozen: bool = False,
    ) -> dict[str, Any]:
        """Class weights from the classes' shares of positive frames, the pitch range, and where notes are judged ``panel``.

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
        if config.learns_pitch and not any(lowest <= round(pitch) <= highest for pitch in pitches):
            among = f" from {lowest} to {highest}" if config.pitch_range else ""
            raise UserError(f"no training note has a pitch{among}", where="heads.technique.pitch", fix="set it to false")
        weights = class_weights(list(frames.values()), config.class_weight_power)
        measured = {"pitch_range": [lowest, highest], "class_weights": [round(float(weight), 4) for weight in weights]}
        notes = frozen and config.onset and not config.decoder if config.judge is None else config.judge == "notes"
        return {**measured, "panel": {}} if notes else measured

    def targets(self, excerpt: Excerpt) -> dict[str, NDArray[np.float32]]:
        """See :func:`note_rolls`, and where notes are judged :func:`activity_rolls`, without those of the technique."""
        layer, soft = excerpt.annotation.notes, excerpt.track.soft
        rolls = note_rolls(layer, excerpt.grid, self.labels, self.lowest, self.pitches, soft=soft)
        if self.panel is None:
            return rolls
        del rolls["technique"], rolls["technique_mask"]
        return {**rolls, **activity_rolls(layer, excerpt.grid, self.labels, soft=soft)}

    def forward(self, context: Context) -> dict[str, Tensor]:
        """See :class:`Head`."""
        mixed = context.mixed if self.context is None else self.context(context.mixed)
        plane = self.plane(mixed).unflatten(-1, (self.rows, self.pitches))
        logits = {self.roll: plane.sum(dim=-1)}
        if self.config.learns_pitch:
            logits["pitch"] = plane.sum(dim=-2)
        if self.onset is not None:
            onset = self.onset(mixed)
            for name, refiner in self.refine.items():
                logits[name] = refiner(logits[name], onset.detach())
            logits["onset"] = onset
        if not self.training:
            if self.config.pitch == "tracker":
                logits[SALIENCE] = context.heard[SALIENCE]
            if self.panel is not None:
                logits["features"] = self.panel.features(context)
        return logits

    def fit_panel(self, panel: Panel, examples: Iterable[Example], rate: float) -> None:
        """See :class:`PanelHead`: it judges notes."""
        fit_notes(panel, examples, rate)

    def activations(self, logits: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Probabilities; what is heard or kept for judging notes is left as it is."""
        kept = {name: values for name, values in logits.items() if name in (SALIENCE, "features")}
        return {**super().activations({name: values for name, values in logits.items() if name not in kept}), **kept}

    def loss(self, logits: Mapping[str, Tensor], targets: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """L_technique + .5 L_pitch + .5 L_onset (MERTech, section III; weights of the positives from its released code)."""
        weights: dict[str, tuple[float, Tensor | float]] = {
            "technique": (1.0, self.class_weights),
            "activity": (1.0, 1.0),
            "pitch": (self.config.pitch_weight, 1.0),
            "onset": (self.config.onset_weight, self.config.onset_positive_weight),
        }
        return {
            name: self.config.weight * factor * masked_bce(logits[name], targets[name], targets[f"{name}_mask"], positive)
            for name, (factor, positive) in weights.items()
            if name in logits
        }

    def tune(self, references: Sequence[Annotation], activations: Sequence[Activations], rate: float) -> None:
        """Thresholds that are best on validation data, for what :attr:`TechniqueConfig.thresholds` says; ``before``: for event
        macro F1 without post-processing."""
        if self.config.thresholds != "tuned":
            return
        onsets = [a["onset"] for a in activations] if self.config.onset else None
        layers = [reference.notes for reference in references]
        rolls = [a[self.roll] for a in activations]
        if self.panel is not None:
            assert onsets is not None
            self.thresholds = tune_borders(layers, [own[:, 0] for own in onsets], [own[:, 0] for own in rolls], rate)
            return
        self.thresholds = tune_thresholds(layers, rolls, onsets, self.decoder, self.labels, rate)
        if self.decoder != "rising_edges":
            self.thresholds["before"] = tune_thresholds(layers, rolls, None, "rising_edges", self.labels, rate)["technique"]

    def decode(self, activations: Activations, rate: float) -> Layer:
        """Judged notes, or events by the configured decoder; with pitches when those are learned or tracked."""
        if self.panel is None:
            return self._decode(activations, rate, self.decoder, self.thresholds)
        onset, activity = (activations[name][:, 0] for name in ("onset", "activity"))
        starts, stops = find_borders(onset, activity, self.thresholds["onset"], self.thresholds["activity"], rate)
        kept, probabilities = judge_notes(self.panel, activations["features"], (starts, stops), rate)
        classes = probabilities.argmax(axis=1)
        spans = Spans(starts[kept], stops[kept], classes)
        confidences = probabilities[np.arange(len(classes)), classes]
        layer = self._notes(spans, confidences, activations, rate)
        if not self.names_unknown:
            return layer
        pairs = zip(layer, is_unknown(probabilities), strict=True)
        return Layer(tuple(replace(note, technique=UNKNOWN, confidence=None) if own else note for note, own in pairs))

    def _decode(self, activations: Activations, rate: float, decoder: Decoder, thresholds: Mapping[str, Any]) -> Layer:
        onset = activations["onset"][:, 0] if self.config.onset else None
        technique = activations["technique"]
        spans = decoding.decode_spans(technique, onset, thresholds["technique"], thresholds["onset"], decoder)
        return self._notes(spans, decoding.mean_probabilities(spans, technique), activations, rate)

    def _notes(self, spans: Spans, confidences: NDArray[np.floating[Any]], activations: Activations, rate: float) -> Layer:
        pitches = decoding.likeliest_pitches(spans, activations["pitch"], self.lowest) if self.config.learns_pitch else None
        notes = decoding.as_notes(spans, confidences, rate, self.labels, pitches)
        return Layer(tuple(with_heard_pitches(notes, activations[SALIENCE], rate) if SALIENCE in activations else notes))

    def score(self, references: Sequence[Annotation], activations: Sequence[Activations], rate: float) -> dict[str, Any]:
        """Scores of frames, events and complete notes after post-processing; ``before`` holds those of frames and events of
        the thresholded activations themselves.

        They have thresholds of their own, since a decoder's are chosen for it; an adapter that was saved without takes .5.
        ``pitch_frame_f1`` is micro F1 over all (pitch, frame) cells at threshold .5 (MERTech, released code).
        """
        layers = [reference.notes for reference in references]
        lengths = [len(item[self.roll]) for item in activations]
        found = [self.decode(item, rate) for item in activations]
        scores = self._scores(layers, found, lengths, rate)
        scores |= note_scores(layers, found, self.labels, pitched=bool(self.config.pitch))
        if self.panel is None and self.decoder != "rising_edges":
            own = {**self.thresholds, "technique": self.thresholds.get("before", [self.untuned] * len(self.labels))}
            estimates = [self._decode(item, rate, "rising_edges", own) for item in activations]
            scores["before"] = self._scores(layers, estimates, lengths, rate)
            del scores["before"]["per_class"], scores["before"]["absent"]
        if self.config.learns_pitch:
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
            target = note_rolls(reference, FrameGrid(0, frames, rate, frames), self.labels, self.lowest, self.pitches)
            labelled = target["pitch_mask"][:, 0] > 0
            truth, guess = target["pitch"][labelled] > 0, item["pitch"][labelled] > 0.5
            hits += float((truth & guess).sum())
            total += float(truth.sum() + guess.sum())
        return 2 * hits / total if total else 0.0
