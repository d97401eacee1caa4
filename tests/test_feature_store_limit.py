"""Frozen states take no more room than is allowed."""

import os
import re

import pytest
from frozen_bench import Bench, parts

from etude.adapters.errors import UserError
from etude.adapters.storage.feature_store import FeatureStore


def test_without_a_store_nothing_is_kept(toy_recipe, tmp_path):
    bench = Bench(toy_recipe(), None)
    assert bench.fill() == 0
    bench.read([0])
    assert bench.computed == 1


def test_what_exceeds_the_limit_is_computed_at_every_step(toy_recipe, tmp_path):
    bench = Bench(toy_recipe(), FeatureStore(tmp_path / "features", 1e-6))
    bench.fill()
    assert re.search(r"need 0\.\d+ GB, more than .*ETUDE_CACHE_GB=1e-06 allows", bench.said[0])
    bench.read([0, 1])
    assert bench.computed == 2
    assert parts(bench.states.store) == []


def test_the_least_recently_used_make_room(toy_recipe, tmp_path):
    windows = ["backbone.window=1.0", "backbone.window=2.0", "backbone.window=4.0"]
    filled = []
    for age, window in enumerate(windows[:2]):
        store = FeatureStore(tmp_path / "features", 1.0)
        bench = Bench(toy_recipe(window), store)
        bench.fill()
        filled.append({entry.folder for entry in store.entries()} - set().union(*filled))
        for entry in store.entries():
            os.utime(entry.folder / f"{entry.part}.sums", (1000 + age, 1000 + age))
    used = sum(entry.bytes for entry in store.entries())
    Bench(toy_recipe(windows[0]), FeatureStore(tmp_path / "features", 1.0)).fill()  # the older one is used again
    limited = FeatureStore(tmp_path / "features", used * 1.1 / 1e9)
    Bench(toy_recipe(windows[2]), limited).fill()
    folders = {entry.folder for entry in limited.entries()}
    assert filled[0] <= folders
    assert not filled[1] & folders
    assert sum(entry.bytes for entry in limited.entries()) <= limited.limit


def test_what_the_run_itself_uses_is_not_evicted(toy_recipe, tmp_path):
    one = Bench(toy_recipe(), FeatureStore(tmp_path / "a", 1.0))
    one.fill()
    size = sum(entry.bytes for entry in one.states.store.entries())
    store = FeatureStore(tmp_path / "b", size * 1.05 / 1e9)
    train, validation = Bench(toy_recipe(), store), Bench(toy_recipe(), store, "validation", 0.5)
    train.fill()
    validation.fill()
    assert "computed at every step" in validation.said[0]
    train.computed = 0
    train.read(train.rows)
    assert train.computed == 0


def test_a_limit_that_is_no_number(monkeypatch):
    monkeypatch.setenv("ETUDE_CACHE_GB", "lots")
    with pytest.raises(UserError, match="ETUDE_CACHE_GB: 'lots' is not a size"):
        FeatureStore()
