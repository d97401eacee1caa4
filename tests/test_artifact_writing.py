"""Writing an artifact: all of it is there in the end, or what was there before."""

import errno
import os
import resource
from pathlib import Path

import pytest
import torch
from made_artifacts import store

from etude.adapters.artifact import load
from etude.adapters.errors import UserError
from etude.adapters.storage import atomic


@pytest.mark.parametrize(("value", "words"), [(float("nan"), "NaN"), (float("inf"), "NaN"), (1e6, "too large for float16")])
def test_what_cannot_be_stored_is_refused(tmp_path, value, words):
    with pytest.raises(UserError, match=rf"heads\.bias.*{words}"):
        store(tmp_path / "a", tensors={"heads.bias": torch.tensor([0.0, value])}, dtype="float16")
    assert list(tmp_path.iterdir()) == []


def test_replacing_keeps_foreign_files_and_folder_mode(tmp_path):
    folder = store(tmp_path / "a", name="old")
    (folder / "logs").mkdir()
    (folder / "logs" / "events").write_text("mine")
    folder.chmod(0o750)
    store(folder, name="new")
    assert load(folder).manifest.name == "new"
    assert (folder / "logs" / "events").read_text() == "mine"
    assert folder.stat().st_mode & 0o777 == 0o750
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_replacing_where_folders_cannot_be_exchanged(tmp_path, monkeypatch):
    monkeypatch.setattr(atomic, "_exchange", lambda one, other: False)
    folder = store(tmp_path / "a", name="old")
    store(folder, name="new")
    assert load(folder).manifest.name == "new"
    assert [path.name for path in tmp_path.iterdir()] == ["a"]

    rename = Path.rename

    def refuse(self, target):
        if Path(target) == folder and not self.name.endswith("-old"):
            raise OSError(errno.EIO, "Input/output error")
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", refuse)
    with pytest.raises(UserError, match="Input/output error"):
        store(folder, name="newer")
    assert load(folder).manifest.name == "new"
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_exchange_is_one_step_on_linux(tmp_path):
    if not hasattr(__import__("ctypes").CDLL(None), "renameat2"):
        pytest.skip("no renameat2 here")
    for name in "ab":
        (tmp_path / name).mkdir()
        (tmp_path / name / f"was_{name}").touch()
    if not atomic._exchange(tmp_path / "a", tmp_path / "b"):
        pytest.skip("this file system cannot exchange folders")
    assert (tmp_path / "a" / "was_b").exists()
    assert (tmp_path / "b" / "was_a").exists()


@pytest.mark.parametrize("call", range(5))
def test_full_disk_leaves_the_old_adapter(tmp_path, monkeypatch, call):
    folder = store(tmp_path / "a", name="old")
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    fsync, calls = os.fsync, []

    def full(descriptor):
        calls.append(descriptor)
        if len(calls) > call:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        fsync(descriptor)

    monkeypatch.setattr(atomic.os, "fsync", full)
    with pytest.raises(UserError, match=r"No space left on device; it needs \d+\.\d+ MB \(free some space"):
        store(folder, name="new")
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    assert [path.name for path in tmp_path.iterdir()] == ["a"]
    with pytest.raises(UserError):
        store(tmp_path / "b")
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_the_system_refusing_a_large_file_leaves_the_old_adapter(tmp_path):
    folder = store(tmp_path / "a", name="old")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, hard))
    try:
        with pytest.raises(UserError, match=r"needs 2\.00 MB"):
            store(folder, tensors={"x": torch.ones(500_000)}, name="new")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert load(folder).manifest.name == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_interruption_leaves_the_old_adapter(tmp_path, monkeypatch):
    folder = store(tmp_path / "a", name="old")

    def interrupt(descriptor):
        raise KeyboardInterrupt

    monkeypatch.setattr(atomic.os, "fsync", interrupt)
    with pytest.raises(KeyboardInterrupt):
        store(folder, name="new")
    assert load(folder).manifest.name == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_a_file_in_the_way_is_kept(tmp_path):
    (tmp_path / "a").write_text("mine")
    with pytest.raises(UserError, match="in the way"):
        store(tmp_path / "a")
    assert (tmp_path / "a").read_text() == "mine"
