"""Which class names a head learns: those that a data set has of its kind of annotation."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from etude.adapters import registry
from etude.adapters.annotations import Annotation, Kind, kind_of
from etude.adapters.datasets import Dataset
from etude.adapters.errors import UserError, nearest


def head_kind(head: str) -> Kind:
    """The kind of annotation that the head of this name finds. Raises :class:`UserError` for an unknown head."""
    return kind_of(registry.find("heads", head).kind)


def head_labels(head: str, dataset: Dataset) -> tuple[str, ...]:
    """The class names that ``head`` learns from ``dataset``, in label order.

    Raises :class:`UserError` when the data set has none of the kind that the head finds.
    """
    kind = head_kind(head)
    labels = dataset.classes.get(kind.name, ())
    if not labels:
        fitting = [name for name, other in registry.usable("heads").items() if dataset.classes.get(other.kind)]
        raise UserError(
            f"the data set '{dataset.config.name}' has no {kind.label}s, which the head '{head}' reads",
            where=f"heads.{head}",
            fix=f"heads for this data set: {', '.join(fitting)}" if fitting else "choose another data set",
        )
    return labels


def check_labels(labels: Mapping[str, Sequence[str]], dataset: Dataset, annotations: Iterable[Annotation], where: str) -> None:
    """Raise :class:`UserError` unless heads of these ``labels`` (by head) can be scored on ``annotations`` of ``dataset``."""
    annotations = list(annotations)
    for head, known in labels.items():
        head_labels(head, dataset)
        kind = head_kind(head)
        found = {name for annotation in annotations if kind.name in annotation for name in kind.classes(annotation[kind.name])}
        if unknown := sorted(found - set(known)):
            what = f"{kind.label} '{unknown[0]}' is not a class of the adapter"
            raise UserError(what, where=where, fix=nearest(unknown[0], known))
