"""Splits by group, in which every class occurs as far as that can be."""

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from etude.adapters.datasets import SPLITS
from etude.adapters.datasets._parts.splits import Item, split

some_items = st.lists(
    st.builds(Item, st.floats(0.1, 600), st.frozensets(st.sampled_from("abcdef"), max_size=4), st.sampled_from(["", *"12345"])),
    max_size=30,
)


@given(some_items)
@settings(deadline=None)
def test_no_group_is_in_two_splits_unless_it_is_the_only_one(items):
    found = split(items)
    assert len(found) == len(items)
    assert set(found) <= set(SPLITS)
    groups = {item.group or index for index, item in enumerate(items)}
    if len(groups) > 2:
        of = {}
        for index, (item, name) in enumerate(zip(items, found, strict=True)):
            assert of.setdefault(item.group or index, name) == name
        classes = frozenset[str]().union(*(item.classes for item in items))
        trained = frozenset[str]().union(*(item.classes for item, name in zip(items, found, strict=True) if name == "train"))
        assert trained == classes, "what training lacks cannot be learned"
    assert found == split(items), "the same every time"


def test_of_two_groups_the_smaller_one_tests():
    items = [Item(10, frozenset("ab"), "home")] * 8 + [Item(10, frozenset("ab"), "away")] * 3
    found = split(items)
    assert found[8:] == ["test"] * 3
    assert Counter(found[:8]) == {"train": 7, "validation": 1}


@pytest.mark.parametrize("group", ["", "only"])
def test_without_groups_the_shares_are_70_15_15_of_every_class(group):
    found = split([Item(1, frozenset([name]), group) for name in "a" * 100 + "b" * 60 + "c" * 20])
    counts = Counter(zip("a" * 100 + "b" * 60 + "c" * 20, found, strict=True))
    for name, total in (("a", 100), ("b", 60), ("c", 20)):
        assert [counts[name, one] / total for one in SPLITS] == pytest.approx([0.7, 0.15, 0.15], abs=0.03)


def test_a_rare_class_reaches_every_split_where_three_groups_have_it():
    # six players, of whom three play the rare class: sizes alone would put them anywhere
    for seed in range(5):
        items = [Item(60, frozenset("ab" if player in "135" else "a"), player) for player in "123456" for _ in range(4)]
        found = split(items, seed)
        assert {name for item, name in zip(items, found, strict=True) if "b" in item.classes} == set(SPLITS)


def test_a_class_of_four_groups_reaches_every_split_among_many_others():
    items = [Item(1, frozenset("a"), f"pitch {n}") for n in range(18) for _ in range(4)]
    items += [Item(1, frozenset("b"), f"pitch {n}") for n in (0, 4, 9, 14) for _ in range(16)]
    found = split(items)
    assert {name for item, name in zip(items, found, strict=True) if "b" in item.classes} == set(SPLITS)


def test_training_has_a_class_that_only_one_group_has():
    items = [Item(60, frozenset("ab" if player == "3" else "a"), player) for player in "123456"]
    assert split(items)[2] == "train"


def test_many_items_are_split_in_a_moment():
    found = split([Item(1, frozenset([str(index % 300)])) for index in range(20_000)])
    assert {name: round(count / 20_000, 2) for name, count in Counter(found).items()} == pytest.approx(
        {"train": 0.7, "validation": 0.15, "test": 0.15}, abs=0.02
    )


@pytest.mark.parametrize(("count", "names"), [(0, []), (1, ["train"]), (2, ["train", "validation"])])
def test_what_is_too_little_for_three_splits_fills_the_first(count, names):
    assert split([Item(1, frozenset("a"))] * count) == names
