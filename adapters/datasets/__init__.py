"""The contract of a dataset: it yields tracks, and reports every problem of the data at once."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, Literal, get_args

from pydantic import Field

from etude.adapters.annotations import Annotation
from etude.adapters.config import StrictModel
from etude.adapters.datasets._parts.equal_files import equal_files
from etude.adapters.errors import Problem, UserError
from etude.adapters.sound.audio import AudioInfo

Split = Literal["train", "validation", "test"]
SPLITS: tuple[Split, ...] = get_args(Split)


@dataclass(frozen=True, slots=True)
class Track:
    """One recording with what is known about it."""

    id: str
    audio: Path
    info: AudioInfo
    split: Split
    annotation: Annotation
    weight: float = 1.0
    """How much it counts in a loss, compared with the other recordings of a batch; above 0."""
    soft: bool = False
    """Whether the confidences of its annotation are probabilities to learn, rather than remarks on what is certain."""
    group: str = ""
    """Session, player or take: recordings of one group belong in one split. Empty where it is not known."""

    @property
    def truth(self) -> Annotation:
        """The annotation as scores and counts take it, without what is soft about it."""
        if not self.soft:
            return self.annotation
        return Annotation({kind.name: kind.hard(layer) for kind, layer in self.annotation.by_kind()})


class DatasetConfig(StrictModel):
    """Fields every dataset has."""

    name: str
    """That of its file."""
    weight: float = Field(1.0, gt=0)
    """Factor of the weights of its recordings, which matters beside another data set."""

    def content(self) -> dict[str, Any]:
        """What derived data depend on, for cache keys (JSON): all but what the data set is called and how much it counts."""
        return self.model_dump(mode="json", exclude=set(DatasetConfig.model_fields))


def joined_licence(*licences: str) -> str:
    """The licence of what comes of data under several: all of theirs, each once."""
    return " AND ".join(dict.fromkeys(one for licence in licences for one in licence.split(" AND ")))


class Dataset(ABC):
    """Reads labels and audio headers, never whole recordings.

    A subclass fills :attr:`licence`, and implements :attr:`classes` and :meth:`scan`.
    """

    Config: ClassVar[type[DatasetConfig]]
    licence: str
    """Of the recordings and labels, an SPDX expression; final once :meth:`check` has run."""
    notices: list[Problem]
    """Worth a look but no hindrance (files that no row names, doubled labels); filled by :meth:`scan`."""

    def __init__(self, config: Any) -> None:
        self.config = config
        self.notices = []
        self._scanned: tuple[list[Track], list[Problem]] | None = None
        self._leaks: list[Problem] | None = None

    @property
    @abstractmethod
    def classes(self) -> Mapping[str, tuple[str, ...]]:
        """Kind of annotation -> the names of its classes in label order: ``notes`` have the playing techniques, ``tags`` those
        of whole recordings. A kind that nobody annotated is absent, or has none."""

    @abstractmethod
    def scan(self) -> tuple[list[Track], list[Problem]]:
        """Every usable track and every problem found; called once. Never raises for a fault in a single file."""

    def check(self) -> tuple[list[Track], list[Problem]]:
        """The result of :meth:`scan`, weighted, computed once."""
        if self._scanned is None:
            (tracks, problems), factor = self.scan(), self.config.weight
            weighted = tracks if factor == 1 else [replace(track, weight=factor * track.weight) for track in tracks]
            self._scanned = weighted, problems
        return self._scanned

    def leaks(self) -> list[Problem]:
        """Recordings that are in two splits, under one name or under two (equal files), computed once."""
        if self._leaks is None:
            first: dict[Path, Track] = {}
            found = {}
            for track in self.check()[0]:
                if first.setdefault(track.audio, track).split != track.split:
                    found[track.audio] = f"is in the split '{track.split}' and in '{first[track.audio].split}'"
            for kept, *others in equal_files(first):
                for path in others:
                    if first[path].split != first[kept].split:
                        found.setdefault(path, f"is the same recording as {kept} in the split '{first[kept].split}'")
            self._leaks = [Problem(what, str(path), "keep it in one split only") for path, what in found.items()]
        return self._leaks

    def tracks(self, split: Split) -> list[Track]:
        """The tracks of one split. Raises :class:`UserError` with all problems of the data set, for a recording that is in two
        splits, and for an empty split."""
        tracks, problems = self.check()
        if problems := problems or self.leaks():
            raise UserError(problems)
        found = [track for track in tracks if track.split == split]
        if not found:
            raise UserError(
                f"no recording in the split '{split}'",
                where=f"data set '{self.config.name}'",
                fix="add some, or name another split",
            )
        return found
