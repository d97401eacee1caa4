"""Window features of some recordings out of others that are filled: nothing is computed or stored again."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from accelerate import Accelerator
from torch import Tensor

from etude.adapters.states.window_features import WindowFeatures
from etude.adapters.states.window_set import WindowSet


class SelectedFeatures(WindowFeatures):
    """Rows of ``filled`` for ``windows``, each of whose recordings must be in one of them, in the same windows and views."""

    def __init__(self, windows: WindowSet, filled: Sequence[WindowFeatures]) -> None:
        super().__init__(filled[0].source, windows, None)
        self.filled = filled
        places = {
            track.audio: (number, own.start)
            for number, features in enumerate(filled)
            for track, own in zip(features.windows.tracks, features.windows.of_track, strict=True)
        }
        self._places: list[tuple[int, int]] = []
        """Of each row: which of ``filled`` has it, and in which row."""
        for track, own in zip(windows.tracks, windows.of_track, strict=True):
            number, first = places[track.audio]
            rows = range(first * windows.views, (first + len(own)) * windows.views)
            self._places += [(number, row) for row in rows]

    def fill(self, accelerator: Accelerator, advance: Callable[[int], None], check: Callable[[], None]) -> None:
        """They are filled."""
        advance(self.windows.rows)

    def __call__(self, rows: Sequence[int]) -> list[Tensor]:
        """See :class:`WindowFeatures`."""
        found: list[Tensor] = []
        sources = self._by_source(rows)
        if len(sources) == 1:
            ((_, features, own),) = sources
            return features(own)
        for entries, features, own in sources:
            values = features(own)
            found = found or [part.new_empty(len(rows), *part.shape[1:]) for part in values]
            for part, value in zip(found, values, strict=True):
                part[torch.tensor(entries)] = value
        return found

    def read_ahead(self, rows: Sequence[int]) -> None:
        """See :class:`WindowFeatures`."""
        for _, features, own in self._by_source(rows):
            features.read_ahead(own)

    def _by_source(self, rows: Sequence[int]) -> list[tuple[list[int], WindowFeatures, list[int]]]:
        """For each of ``filled`` that has some of ``rows``: their entries, it, and its own rows."""
        chosen = [self._places[row] for row in rows]
        return [
            (entries, features, [chosen[entry][1] for entry in entries])
            for number, features in enumerate(self.filled)
            if (entries := [entry for entry, (of, _) in enumerate(chosen) if of == number])
        ]
