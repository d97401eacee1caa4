"""Naming what is unlike everything in training, where that is asked for."""

from __future__ import annotations

from collections.abc import Sequence

from etude.adapters.errors import UserError
from etude.adapters.heads._parts.panel import Panel
from etude.adapters.heads._parts.reach import UNKNOWN


def check_tells_unknown(panel: Panel | None, labels: Sequence[str]) -> None:
    """Raise :class:`UserError` where a head of these ``labels`` cannot, or must not, call anything unknown."""
    if panel is None or not panel.tells_unknown:
        fix = "train it again, with notes or clips judged as a whole (judge: notes, size: panel)"
        raise UserError("does not know what is unlike its training data", fix=fix)
    if UNKNOWN in labels:
        raise UserError(f"has a class called '{UNKNOWN}' of its own", fix="call that class something else, and train again")
