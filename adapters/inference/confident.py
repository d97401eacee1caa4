"""Leaving out what an adapter is not sure of."""

from __future__ import annotations

from dataclasses import replace

from etude.adapters.annotations import Annotation, Layer
from etude.adapters.errors import UserError


def check_least(least: float, where: str) -> None:
    """Raise :class:`UserError` unless ``least`` is a probability; ``where`` is the option that named it."""
    if not 0 <= least <= 1:
        raise UserError(f"{least:g} is not a confidence", where=where, fix="use a number from 0 to 1")


def confident(annotation: Annotation, least: float) -> Annotation:
    """``annotation`` without the records whose confidence is below ``least``; those without confidence stay."""
    return Annotation({name: _confident(layer, least) for name, layer in annotation.items()})


def _confident(layer: Layer, least: float) -> Layer:
    stated = [getattr(record, "confidence", None) for record in layer]
    kept = tuple(record for record, own in zip(layer, stated, strict=True) if own is None or own >= least)
    return replace(layer, records=kept)
