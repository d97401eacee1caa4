"""What is known about a recording: layers of records by kind of annotation, and the contract of a kind.

A kind is one file of this folder, ``notes`` say, and nothing outside that file asks which one it is. Times are seconds from
the start of the recording. Records are checked where they enter, so that every later stage can rely on them.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cache
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from etude.adapters import registry
from etude.adapters.annotations._parts.alike import alike as alike
from etude.adapters.annotations._parts.row import Row as Row
from etude.adapters.annotations._parts.shown import CardWords as CardWords
from etude.adapters.annotations._parts.shown import Mark as Mark
from etude.adapters.annotations._parts.shown import ScoreNames as ScoreNames
from etude.adapters.errors import Problem, UserError

Span = tuple[float, float]
"""From, to; seconds."""
EVERYWHERE: tuple[Span, ...] = ((0.0, math.inf),)


@dataclass(frozen=True, slots=True)
class Layer:
    """What is known of one kind in one recording: ``records``, in the order of their kind once they are in an annotation.

    Outside of the ``known`` spans nobody annotated: there, the absence of a record is no negative example, and losses and
    scores skip the time. Of the ``unjudged`` classes nobody said whether they occur: they never count, while what is in
    neither is a negative example. Both are sorted, spans that touch are one. Raises ValueError for a span that does not last,
    and for unjudged classes where nothing is known.
    """

    records: tuple[Any, ...] = ()
    known: tuple[Span, ...] = EVERYWHERE
    unjudged: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        spans: list[Span] = []
        for begin, end in sorted(self.known):
            if not 0 <= begin < end:
                raise ValueError(f"a known span cannot last from {begin:g} s to {end:g} s")
            if spans and begin <= spans[-1][1]:
                spans[-1] = spans[-1][0], max(spans[-1][1], end)
            else:
                spans.append((begin, end))
        if self.unjudged and not spans:
            raise ValueError("some classes are unjudged, so the others are known: the known spans cannot be empty")
        object.__setattr__(self, "known", tuple(spans))
        object.__setattr__(self, "unjudged", tuple(sorted(set(self.unjudged))))

    def __iter__(self) -> Iterator[Any]:
        return iter(self.records)

    def __len__(self) -> int:
        return len(self.records)

    def __getitem__(self, index: int) -> Any:
        return self.records[index]

    def known_at(self, times: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Whether somebody annotated the times, seconds ``[n]``."""
        known = np.zeros(len(times), np.bool_)
        for begin, end in self.known:
            known |= (times >= begin) & (times < end)
        return known

    def unknown(self, end: float) -> list[Span]:
        """The spans up to ``end`` in which nobody annotated."""
        edges = [0.0, *(edge for span in self.known for edge in span), end]
        gaps = [(begin, min(stop, end)) for begin, stop in zip(edges[::2], edges[1::2], strict=True)]
        return [(begin, stop) for begin, stop in gaps if begin < stop]


class Annotation(Mapping[str, Layer]):
    """Layers by the name of their kind, sorted; it does not change, and has what ``Annotation(other, notes=[])`` replaces.

    ``annotation["notes"]`` raises KeyError where nobody annotated notes, ``annotation.notes`` is then a layer that is known
    nowhere. Raises :class:`UserError` for impossible records, all at once, and for an unknown kind; ValueError for a class that
    occurs and is unjudged.
    """

    __slots__ = ("_layers",)

    def __init__(self, layers: Mapping[str, Layer | Iterable[Any]] | None = None, /, **more: Layer | Iterable[Any]) -> None:
        self._layers: dict[str, Layer] = {}
        problems: list[Problem] = []
        for name, given in sorted({**(layers or {}), **more}.items()):
            kind, layer = kind_of(name), given if isinstance(given, Layer) else Layer(tuple(given))
            wrong = [Problem(what) for record in layer if (what := kind.check(record))]
            problems += wrong
            if wrong or not (layer.known or layer.records):
                continue
            if both := sorted(set(layer.unjudged).intersection(kind.classes(layer))):
                raise ValueError(f"'{both[0]}' is among the {name} and among the unjudged classes")
            arranged = kind.arrange(layer)
            self._layers[name] = layer if arranged == layer.records else replace(layer, records=arranged)
        if problems:
            raise UserError(problems)

    def __getitem__(self, name: str) -> Layer:
        return self._layers[name]

    def __getattr__(self, name: str) -> Layer:
        if name.startswith("_") or not (name in self._layers or name in registry.names("annotations")):
            raise AttributeError(f"no kind of annotation is called {name!r}")
        return self._layers.get(name, UNKNOWN)

    def __iter__(self) -> Iterator[str]:
        return iter(self._layers)

    def __len__(self) -> int:
        return len(self._layers)

    def __eq__(self, other: object) -> bool:
        return self._layers == other._layers if isinstance(other, Annotation) else NotImplemented

    def __hash__(self) -> int:
        return hash(tuple(self._layers.items()))

    def __repr__(self) -> str:
        return f"Annotation({', '.join(f'{name}={layer!r}' for name, layer in self.items())})"

    def __reduce__(self) -> tuple[type[Annotation], tuple[dict[str, Layer]]]:
        return Annotation, (self._layers,)

    def by_kind(self) -> list[tuple[Kind, Layer]]:
        """The layers beside their kinds."""
        return [(kind_of(name), layer) for name, layer in self.items()]

    def cut(self, spans: Sequence[Span]) -> list[Annotation]:
        """What concerns each of ``spans``, and perhaps a little more, in the recording's own time."""
        parts = [(kind.name, layer, kind.cut(layer, spans)) for kind, layer in self.by_kind()]
        if all(part is layer for _, layer, own in parts for part in own):  # hundreds of thousands of clips share annotations
            return [self] * len(spans)
        return [Annotation({name: own[index] for name, _, own in parts}) for index in range(len(spans))]


