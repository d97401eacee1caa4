import errno
import hashlib
import json
import os
import resource
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from etude.adapters import artifact as artifacts
from etude.adapters.artifact import BackboneRef, Manifest, check_backbone, load, read_header, save
from etude.adapters.errors import UserError
from etude.adapters.storage import atomic

TENSORS = {
    "blocks.07.attn.q.lora_A": torch.linspace(-2, 2, 24).reshape(4, 6),
    "blocks.07.attn.q.lora_B": torch.zeros(6, 4).t(),
    "mix.weights": torch.tensor(0.3),
    "heads.technique.lowest": torch.tensor([28]),
}
RECIPE = "# how to run it\nname: flute\nbackbone: {name: mert}\n"
METRICS = {"validation": {"technique": {"frame_micro_f1": np.float32(0.5), "event_macro_f1": float("nan")}}}


def manifest(**changes):
    fields = {
        "name": "flute",
        "created": "2026-01-02",
        "etude_version": "0.1.0",
        "versions": {"torch": "2.6", "python": "3.11"},
        "seed": 3,
        "backbone": BackboneRef(
            name="mert",
            id="m-a-p/MERT-v1-95M",
            revision="abc",
            fingerprint="ab12" * 16,
            licence="CC-BY-NC-4.0",
            sample_rate=24000,
            frame_rate=75.0,
            hidden_size=768,
            num_blocks=12,
        ),
        "method": "lora",
        "labels": {"technique": ("vibrato", "trill")},
        "thresholds": {"technique": {"frame": np.array([0.5, 0.25])}},
        "statistics": {"technique": {"lowest": np.int64(28)}},
        "dataset": "phrases",
        "data_licence": "CC-BY-4.0",
        "trainable": {"backbone": 48, "mix": 1, "heads": 1},
        "scores": {"technique.frame_micro_f1": 0.5, "technique.event_macro_f1": float("nan")},
        "metric": "technique.frame_macro_f1",
    }
    return Manifest(**{**fields, **changes})


def store(folder, tensors=TENSORS, dtype="float32", **changes):
    save(folder, manifest=manifest(**changes), tensors=tensors, recipe=RECIPE, metrics=METRICS, card="# card\n", dtype=dtype)
    return folder


class Weights:
    id = "somewhere/else"

    def __init__(self, fingerprint):
        self.fingerprint = lambda: fingerprint


@pytest.mark.parametrize("dtype", ["float16", "float32"])
def test_round_trip(tmp_path, dtype):
    folder = store(tmp_path / "deep" / "flute", dtype=dtype)
    loaded = load(folder)
    assert set(loaded.tensors) == set(TENSORS)
    for name, tensor in TENSORS.items():
        expected = tensor.to(getattr(torch, dtype)) if tensor.is_floating_point() else tensor
        assert loaded.tensors[name].dtype == expected.dtype
        assert torch.equal(loaded.tensors[name], expected)
    assert loaded.manifest == manifest()
    assert loaded.recipe == RECIPE
    assert loaded.metrics == {"validation": {"technique": {"frame_micro_f1": 0.5, "event_macro_f1": None}}}
    assert (folder / "README.md").read_text() == "# card\n"
    assert sorted(p.name for p in tmp_path.rglob("*") if p.is_file()) == sorted(
        ["adapter.safetensors", "adapter.json", "recipe.yaml", "metrics.json", "README.md"]
    )


def test_undefined_scores_and_arrays_become_plain_json(tmp_path):
    text = (store(tmp_path / "a") / "adapter.json").read_text()
    read = json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))
    assert read["scores"] == {"technique.frame_micro_f1": 0.5}
    assert read["thresholds"] == {"technique": {"frame": [0.5, 0.25]}}
    assert read["statistics"] == {"technique": {"lowest": 28}}


def test_other_libraries_read_it_and_the_header_says_what_it_is(tmp_path):
    folder = store(tmp_path / "a")
    assert set(load_file(folder / "adapter.safetensors")) == set(TENSORS)
    with safe_open(folder / "adapter.safetensors", framework="np") as file:
        metadata = file.metadata()
    assert metadata["format_version"] == "1"
    assert (metadata["backbone"], metadata["backbone_revision"]) == ("m-a-p/MERT-v1-95M", "abc")
    assert metadata["backbone_fingerprint"] == "ab12" * 16
    assert (metadata["base_licence"], metadata["data_licence"]) == ("CC-BY-NC-4.0", "CC-BY-4.0")
    for key, name in (("recipe", "recipe.yaml"), ("manifest", "adapter.json"), ("metrics", "metrics.json")):
        assert metadata[f"{key}_sha256"] == hashlib.sha256((folder / name).read_bytes()).hexdigest()


