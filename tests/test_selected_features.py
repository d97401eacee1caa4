"""States of some recordings out of others: the right rows, whatever the order, the views and where they come from."""

from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from etude.adapters.states.selected_features import SelectedFeatures


class Filled:
    """Window features whose values say which row of which recording they are."""

    source = None

    def __init__(self, counts, views=1):
        self.windows, self.calls, self.ahead = windows(counts, views), [], []
        ids = [(ord(name), row) for name, count in counts.items() for row in range(count * views)]
        self.values = torch.tensor(ids, dtype=torch.float32)

    def __call__(self, rows):
        self.calls.append(list(rows))
        return [self.values[rows], -self.values[rows, :1]]

    def read_ahead(self, rows):
        self.ahead.append(list(rows))


def windows(counts, views=1):
    starts = [sum(list(counts.values())[:n]) for n in range(len(counts))]
    of_track = [range(start, start + count) for start, count in zip(starts, counts.values(), strict=True)]
    tracks = [SimpleNamespace(audio=Path(name)) for name in counts]
    return SimpleNamespace(tracks=tracks, of_track=of_track, views=views, rows=sum(counts.values()) * views)


@pytest.mark.parametrize("views", [1, 3])
def test_rows_are_those_of_the_recordings(views):
    first, second = Filled({"a": 2, "b": 3, "c": 1}, views), Filled({"d": 2, "e": 4}, views)
    chosen = SelectedFeatures(windows({"e": 4, "c": 1, "b": 3}, views), [first, second])
    expected = [(ord(name), row) for name, count in (("e", 4), ("c", 1), ("b", 3)) for row in range(count * views)]
    order = torch.randperm(8 * views, generator=torch.Generator().manual_seed(0)).tolist()
    values, negative = chosen(order)
    assert values.tolist() == [list(expected[row]) for row in order]
    assert torch.equal(negative, -values[:, :1])


def test_nothing_is_computed_and_what_is_read_ahead_is_what_is_read():
    only = Filled({"a": 2, "b": 3})
    chosen, done = SelectedFeatures(windows({"b": 3}), [only]), []
    chosen.fill(None, done.append, None)
    assert (done, only.calls) == ([3], [])
    chosen.read_ahead([2, 0])
    chosen([2, 0])
    assert only.ahead == only.calls == [[4, 2]]