UNKNOWN = Layer(known=())
"""Nobody annotated anything of the kind."""


def merged(layers: Sequence[Layer]) -> Layer:
    """The layers of one kind by several annotators: known where any of them looked, unjudged what none of them judged."""
    return Layer(
        tuple(record for layer in layers for record in layer),
        tuple(span for layer in layers for span in layer.known),
        tuple(set.intersection(*(set(layer.unjudged) for layer in layers))),
    )


class Kind(ABC):
    """One kind of annotation; ``name`` is that of its file. What is not abstract serves most kinds as it is."""

    unit: ClassVar[str]
    """What its scores count, one of them: an event, a clip."""
    plural: ClassVar[str]
    """What its records are called."""
    label: ClassVar[str]
    """What its classes are called, one of them."""
    scores: ClassVar[ScoreNames]
    card: ClassVar[CardWords]
    whole: ClassVar[bool] = False
    """Whether its records hold for the whole recording."""
    pitched: ClassVar[bool] = False
    """Whether its marks have pitches."""
    columns: ClassVar[tuple[str, ...]] = ()
    """What a CSV of its records always has; empty where none can hold them."""
    required: ClassVar[tuple[str, ...]] = ()
    """Those of them without which a CSV cannot be read."""
    some_of: ClassVar[tuple[str, ...]] = ()
    """Columns of which it must have one more at least."""

    def __init__(self, name: str) -> None:
        self.name = name

    @property
    def heading(self) -> str:
        """What :meth:`counts` counts."""
        return f"{'recordings' if self.whole else self.plural} by {self.label}"

    @abstractmethod
    def check(self, record: Any) -> str | None:
        """What is impossible about a record, or ``None``."""

    @abstractmethod
    def arrange(self, records: Iterable[Any]) -> tuple[Any, ...]:
        """Sorted, and only once what cannot be there twice."""

    @abstractmethod
    def class_of(self, record: Any) -> str | None:
        """The name of its class, or ``None`` where that is not annotated."""

    @abstractmethod
    def marks(self, layer: Layer, duration: float) -> list[Mark]:
        """The records of a recording of ``duration`` seconds, one mark each."""

    def classes(self, layer: Layer) -> tuple[str, ...]:
        """The classes that occur, each once."""
        return tuple(dict.fromkeys(name for record in layer if (name := self.class_of(record)) is not None))

    def hard(self, layer: Layer) -> Layer:
        """What scores know of a layer whose confidences are there to be learned: all of it, unless a kind knows better."""
        return layer

    def cut(self, layer: Layer, spans: Sequence[Span]) -> list[Layer]:
        """What concerns each of ``spans``: everything, unless a kind knows better. Called once for all windows of a recording,
        since a training step must not read the records of an hour."""
        return [layer] * len(spans)

    def without(self, layer: Layer, names: Collection[str]) -> Layer:
        """The layer of somebody who does not judge the classes ``names``."""
        kept = tuple(record for record in layer if self.class_of(record) not in names)
        return replace(layer, records=kept, unjudged=(*layer.unjudged, *names))

    def row(self, record: Any) -> dict[str, str]:
        """The cells of :attr:`columns`, and of further ones that are written if any record has them."""
        raise NotImplementedError

    def cells(self, mark: Mark) -> dict[str, str]:
        """What :meth:`parse` reads of a mark, which is how a track of labels holds a record."""
        raise UserError(f"{self.plural} cannot be read from labels", fix="choose another format")

    def parse(self, row: Row, duration: float | None = None) -> Any:
        """The record in a line of a table, of a recording of ``duration`` seconds. Raises :class:`UserError` for a fault."""
        raise UserError(f"{self.plural} cannot be read from a table", fix="choose another format")

    def jams(self, layer: Layer, duration: float) -> list[tuple[str, list[tuple[float, float, Any, float | None]]]]:
        """JAMS annotations: namespace, and time, duration, value and confidence of each observation."""
        marks = self.marks(layer, duration)
        return [("tag_open", [(mark.start, mark.end - mark.start, mark.text, mark.confidence) for mark in marks])]

    def plain(self, layer: Layer) -> Any:
        """The layer as JSON holds it, also of a recording that nobody annotated."""
        return [asdict(record) for record in layer]

    def plain_cells(self, record: Mapping[str, Any]) -> dict[str, str]:
        """What :meth:`parse` reads of a record in a :meth:`plain` layer, whose values are texts, numbers or ``None``."""
        return {name: "" if value is None else str(value) for name, value in record.items()}

    def summary(self, layer: Layer) -> str:
        """What was found, in a few words."""
        return f"{len(layer)} {self.unit if len(layer) == 1 else self.plural}"

    def counts(self, layer: Layer) -> Iterable[str]:
        """Classes as often as they occur, also of a recording that nobody annotated."""
        return [self.class_of(record) or "(unlabelled)" for record in layer]


@cache
def kind_of(name: str) -> Kind:
    """The kind of this name. Raises :class:`UserError` for an unknown one."""
    found: Kind = registry.find("annotations", name)(name)
    return found
