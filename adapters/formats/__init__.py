"""The contract of a file format for annotations, and the one way to write them.

Times are seconds from the start of the recording, whatever its sample rate; pitches are MIDI numbers.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from etude.adapters import registry
from etude.adapters.annotations import Annotation, Kind, kind_of
from etude.adapters.errors import UserError
from etude.adapters.storage.atomic import replace_file


@dataclass(frozen=True, slots=True)
class Origin:
    """Where records come from: the recording, its length in seconds, and the adapter that found them (``None``: a person)."""

    source: Path
    duration: float
    adapter: str | None = None


class Format(ABC):
    """A file format; its name is that of its file."""

    suffix: ClassVar[str]
    """What the names of its files end in."""

    def holds(self, kind: Kind) -> bool:
        """Whether it can hold records of ``kind``."""
        return True

    @abstractmethod
    def write(self, path: Path, annotation: Annotation, origin: Origin) -> None:
        """Write an annotation whose kinds it holds. Raises :class:`UserError` for records that it cannot hold all the same."""


def format_of(name: str) -> Format:
    """The format of this name. Raises :class:`UserError` for an unknown one."""
    found: Format = registry.find("formats", name)()
    return found


def left_out(format: str, kinds: Iterable[str], where: str) -> list[Kind]:
    """Those of ``kinds`` that ``format`` cannot hold. Raises :class:`UserError` if it holds none; ``where`` has found them."""
    found = [kind_of(name) for name in kinds]
    lost = [kind for kind in found if not format_of(format).holds(kind)]
    if lost and len(lost) == len(found):
        what = " and ".join(f"{kind.plural} of whole recordings" if kind.whole else kind.plural for kind in lost)
        fitting = [name for name, other in registry.usable("formats").items() if all(map(other().holds, lost))]
        fix = f"choose another format: {', '.join(fitting)}"
        raise UserError(f"finds {what}, which {format} cannot hold", where=where, fix=fix)
    return lost


def export(
    annotation: Annotation, path_out: Path, format: str, *, duration: float, source: Path, adapter: str | None = None
) -> None:
    """Write what was found in ``source``, a recording of ``duration`` seconds, to ``path_out``, where it appears once complete.

    Kinds that ``format`` cannot hold are left out. Raises :class:`UserError` for an unknown format, a file that cannot be
    written, records that the format cannot hold, and where nothing of what was found can be held.
    """
    writer = format_of(format)
    if any(annotation.values()):
        left_out(format, annotation, adapter or str(source))
    held = Annotation({kind.name: layer for kind, layer in annotation.by_kind() if writer.holds(kind)})
    with replace_file(path_out) as partial:
        writer.write(partial, held, Origin(source, duration, adapter))
