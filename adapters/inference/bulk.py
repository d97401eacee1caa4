"""Many recordings, one after the other: what is found in each, or why it could not be read."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from etude.adapters.annotations import Annotation
from etude.adapters.errors import Problem, UserError
from etude.adapters.inference.session import Session
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
) -> Iterator[Prediction]:
    """Annotate ``recordings`` in their order, with an adapter or with all adapters of a session.

    A generator: one recording is computed when the next prediction is asked for, so memory does not grow with their number. A
    recording that cannot be read does not stop the others. Raises :class:`UserError` for an adapter that cannot be loaded, as
    :class:`Session` does, to which ``weights``, ``device`` and ``compile`` go.
    """
    session = adapter if isinstance(adapter, Session) else Session(adapter, weights=weights, device=device, compile=compile)
    return (_predict(session, Path(recording)) for recording in recordings)


def _predict(session: Session, path: Path) -> Prediction:
    try:
        return Prediction(path, probe(path).duration, session.all(path))
    except UserError as error:
        return Prediction(path, problems=error.problems)
