"""Many recordings: what is found in each, or why it could not be read."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from etude.adapters.annotations import Annotation
from etude.adapters.errors import Problem, UserError
from etude.adapters.inference.confident import check_least, confident
from etude.adapters.inference.session import Session
from etude.adapters.inference.workers import each
from etude.adapters.sound.audio import probe


@dataclass(frozen=True)
class Prediction:
    """What was found in a recording of ``duration`` seconds, by adapter; or its problems, and nothing then."""

    path: Path
    duration: float = 0.0
    annotations: dict[str, Annotation] = field(default_factory=dict)
    problems: tuple[Problem, ...] = ()


def predict_files(
    adapter: str | Path | Session,
    recordings: Iterable[str | Path],
    *,
    weights: str | None = None,
    device: str | None = None,
    compile: bool = False,
    jobs: int = 1,
    min_confidence: float = 0.0,
    unknown: bool = False,
) -> Iterator[Prediction]:
    """Annotate ``recordings`` in their order, with an adapter or with all adapters of a session.

    A generator: one recording is computed when the next prediction is asked for, so memory does not grow with their number. A
    recording that cannot be read, or with which anything else goes wrong, does not stop the others. ``jobs`` processes, each
    with a session of its own, work ahead: that is faster for many short recordings on a CPU. Records whose confidence is below
    ``min_confidence`` are left out, those without confidence stay. ``weights``, ``device``, ``compile`` and ``unknown`` go to
    :class:`Session`. Raises :class:`UserError` for an adapter that cannot be loaded, as that does, for a session that several
    processes would have to share, and for a ``min_confidence`` that is no probability.
    """
    if isinstance(adapter, Session) and jobs > 1:
        raise UserError("a session cannot be shared by processes", where="jobs", fix="give the adapter's folder")
    check_least(min_confidence, "min_confidence")
    start = partial(_start, adapter, weights, device, compile, unknown, min_confidence)
    return each(start, map(Path, recordings), jobs, _failed)


def _start(
    adapter: str | Path | Session, weights: str | None, device: str | None, compile: bool, unknown: bool, least: float
) -> Callable[[Path], Prediction]:
    if not isinstance(adapter, Session):
        adapter = Session(adapter, weights=weights, device=device, compile=compile, unknown=unknown)
    session = adapter

    def predict(path: Path) -> Prediction:
        found = {name: confident(annotation, least) for name, annotation in session.all(path).items()}
        return Prediction(path, probe(path).duration, found)

    return predict


def _failed(path: Path, problems: tuple[Problem, ...]) -> Prediction:
    return Prediction(path, problems=problems)
