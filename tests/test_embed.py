"""Frozen states of whole recordings, against transformers' own forward pass, and the command that writes them."""

import re
import sys

import numpy as np
import pytest
import torch
from calls import adapt, errors, files_below, succeed

import etude
from etude.adapters.errors import UserError
from etude.adapters.sound.audio import probe, read_window
from etude.adapters.sound.windows import plan

RECIPE = """
name: states
data: {{name: manifest, root: /nowhere}}
backbone: {{name: {backbone}, weights: "random:tiny", window: 1.0}}
method: {{name: heads_only}}
mix: {{layers: [0, 2]}}
heads: {{technique: {{hidden: 16}}}}
train: {{overlap: 0.2}}
"""


@pytest.fixture
def recipe(tmp_path):
    path = tmp_path / "states.yaml"
    path.write_text(RECIPE.format(backbone="mert"))
    return path


@torch.inference_mode()
def hidden_states(backbone, path, overlap):
    """Transformers' states by layer, ``[frames, dim]``, cut and joined by hand: frames of an overlap go half to each side."""
    rate, info = backbone.sample_rate, probe(path)
    audio = torch.from_numpy(read_window(path, 0, info.samples_at(rate), rate))
    frames = int(len(audio) * backbone.frame_rate / rate)
    hop = round(rate / backbone.frame_rate)
    joined = [[] for _ in range(backbone.num_blocks + 1)]
    for window in plan(frames, backbone.frames_per_window, round(overlap * backbone.frame_rate)):
        piece = audio[window.start * hop : window.start * hop + backbone.window_samples]
        padded = torch.nn.functional.pad(piece, (0, backbone.window_samples - len(piece)))[None]
        prepared = backbone.prepare(padded, torch.tensor([len(piece)]))
        for layer, state in enumerate(backbone.model(prepared, output_hidden_states=True).hidden_states):
            joined[layer].append(state[0, window.keep_from : window.keep_to].numpy())
    return [np.concatenate(parts) for parts in joined]


@pytest.mark.parametrize("seconds", [0.5, 1.0, 5.3])
def test_states_are_those_of_transformers(recipe, take, seconds):
    embedder = etude.Embedder(recipe, [3, 0, 1])
    own, found = hidden_states(embedder.backbone, take(seconds), 0.2), embedder(take(seconds))
    assert list(found.layers) == [3, 0, 1]
    for layer, values in found.layers.items():
        assert values.dtype == np.float32
        np.testing.assert_allclose(values, own[layer], atol=2e-5)
    assert len(found.times) == len(own[0])
    np.testing.assert_allclose(np.diff(found.times), 1 / embedder.backbone.frame_rate)
    for layer, values in embedder.mean(take(seconds)).items():
        np.testing.assert_allclose(values, own[layer].mean(axis=0), atol=2e-5)


def test_an_adapter_has_the_states_of_its_backbone_without_it(folders, take):
    adapter = folders("lora", method="lora", overlap=0.2)
    embedder = etude.Embedder(adapter)
    own = hidden_states(embedder.backbone, take(2.2), 0.2)
    assert embedder.layers == tuple(range(embedder.backbone.num_blocks + 1))
    for layer, values in embedder(take(2.2)).layers.items():
        np.testing.assert_allclose(values, own[layer], atol=2e-5)


def test_the_layers_of_a_recipe_are_those_that_it_mixes(recipe):
    assert etude.Embedder(recipe).layers == (0, 2)
    with pytest.raises(UserError, match=r"layers: there is no layer 9 \(random:tiny has 0 to \d\)"):
        etude.Embedder(recipe, [1, 9])
    with pytest.raises(UserError, match="there is no layer -1"):
        etude.Embedder(recipe, [-1])


@pytest.mark.parametrize("pool", ["none", "mean"])
def test_both_formats_hold_the_same(recipe, take, tmp_path, pool):
    from pyarrow import parquet

    files = [take(5.3), take(0.5)]
    for to in ("npz", "parquet"):
        out = succeed("embed", recipe, *files, "--layers", "1,3", "--to", to, "--pool", pool, "-o", tmp_path / "out")
        assert out.splitlines()[0] == f"{files[0]} -> {tmp_path / 'out' / f'5.3.{to}'}"
    assert files_below(tmp_path / "out") == ["0.5.npz", "0.5.parquet", "5.3.npz", "5.3.parquet"]
    found = etude.Embedder(recipe, [1, 3])(files[0])
    with np.load(tmp_path / "out/5.3.npz") as arrays:
        assert sorted(arrays) == ["layer_1", "layer_3", *(["times"] if pool == "none" else [])]
        table = parquet.read_table(tmp_path / "out/5.3.parquet")
        assert table.column_names == ["file", *(["time"] if pool == "none" else []), "layer_1", "layer_3"]
        assert set(table["file"].to_pylist()) == {str(files[0])}
        for layer in (1, 3):
            expected = found.layers[layer] if pool == "none" else found.layers[layer].mean(axis=0)
            np.testing.assert_allclose(arrays[f"layer_{layer}"], expected, atol=1e-5)
            np.testing.assert_array_equal(np.array(table[f"layer_{layer}"].to_pylist()).squeeze(), arrays[f"layer_{layer}"])
        if pool == "none":
            assert (arrays["times"] == found.times).all()
            assert table["time"].to_pylist() == list(found.times)


def test_files_that_fail_and_results_that_exist(recipe, take, tmp_path):
    (tmp_path / "bad.wav").write_text("no audio")
    out = tmp_path / "out"
    code, said, err = adapt("embed", recipe, take(0.5), tmp_path / "bad.wav", "--out", out, "--jobs", "2")
    assert (code, len(said.splitlines())) == (3, 1)
    assert re.fullmatch(r"error: .*bad\.wav: cannot be read as audio: .*\n", err)
    assert adapt("embed", recipe, tmp_path / "bad.wav", "--out", out)[0] == 2
    assert files_below(out) == ["0.5.npz"]
    assert "exists already" in errors("embed", recipe, take(0.5), "--out", out)[0]
    assert succeed("embed", recipe, take(0.5), "--out", out, "--skip-existing").startswith("1 of 1 recordings have")
    before = (out / "0.5.npz").stat().st_mtime_ns
    succeed("embed", recipe, take(0.5), "--out", out, "--force")
    assert (out / "0.5.npz").stat().st_mtime_ns > before


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (["--to", "npy"], r"--to: is 'npy' \(did you mean 'npz'\?\)"),
        (["--pool", "max"], r"--pool: is 'max'"),
        (["--layers", "3-5"], "--layers: '3-5' is no list of layers"),
        (["--layers", "99"], "layers: there is no layer 99"),
        (["--force", "--skip-existing"], "contradict each other"),
    ],
)
def test_mistakes_in_embedding(recipe, take, tmp_path, options, expected):
    (line,) = errors("embed", recipe, take(0.5), "--out", tmp_path / "out", *options)
    assert re.search(expected, line), line
    assert not (tmp_path / "out").exists()


def test_sources_that_are_none(take, tmp_path):
    assert "no such recipe" in errors("embed", tmp_path / "nowhere", take(0.5))[0]
    assert "is not the recipe of an adapter" in errors("embed", "nano", take(0.5))[0]


def test_parquet_without_pyarrow_names_the_extra(recipe, take, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    monkeypatch.setattr("etude.cli.embed.find_spec", lambda name: None)
    (line,) = errors("embed", recipe, take(0.5), "--to", "parquet", "--out", tmp_path / "out")
    assert line == '--to parquet: pyarrow is not installed (pip install "etude[arrow]")'
