"""The plan is checked against brute force over every frame, and by hand for the small cases."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from etude.adapters.annotations import Annotation, Layer
from etude.adapters.model.build import build_dataset
from etude.adapters.sound.windows import Window, plan, stitch
from etude.adapters.states.window_set import WindowSet
from etude.adapters.training.engine import untrained_model

geometry = st.integers(1, 60).flatmap(lambda window: st.tuples(st.just(window), st.integers(0, window - 1)))


@given(st.integers(1, 700), geometry, st.booleans())
def test_kept_parts_tile_the_recording(frames: int, sizes: tuple[int, int], shift_last: bool) -> None:
    window, overlap = sizes
    windows = plan(frames, window, overlap, shift_last=shift_last)
    visits = np.zeros(frames, int)
    for w in windows:
        assert 0 <= w.keep_from < w.keep_to <= w.real <= window
        assert w.real == min(window, frames - w.start)
        visits[w.start + w.keep_from : w.start + w.keep_to] += 1
    assert (visits == 1).all()


@given(st.integers(1, 700), geometry)
def test_audio_fills_every_window_of_a_long_recording(frames: int, sizes: tuple[int, int]) -> None:
    window, overlap = sizes
    windows = plan(frames, window, overlap)
    if frames >= window:
        assert all(w.real == window for w in windows)
    else:
        assert windows == [Window(0, frames, 0, frames)]


@given(st.integers(1, 700), geometry)
def test_every_inner_border_has_half_the_overlap_as_context(frames: int, sizes: tuple[int, int]) -> None:
    window, overlap = sizes
    windows = plan(frames, window, overlap)
    assert [w.start for w in windows[:-1]] == [i * (window - overlap) for i in range(len(windows) - 1)]
    assert all(w.keep_from >= overlap // 2 for w in windows[1:])
    assert all(window - w.keep_to >= overlap // 2 for w in windows[:-1])


@given(st.integers(1, 300), geometry, st.booleans())
def test_no_window_more_than_needed(frames: int, sizes: tuple[int, int], shift_last: bool) -> None:
    window, overlap = sizes
    count = 1
    while (count - 1) * (window - overlap) + window < frames:
        count += 1
    assert len(plan(frames, window, overlap, shift_last=shift_last)) == count


def test_by_hand() -> None:
    assert plan(25, 10, 4) == [Window(0, 10, 0, 8), Window(6, 10, 2, 8), Window(12, 10, 2, 6), Window(15, 10, 3, 10)]
    assert plan(25, 10, 0, shift_last=False) == [Window(0, 10, 0, 10), Window(10, 10, 0, 10), Window(20, 5, 0, 5)]
    assert plan(10, 10, 4) == [Window(0, 10, 0, 10)]
    assert plan(0, 10, 4) == []


@pytest.mark.parametrize(("window", "overlap"), [(0, 0), (10, 10), (10, -1)])
def test_impossible_geometry(window: int, overlap: int) -> None:
    with pytest.raises(ValueError, match="overlap"):
        plan(25, window, overlap)


@given(st.integers(1, 300), geometry, st.booleans())
def test_stitching_cut_windows_gives_the_whole_back(frames: int, sizes: tuple[int, int], shift_last: bool) -> None:
    window, overlap = sizes
    whole = np.arange(frames * 3, dtype=np.float32).reshape(frames, 3)
    padded = np.pad(whole, ((0, window), (0, 0)), constant_values=np.nan)
    pieces = ((w, padded[w.start : w.start + window]) for w in plan(frames, window, overlap, shift_last=shift_last))
    joined = stitch(pieces, frames)
    assert joined.dtype == np.float32
    np.testing.assert_array_equal(joined, whole)


def test_stitch_takes_each_frame_from_the_window_that_keeps_it() -> None:
    windows = plan(9, 6, 2)
    pieces = [(w, np.full((6, 1), i)) for i, w in enumerate(windows)]
    assert stitch(pieces, 9).ravel().tolist() == [0, 0, 0, 0, 1, 1, 1, 1, 1]


def test_stitch_refuses_gaps() -> None:
    windows = plan(30, 10, 4)
    values = np.zeros((10, 2))
    for wrong in (windows[1:], windows[:-1], windows[::-1], windows[:1] + windows[2:], []):
        with pytest.raises(ValueError, match="frame"):
            stitch([(w, values) for w in wrong], 30)


def test_a_batch_may_hold_windows_with_and_without_unjudged_classes(toy_recipe):
    recipe = toy_recipe()
    dataset = build_dataset(recipe)
    first, second = dataset.tracks("train")[:2]
    model = untrained_model(recipe, dataset, [first, second])
    quiet = tuple(note for note in second.annotation.notes if note.technique != "tone")
    partial = replace(second, annotation=Annotation(notes=Layer(quiet, unjudged=("tone",))))
    heads = {"technique": model.heads["technique"]}
    both, whole = (WindowSet([first, other], model.backbone, None) for other in (partial, second))
    own, later = both.of_track[0][:1], both.of_track[1][:1]
    masks = both.targets([own, later], heads)["technique"]["technique_mask"]
    assert masks.shape == (2, model.backbone.frames_per_window, 2)
    assert whole.targets([own, later], heads)["technique"]["technique_mask"].shape == (*masks.shape[:2], 1)
    tone = model.heads["technique"].labels.index("tone")
    assert masks[0].all()
    assert masks[1, :, 1 - tone].all()
    assert not masks[1, :, tone].any()
