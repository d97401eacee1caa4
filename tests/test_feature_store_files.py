"""Frozen states survive what happens to files."""

import os

import numpy as np
import pytest
import torch
from frozen_bench import Bench

from etude.adapters.errors import UserError
from etude.adapters.storage.feature_store import FeatureStore
from etude.adapters.storage.row_file import RowFile


@pytest.mark.parametrize("victim", ["rows", "sums"])
def test_a_truncated_file_is_completed_with_a_warning(toy_recipe, store, victim):
    first = Bench(toy_recipe(), store)
    first.fill()
    path = sorted(store.root.glob(f"*/*.{victim}"))[0]
    size = path.stat().st_size
    os.truncate(path, size * 2 // 3)
    bench = Bench(toy_recipe(), store)
    bench.fill()
    assert "cut short" in bench.said[0]
    assert 0 < bench.computed < len(bench.windows)
    assert path.stat().st_size == size
    assert torch.equal(bench.read(bench.rows), first.read(first.rows))


def test_damaged_bytes_are_never_used(toy_recipe, store):
    good = Bench(toy_recipe(), store)
    good.fill()
    expected = good.read(good.rows)
    path = sorted(store.root.glob("*/*.rows"))[1]
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0x40
    path.write_bytes(content)
    bench = Bench(toy_recipe(), store)
    bench.fill()
    assert torch.allclose(bench.read(bench.rows), expected, atol=2e-3)
    assert bench.computed == 1
    assert len(bench.said) == 1
    assert "damaged" in bench.said[0]
    assert torch.allclose(bench.read(bench.rows), expected, atol=2e-3)
    assert bench.computed == 1, "put back, and read from then on"
    after = Bench(toy_recipe(), store)
    after.fill()
    after.read(after.rows)
    assert (after.computed, after.said) == (0, [])


def test_reading_ahead_changes_nothing_whatever_is_asked_for_then(toy_recipe, store, monkeypatch):
    bench = Bench(toy_recipe(), store)
    bench.fill()
    expected, reads = bench.read(bench.rows), []
    real = RowFile.read
    monkeypatch.setattr(RowFile, "read", lambda self, rows: reads.append(list(rows)) or real(self, rows))
    for ahead, wanted in (([1, 2], [1, 2]), ([3, 4], [5, 0]), (bench.rows, [7])):
        bench.states.read_ahead(ahead)
        assert torch.equal(bench.read(wanted), expected[wanted])
    assert [1, 2] in reads
    assert reads.count([1, 2]) == len(bench.states.source.parts), "read once"


def test_a_file_cut_short_while_it_is_read(toy_recipe, store):
    bench = Bench(toy_recipe(), store)
    bench.fill()
    expected = bench.read(bench.rows)
    for path in store.root.glob("*/*.rows"):
        os.truncate(path, path.stat().st_size // 2)
    assert torch.allclose(bench.read(bench.rows), expected, atol=2e-3)
    assert bench.computed > len(bench.windows)


def test_a_file_deleted_while_it_is_read(toy_recipe, store):
    bench = Bench(toy_recipe(), store)
    bench.fill()
    for path in store.root.glob("*/*"):
        path.unlink()
    bench.read(bench.rows)
    assert bench.computed == len(bench.windows)


def test_a_store_that_cannot_be_written(toy_recipe, tmp_path, monkeypatch):
    (tmp_path / "features").write_text("a file in the way")
    with pytest.raises(UserError, match=r"cannot be written: .*--no-cache"):
        Bench(toy_recipe(), FeatureStore(tmp_path / "features", 1.0)).fill()


def test_a_complete_store_need_not_be_writable(toy_recipe, store, monkeypatch):
    Bench(toy_recipe(), store).fill()

    def refuse(*arguments, **options):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(RowFile, "create", refuse)
    monkeypatch.setattr(RowFile, "write", refuse)
    monkeypatch.setattr(os, "utime", refuse)
    monkeypatch.setattr(FeatureStore, "filling", refuse)
    bench = Bench(toy_recipe(), store)
    bench.fill()
    bench.read(bench.rows)
    assert bench.computed == 0


def test_values_too_large_for_half_precision(toy_recipe, store):
    bench = Bench(toy_recipe(), store)
    real = bench.states.source.compute
    object.__setattr__(bench.states.source, "compute", lambda *audio: [1e6 * part for part in real(*audio)])
    with pytest.raises(UserError, match=r"values that float16 cannot \(set train.store_dtype=float32"):
        bench.fill()


def test_rows_of_a_file(tmp_path):
    """Written in any order, missing until then, and missing when only half of it was written."""
    file = RowFile(tmp_path, "x", 5, (2, 3), "float16")
    assert list(file.missing()) == [0, 1, 2, 3, 4]
    file.create()
    values = np.random.default_rng(0).normal(size=(3, 2, 3)).astype(np.float16)
    file.write([4, 0, 2], values)
    assert list(file.missing()) == [1, 3]
    file.create()
    assert list(file.missing()) == [1, 3], "creating it again keeps what is there"
    file.open()
    found, damaged = file.read([2, 4])
    assert not damaged
    assert np.array_equal(found, values[[2, 0]])
    assert file.read([1])[1] == [0]
    assert file.bytes == 5 * 12 + 5 * 8 == file.rows.stat().st_size + file.sums.stat().st_size
    mapped = np.memmap(file.rows, np.float16, "r", shape=(5, 2, 3))
    assert np.array_equal(mapped[0], values[1])
