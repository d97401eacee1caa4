"""All training windows, one after the other, for heads that learn from all of them at once."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch

from etude.adapters.heads import Example, Head
from etude.adapters.model.adapted import AdaptedModel
from etude.adapters.states.window_features import WindowFeatures

WINDOWS = 4
"""At a time."""


class Examples:
    """``views`` views of the windows of ``states`` in order, the clean view of all first; may be read several times.

    None for a head that is shown more than a window: what it learned so would be of parts of what it is shown.

    ``check`` is called between batches and may raise to leave.
    """

    def __init__(self, model: AdaptedModel, states: WindowFeatures, head: Head, views: int, check: Callable[[], None]) -> None:
        self._model, self._states, self._head, self._views, self._check = model, states, head, views, check

    @torch.no_grad()
    def __iter__(self) -> Iterator[Example]:
        if self._head.span != "window":
            return
        windows, device = self._states.windows, self._model.device
        for view in range(self._views):
            for first in range(0, len(windows), WINDOWS):
                self._check()
                positions = range(first, min(first + WINDOWS, len(windows)))
                states = self._states([position * windows.views + view for position in positions])
                targets = windows.targets([positions], {"head": self._head})["head"]
                context = self._model.context([state.to(device) for state in states])
                tracks = [windows.track(position) for position in positions]
                own = {key: value.to(device) for key, value in targets.items()}
                yield Example(context, own, [str(track.audio) for track in tracks], [track.group for track in tracks], view)
