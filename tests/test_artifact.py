"""What an artifact holds is what was stored, or an error says which file is not."""

import hashlib
import json

import pytest
import torch
from made_artifacts import RECIPE, TENSORS, manifest, store
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from etude.adapters import artifact as artifacts
from etude.adapters.artifact import Manifest, check_backbone, load, read_header, save
from etude.adapters.errors import UserError
from etude.adapters.storage.home import home_above


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


def test_unknown_manifest_field_is_reported(tmp_path, monkeypatch):
    class Later(Manifest):
        later: int = 1

    folder = tmp_path / "a"
    save(folder, manifest=Later(**manifest().model_dump()), tensors=TENSORS, recipe="", metrics={}, card="", dtype="float32")
    with pytest.raises(UserError, match="later"):
        artifacts.read_header(folder)


@pytest.mark.parametrize(
    ("folder", "home", "kept"),
    [
        ("a/b/made", "a", "../.."),
        ("made", ".", ".."),
        ("made", "made", "."),
        ("made", "other", None),
        ("made", "made/in", None),
    ],
)
def test_only_how_far_above_its_home_lies_is_kept(tmp_path, folder, home, kept):
    store(tmp_path / folder, home=tmp_path / home)
    assert read_header(tmp_path / folder).metadata.get("home") == kept
    (tmp_path / "moved").mkdir()
    (tmp_path / folder.split("/")[0]).rename(tmp_path / "moved" / folder.split("/")[0])
    assert load(tmp_path / "moved" / folder).home == (tmp_path / "moved" / home if kept else None)


@pytest.mark.parametrize("steps", ["/etc", "../etc", "", "a", "../../a/.."])
def test_a_home_that_is_not_above_is_no_home(tmp_path, steps):
    assert home_above(tmp_path, steps) is None
