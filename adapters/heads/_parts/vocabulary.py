"""Which class names a head learns: a data set names playing techniques, tags of whole recordings, or both."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Literal

from etude.adapters import registry
from etude.adapters.annotations import Annotation
from etude.adapters.datasets import Dataset
from etude.adapters.errors import UserError, nearest

Vocabulary = Literal["techniques", "tags"]
KINDS: dict[Vocabulary, str] = {"techniques": "notes", "tags": "tags"}
"""Vocabulary -> the kind of annotation that it names the classes of."""


def vocabulary_of(head: str) -> Vocabulary:
    """The vocabulary that the head of this name reads. Raises :class:`UserError` for an unknown head."""
    found: Vocabulary = registry.find("heads", head).vocabulary
    return found


def head_labels(head: str, dataset: Dataset) -> tuple[str, ...]:
    """The class names that ``head`` learns from ``dataset``, in label order.

    Raises :class:`UserError` when the data set has none of the kind that the head reads.
    """
    vocabulary = vocabulary_of(head)
    labels = dataset.classes.get(KINDS[vocabulary], ())
    if not labels:
        fitting = [name for name in registry.names("heads") if dataset.classes.get(KINDS[vocabulary_of(name)])]
        raise UserError(
            f"the data set '{dataset.config.name}' has no {vocabulary}, which the head '{head}' reads",
            where=f"heads.{head}",
            fix=f"heads for this data set: {', '.join(fitting)}" if fitting else "choose another data set",
        )
    return labels


def check_labels(labels: Mapping[str, Sequence[str]], dataset: Dataset, annotations: Iterable[Annotation], where: str) -> None:
    """Raise :class:`UserError` unless heads of these ``labels`` (by head) can be scored on ``annotations`` of ``dataset``."""
    annotations = list(annotations)
    for head, known in labels.items():
        head_labels(head, dataset)
        vocabulary = vocabulary_of(head)
        found = set[str]().union(*(_classes(annotation, vocabulary) for annotation in annotations))
        if unknown := sorted(found - set(known)):
            what = f"{vocabulary.removesuffix('s')} '{unknown[0]}' is not a class of the adapter"
            raise UserError(what, where=where, fix=nearest(unknown[0], known))


def _classes(annotation: Annotation, vocabulary: Vocabulary) -> Iterable[str]:
    if vocabulary == "tags":
        return annotation.tags or ()
    return [note.technique for note in annotation.notes if note.technique is not None]
