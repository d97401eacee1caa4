"""Whether two sessions say the same."""

import numpy as np
import pytest


def same(one, other, tolerance=1e-3):
    """Activations by head and output agree; they are kept in half precision."""
    assert one.keys() == other.keys()
    for head in one:
        assert one[head].keys() == other[head].keys()
        for output in one[head]:
            np.testing.assert_allclose(one[head][output].astype(float), other[head][output].astype(float), atol=tolerance)


def same_events(one, other):
    """Activations differ in their last bit, and a threshold may fall between: then a frame more or less."""
    assert abs(len(one.notes) - len(other.notes)) <= 1
    if len(one.notes) == len(other.notes):
        for a, b in zip(one.notes, other.notes, strict=True):
            assert (a.technique, a.onset) == (b.technique, pytest.approx(b.onset, abs=0.05))
