"""JAMS (Humphrey et al., ISMIR 2014)."""

from __future__ import annotations

from pathlib import Path

from etude.adapters.annotations import Annotation
from etude.adapters.formats import Format, Origin


class Jams(Format):
    """As each kind says, :meth:`Kind.jams`; each JAMS annotation is present only if there is something in it."""

    suffix = ".jams"

    def write(self, path: Path, annotation: Annotation, origin: Origin) -> None:
        """See :class:`Format`."""
        import jams

        document = jams.JAMS()
        document.file_metadata.title = origin.source.stem
        document.file_metadata.duration = origin.duration
        maker = "manual annotation" if origin.adapter is None else f"adapter {origin.adapter}"
        found = [entry for kind, layer in annotation.by_kind() for entry in kind.jams(layer, origin.duration)]
        for namespace, observations in found:
            if not observations:
                continue
            part = jams.Annotation(namespace, time=0, duration=origin.duration)
            part.annotation_metadata = jams.AnnotationMetadata(annotation_tools="etude", data_source=maker)
            for time, duration, value, confidence in observations:
                part.append(time=time, duration=duration, value=value, confidence=confidence)
            document.annotations.append(part)
        document.save(str(path), strict=True, fmt="jams")