def test_header_tells_sizes_without_tensors(tmp_path):
    folder = store(tmp_path / "a")
    header = read_header(folder)
    assert header.shapes == {name: tuple(tensor.shape) for name, tensor in TENSORS.items()}
    assert header.total_bytes == sum(path.stat().st_size for path in folder.iterdir())
    assert header.manifest == manifest()


@pytest.mark.parametrize("name", ["adapter.safetensors", "adapter.json", "recipe.yaml", "metrics.json"])
def test_every_flipped_byte_is_found(tmp_path, name):
    path = store(tmp_path / "a") / name
    content = path.read_bytes()
    for position in range(len(content)):
        changed = bytearray(content)
        changed[position] ^= 1
        path.write_bytes(changed)
        with pytest.raises(UserError, match=name) as caught:
            load(path.parent)
        assert "\n" not in str(caught.value)
    path.write_bytes(content)
    load(path.parent)


@pytest.mark.parametrize("name", ["adapter.safetensors", "adapter.json", "recipe.yaml", "metrics.json"])
@pytest.mark.parametrize("kept", [0, 1, 7, 40, -1])
def test_truncation_is_found(tmp_path, name, kept):
    path = store(tmp_path / "a") / name
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(UserError, match=name):
        load(path.parent)


@pytest.mark.parametrize("name", ["adapter.safetensors", "adapter.json", "recipe.yaml", "metrics.json"])
def test_missing_file_is_named(tmp_path, name):
    folder = store(tmp_path / "a")
    (folder / name).unlink()
    with pytest.raises(UserError, match=f"lacks {name}"):
        load(folder)
    with pytest.raises(UserError, match="no such adapter folder"):
        load(tmp_path / "b")


def test_card_may_be_edited_and_other_files_are_ignored(tmp_path):
    folder = store(tmp_path / "a")
    (folder / "README.md").write_text("# mine")
    (folder / "notes.txt").write_text("mine")
    assert load(folder).manifest == manifest()
    (folder / "README.md").unlink()
    assert load(folder).manifest == manifest()


def test_files_of_two_adapters_do_not_mix(tmp_path):
    one, two = store(tmp_path / "one", name="one"), store(tmp_path / "two", name="two")
    (two / "adapter.json").replace(one / "adapter.json")
    with pytest.raises(UserError, match=r"adapter\.json"):
        load(one)


def test_foreign_and_newer_files_are_refused(tmp_path):
    folder = store(tmp_path / "a")
    tensors = load_file(folder / "adapter.safetensors")
    save_file(tensors, folder / "adapter.safetensors")
    with pytest.raises(UserError, match="not written by etude"):
        load(folder)
    save_file(tensors, folder / "adapter.safetensors", {"format_version": "2"})
    with pytest.raises(UserError, match=r"format 2.*upgrade etude"):
        load(folder)
    torch.save(tensors, folder / "adapter.safetensors")
    with pytest.raises(UserError, match="truncated or damaged"):
        load(folder)


def test_another_backbone_is_refused(tmp_path):
    loaded = load(store(tmp_path / "a"))
    check_backbone(loaded, Weights("ab12" * 16))
    with pytest.raises(UserError, match=r"made for m-a-p/MERT-v1-95M \(fingerprint ab12ab12….*somewhere/else") as caught:
        check_backbone(loaded, Weights("cd34" * 16))
    assert "at revision abc" in str(caught.value)


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


def test_unknown_manifest_field_is_reported(tmp_path, monkeypatch):
    class Later(Manifest):
        later: int = 1

    folder = tmp_path / "a"
    save(folder, manifest=Later(**manifest().model_dump()), tensors=TENSORS, recipe="", metrics={}, card="", dtype="float32")
    with pytest.raises(UserError, match="later"):
        artifacts.read_header(folder)
