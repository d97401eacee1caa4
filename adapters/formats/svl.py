"""Annotation layers of Sonic Visualiser (Cannam, Landone & Sandler, ACM Multimedia 2010)."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from etude.adapters.annotations import Mark
from etude.adapters.errors import Problem, UserError
from etude.adapters.formats import Contents, Format, Reading
from etude.adapters.formats._parts import pitch
from etude.adapters.formats._parts.text import beginning, to_number
from etude.adapters.formats._parts.tiers import Tier, contents
from etude.adapters.formats._parts.xml import read_xml

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element


class Svl(Format):
    """A tier per layer: notes with pitches, regions, or points in time; of the values of others than notes nothing is known."""

    suffix = ".svl"

    def recognises(self, start: bytes) -> bool:
        """XML of that root."""
        text = beginning(start)
        return "<!DOCTYPE sonic-visualiser" in text or "<sv>" in text

    def read(self, path: Path, how: Reading) -> Contents:
        """See :class:`Format`. Frames are in the sample rate of the layer."""
        root = read_xml(path)
        names = {layer.get("model"): layer.get("presentationName") or layer.get("name") for layer in root.iter("layer")}
        points = {dataset.get("id"): list(dataset.iter("point")) for dataset in root.iter("dataset")}
        models = [model for model in root.iter("model") if model.get("dataset") in points]
        if not models:
            raise UserError("has no layer of notes, regions or points", fix="export one from Sonic Visualiser")
        return contents([_tier(model, names, points[model.get("dataset")]) for model in models], how, "a Sonic Visualiser file")


def _tier(model: Element, names: dict[str | None, str | None], points: list[Element]) -> Tier:
    """The layer of ``model``. Raises :class:`UserError` without a sample rate, and for values in a unit that cannot be told."""
    tier = Tier(names.get(model.get("id")) or model.get("name") or "layer")
    rate = to_number(model.get("sampleRate")) or 0.0
    if not rate > 0:
        raise UserError(f"has no sample rate of the layer '{tier.name}'", fix="export it again from Sonic Visualiser")
    hertz = False
    notes = model.get("subtype") == "note"
    if notes and not (hertz := model.get("units", "").casefold() == "hz") and "midi" not in model.get("units", "").casefold():
        hertz = pitch.in_hertz([point.get("value", "") for point in points], f"the layer '{tier.name}'")
    for index, point in enumerate(points, start=1):
        frame, duration, value = (to_number(point.get(name, "0")) for name in ("frame", "duration", "value"))
        midi = pitch.of_hz(value) if hertz and value is not None else value
        if frame is None or duration is None or (notes and midi is None):
            what = "has no frame, duration and pitch"
            tier.problems.append(Problem(what, f", layer '{tier.name}', point {index}", "correct or remove it"))
        else:
            tier.add(Mark(frame / rate, (frame + duration) / rate, point.get("label", "").strip(), midi if notes else None))
    return tier
