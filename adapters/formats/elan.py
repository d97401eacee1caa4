"""Annotation files of ELAN (Max Planck Institute for Psycholinguistics), EAF 3.0."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from etude.adapters.annotations import Annotation, Mark
from etude.adapters.errors import Problem
from etude.adapters.formats import Contents, Format, Origin, Reading
from etude.adapters.formats._parts.text import beginning, to_number
from etude.adapters.formats._parts.tiers import Tier, contents, tiers_of
from etude.adapters.formats._parts.xml import read_xml

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element

DATE = "1970-01-01T00:00:00+00:00"
"""Files must have one; the same annotation is the same file at any time."""
SCHEMA = {"{http://www.w3.org/2001/XMLSchema-instance}noNamespaceSchemaLocation": "http://www.mpi.nl/tools/elan/EAFv3.0.xsd"}


class Elan(Format):
    """A tier of classes, and one of each value that is known, in milliseconds; what overlaps is in tiers with a number."""

    suffix = ".eaf"

    def recognises(self, start: bytes) -> bool:
        """XML of that root."""
        return "<ANNOTATION_DOCUMENT" in beginning(start)

    def read(self, path: Path, how: Reading) -> Contents:
        """See :class:`Format`. An annotation that refers to another one has its times."""
        root = read_xml(path)
        slots = {slot.get("TIME_SLOT_ID"): slot.get("TIME_VALUE", "") for slot in root.iter("TIME_SLOT")}
        annotations = [(tier.get("TIER_ID", ""), list(tier.iterfind("ANNOTATION/*"))) for tier in root.iter("TIER")]
        by_id = {one.get("ANNOTATION_ID"): one for _, own in annotations for one in own}
        tiers = []
        for name, own in annotations:
            tiers.append(tier := Tier(name))
            for one in own:
                times = _times(one, slots, by_id)
                if times:
                    tier.add(Mark(*times, (one.findtext("ANNOTATION_VALUE") or "").strip()))
                else:
                    place = f", tier '{name}', annotation {one.get('ANNOTATION_ID')}"
                    tier.problems.append(Problem("has no times of its own", place, "align it in ELAN"))
        return contents(tiers, how, "an ELAN file")

    def write(self, path: Path, annotation: Annotation, origin: Origin) -> None:
        """See :class:`Format`. There are no points in ELAN: they last a millisecond."""
        from xml.etree.ElementTree import Element, ElementTree, SubElement, indent

        root = Element("ANNOTATION_DOCUMENT", {"AUTHOR": "etude", "DATE": DATE, "FORMAT": "3.0", "VERSION": "3.0", **SCHEMA})
        header = SubElement(root, "HEADER", MEDIA_FILE="", TIME_UNITS="milliseconds")
        kind = "audio/x-wav" if origin.source.suffix.lower() == ".wav" else "audio/*"
        SubElement(header, "MEDIA_DESCRIPTOR", MEDIA_URL=origin.source.name, MIME_TYPE=kind)
        order = SubElement(root, "TIME_ORDER")
        slots: list[int] = []
        for tier in tiers_of(annotation, origin.duration):
            part = SubElement(root, "TIER", TIER_ID=tier.name, LINGUISTIC_TYPE_REF="default-lt")
            for mark, _ in tier.marks:
                start = round(1000 * mark.start)
                slots += [start, max(round(1000 * mark.end), start + 1)]
                names = {f"TIME_SLOT_REF{end}": f"ts{len(slots) - 2 + end}" for end in (1, 2)}
                name = f"a{len(slots) // 2}"
                one = SubElement(SubElement(part, "ANNOTATION"), "ALIGNABLE_ANNOTATION", {"ANNOTATION_ID": name, **names})
                SubElement(one, "ANNOTATION_VALUE").text = mark.text
        for time, slot in sorted((time, slot) for slot, time in enumerate(slots, start=1)):
            SubElement(order, "TIME_SLOT", TIME_SLOT_ID=f"ts{slot}", TIME_VALUE=str(time))
        SubElement(root, "LINGUISTIC_TYPE", LINGUISTIC_TYPE_ID="default-lt", TIME_ALIGNABLE="true", GRAPHIC_REFERENCES="false")
        indent(root)
        ElementTree(root).write(path, encoding="UTF-8", xml_declaration=True)


def _times(one: Element, slots: Mapping[str | None, str], by_id: Mapping[str | None, Element]) -> tuple[float, float] | None:
    """Start and end in seconds of an annotation, or of the one that it refers to."""
    for _ in by_id:  # not for ever, where annotations refer to one another
        if one.get("PREVIOUS_ANNOTATION") or (aligned := by_id.get(one.get("ANNOTATION_REF"))) is None:
            break
        one = aligned
    start, end = (to_number(slots.get(one.get(f"TIME_SLOT_REF{end}"))) for end in (1, 2))
    return None if start is None or end is None else (start / 1000, end / 1000)
