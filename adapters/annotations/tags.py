"""Tags, which hold for a recording as a whole: the instruments heard in it, say, or its genre."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from etude.adapters.annotations import Kind, Layer
from etude.adapters.annotations._parts.row import Row
from etude.adapters.annotations._parts.shown import CardWords, Mark, ScoreNames
from etude.adapters.errors import UserError


@dataclass(frozen=True, slots=True)
class Tag:
    """One tag; ``confidence`` is a probability, or ``None`` where a person said so."""

    name: str
    confidence: float | None = None


class Tags(Kind):
    """Their classes are their names; a recording has each of them once or not at all."""

    unit, plural, label = "clip", "tags", "tag"
    whole = True
    scores = ScoreNames(
        headline={
            "f1_micro": ("F1 micro", "F1, micro"),
            "f1_macro": ("F1 macro", "F1, macro"),
            "openmic_f1": ("F1 as in OpenMIC", "F1 of presence and absence, macro (OpenMIC)"),
            "lrap": ("LRAP", "Label ranking average precision"),
            "map": ("mAP", "Mean average precision"),
            "roc_auc": ("ROC AUC", "ROC AUC, macro"),
            "accuracy": ("accuracy", "Accuracy"),
        },
        columns=(
            ("F1", "clip", "f1"),
            ("precision", "clip", "precision"),
            ("recall", "clip", "recall"),
            ("recordings", "clip", "ref"),
            ("found", "clip", "est"),
            ("correct", "clip", "tp"),
        ),
    )
    card = CardWords(
        does="tag audio recordings as a whole",
        task="music tagging",
        example="for tag in annotation.tags:\n    print(tag.name, tag.confidence)",
    )

    def check(self, record: Tag) -> str | None:
        """See :class:`Kind`."""
        if record.confidence is not None and not 0 <= record.confidence <= 1:
            return f"confidence {record.confidence:g} of a tag is not between 0 and 1"
        return None if record.name else "a tag has no name"

    def arrange(self, records: Iterable[Tag]) -> tuple[Tag, ...]:
        """By name, each once; of several, the last."""
        return tuple(tag for _, tag in sorted({tag.name: tag for tag in records}.items()))

    def class_of(self, record: Tag) -> str:
        """Its name."""
        return record.name

    def hard(self, layer: Layer) -> Layer:
        """The tags that are no less likely than not."""
        return replace(layer, records=tuple(tag for tag in layer if tag.confidence is None or tag.confidence >= 0.5))

    def marks(self, layer: Layer, duration: float) -> list[Mark]:
        """See :class:`Kind`."""
        return [Mark(0.0, duration, tag.name, confidence=tag.confidence) for tag in layer]

    def cells(self, mark: Mark) -> dict[str, str]:
        """See :class:`Kind`; its times say nothing."""
        return {"tag": mark.text, "confidence": "" if mark.confidence is None else repr(mark.confidence)}

    def parse(self, row: Row, duration: float | None = None) -> Tag:
        """See :class:`Kind`."""
        tag = Tag(row.class_name("tag") or "", row.number("confidence") if row.text("confidence") else None)
        if fault := self.check(tag):
            raise UserError(fault, fix="correct it")
        return tag

    def plain(self, layer: Layer) -> list[dict[str, str | float | None]] | None:
        """``None`` where nobody annotated them."""
        return [{"tag": tag.name, "confidence": tag.confidence} for tag in layer] if layer.known else None

    def summary(self, layer: Layer) -> str:
        """Names with confidences."""
        return ", ".join(t.name if t.confidence is None else f"{t.name} {t.confidence:.2f}" for t in layer) or "no tag"

    def counts(self, layer: Layer) -> Iterable[str]:
        """A recording without tags counts as what it lacks."""
        if not layer.known:
            return ["(unlabelled)"]
        return self.classes(layer) or ["(none labelled)" if layer.unjudged else "(none)"]
