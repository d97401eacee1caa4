"""Folds that leave groups out: nothing of a group is on both sides, and what only it has is not asked of the others."""

import math
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from etude.adapters.annotations import Annotation, Layer
from etude.adapters.annotations.notes import Note
from etude.adapters.annotations.tags import Tag
from etude.adapters.datasets import Track
from etude.adapters.sound.audio import AudioInfo
from etude.adapters.training.group_folds import MOST_FOLDS, group_folds


def track(name, group, *techniques, split="train", **layers):
    notes = [Note(at, at + 0.5, 60, technique) for at, technique in enumerate(techniques)]
    annotation = Annotation({**({} if layers and not techniques else {"notes": notes}), **layers})
    return Track(name, Path(f"{name}.wav"), AudioInfo(16000 * 10, 16000, 1), split, annotation, group=group)


def tracks(groups, split):
    return [track(f"{split}{n}", group, *"ab" * (1 + n % 3), split=split) for n, group in enumerate(groups)]


def names(found):
    return [one.id for one in found]


groups = st.lists(st.sampled_from(["", *"abcdefgh"]), min_size=1, max_size=20)


@given(groups, groups, st.integers(0, 3))
@settings(deadline=None)
def test_no_group_is_on_both_sides_and_each_is_left_out_once(trained, validated, seed):
    train, validation = tracks(trained, "train"), tracks(validated, "validation")
    folds = group_folds(train, validation, {"notes"}, seed)
    known = set(trained) - {""}
    assert len(folds) == (0 if len(known) < 2 else min(MOST_FOLDS, len(known)))
    if folds:
        assert Counter(group for fold in folds for group in fold.groups) == Counter(known)
    for fold in folds:
        rest = [*fold.train, *fold.validation]
        assert not {one.group for one in rest} & set(fold.groups)
        assert {one.group for one in fold.test} == set(fold.groups)
        assert sorted(names(fold.test)) == sorted(one.id for one in (*train, *validation) if one.group in fold.groups)
        assert fold.train
        assert fold.validation
        assert {*names(fold.test), *names(rest)} == {*names(train), *names(validation)}, "nothing is lost"
        assert len(rest) == 1 or len(names(rest)) == len(set(names(rest))) or fold.train == fold.validation
        if any(one.group not in fold.groups for one in validation):
            assert names(fold.validation) == [one.id for one in validation if one.group not in fold.groups]
    assert folds == group_folds(train, validation, {"notes"}, seed)


def test_many_groups_are_put_together_by_their_notes():
    train = [track(f"{group}", group, *"ab" * (30 if group == "g0" else 3)) for group in (f"g{n}" for n in range(21))]
    folds = group_folds(train, [track("v", "v", "a")], {"notes"}, 0)
    counts = [sum(len(one.annotation.notes) for one in fold.test) for fold in folds]
    assert sorted(counts) == [30, 30, 30, 30, 60]
    others = group_folds(train, [track("v", "v", "a")], {"notes"}, 1)
    assert [fold.groups for fold in others] != [fold.groups for fold in folds], "which ones, the seed says"


def test_without_validation_recordings_the_others_validate_by_turns():
    train = [track(f"{group}{n}", group, "a", "b") for group in "abc" for n in range(2)]
    own = [track("v", "a", "a")]
    first, second, _ = group_folds(train, own, {"notes"}, 0)
    assert (names(first.train), names(first.validation)) == (["c0", "c1"], ["b0", "b1"])
    assert names(first.test) == ["a0", "a1", "v"]
    assert (names(second.train), names(second.validation)) == (["a0", "a1", "c0", "c1"], ["v"])
    one, other = group_folds(train[:4], [track("v", "a", "a"), track("w", "b", "b")], {"notes"}, 0)
    assert (names(one.validation), names(other.validation)) == (["w"], ["v"])
    one, _ = group_folds([*train[:2], track("b", "b", "a")], own, {"notes"}, 0)
    assert names(one.train) == names(one.validation) == ["b"], "a single recording does both"


def test_what_training_does_not_know_is_not_judged():
    train = [track("a", "a", "x", "y"), track("b", "b", "x"), track("c", "b", "z", "z"), track("d", "b")]
    of_a, of_b = group_folds(train, [track("v", "v", "x", "y", "z")], {"notes"}, 0)
    (shown,) = of_a.test
    assert [note.technique for note in shown.annotation.notes] == ["x"]
    assert shown.annotation.notes.unjudged == ("y",)
    assert shown.annotation.notes.known == ((0.0, 0.95), (1.55, math.inf)), "nothing is found wrong where y is played"
    assert names(of_b.test) == ["b", "d"], "where nothing else is played there is nothing to judge; silence is judged"
    assert of_b.test[0].annotation.notes == Layer(train[1].annotation.notes.records, unjudged=("z",))


def test_tags_that_training_does_not_know_are_not_judged():
    def tagged(name, group, *tags):
        return track(name, group, tags=[Tag(tag) for tag in tags])

    train = [tagged("a", "a", "oboe"), tagged("b", "b", "oboe"), tagged("c", "b", "flute"), tagged("d", "b", "flute", "oboe")]
    _, of_b = group_folds(train, [tagged("v", "v", "flute")], {"tags"}, 0)
    assert names(of_b.test) == ["b", "d"]
    assert [[tag.name for tag in one.annotation.tags] for one in of_b.test] == [["oboe"], ["oboe"]]
    assert {one.annotation.tags.unjudged for one in of_b.test} == {("flute",)}


@pytest.mark.parametrize("trained", [[""], ["a"], ["a", ""], ["", ""]])
def test_one_group_is_not_left_out(trained):
    assert group_folds(tracks(trained, "train"), tracks(["b", "c"], "validation"), {"notes"}, 0) == []
