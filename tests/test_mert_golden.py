"""MERT against numbers that the original program gave on tiny random weights, and the tensors of the released models.

The numbers lie in ``golden`` of the folder ``ETUDE_SHARED`` (``../shared`` by default); without it nothing is tested here.
"""

import json
import os
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import HubertModel

from etude.adapters.backbones import mert

GOLDEN = Path(os.environ.get("ETUDE_SHARED", Path(__file__).parents[2] / "shared")) / "golden"
pytestmark = pytest.mark.skipif(not GOLDEN.is_dir(), reason="needs golden numbers in ETUDE_SHARED")


def facts(name):
    return json.loads((GOLDEN / f"{name}.json").read_text())


def golden_mert(folder, options, weights=(), **fields):
    """The tiny model of the golden numbers with the ``options`` of a variant, loaded as a checkpoint in ``folder``."""
    config = facts("mert_tiny")["config"]["common"] | options
    tensors = load_file(GOLDEN / "mert_tiny.weights.safetensors")
    for name in weights:
        tensors |= load_file(GOLDEN / f"{name}.weights.safetensors")
    save_file(tensors, folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps(config))
    return mert.Mert(mert.MertConfig(name="mert", weights=str(folder), **fields))


@pytest.fixture(scope="module")
def numbers():
    if not GOLDEN.is_dir():
        pytest.skip("needs golden numbers")
    return load_file(GOLDEN / "mert_tiny.io.safetensors")


@pytest.mark.parametrize("variant", ["base", "stable", "deepnorm"])
@torch.no_grad()
def test_all_states_are_the_originals(tmp_path, numbers, variant):
    golden = facts("mert_tiny")
    states = golden_mert(tmp_path, golden["config"]["variants"][variant])(numbers["input_values"])
    tolerance = golden["suggested_tolerance"]["all"]
    expected = [numbers[f"{variant}.hidden_{index}"] for index in range(3)]
    assert len(states) == len(expected)
    for ours, theirs in zip(states, expected, strict=True):
        torch.testing.assert_close(ours, theirs, atol=tolerance, rtol=0)
    torch.testing.assert_close(states[-1], numbers[f"{variant}.last_hidden_state"], atol=tolerance, rtol=0)


@torch.no_grad()
def test_input_convolutions_and_positions_are_the_originals(tmp_path, numbers):
    backbone = golden_mert(tmp_path, {}, window=0.48)
    audio, model = numbers["audio"], backbone.model
    lengths = torch.full((2,), audio.shape[-1])
    for name, found in {
        "input_values": backbone.prepare(audio, lengths)[:, : audio.shape[-1]],
        "conv_features": model.feature_extractor(numbers["input_values"]),
        "projected": model.feature_projection(numbers["conv_features"].mT),
        "pos_conv": model.encoder.pos_conv_embed(numbers["projected"]),
    }.items():
        assert (found - numbers[name]).abs().max() < 2e-4, name


@torch.no_grad()
def test_a_constant_q_transform_beside_the_convolutions_is_the_originals(tmp_path):
    golden, own = facts("mert_cqt"), load_file(GOLDEN / "mert_cqt.io.safetensors")
    options = {key: golden["config"][key] for key in ("sample_rate", "feature_extractor_cqt", "feature_extractor_cqt_bins")}
    backbone = golden_mert(tmp_path, options, weights=["mert_cqt"])
    assert (backbone.sample_rate, backbone.frame_rate) == (16_000, 50.0)
    torch.testing.assert_close(backbone.constant_q(own["input_values"]), own["cqt"], atol=1e-3, rtol=0)
    for index, ours in enumerate(backbone(own["input_values"])):
        torch.testing.assert_close(ours, own[f"hidden_{index}"], atol=1e-3, rtol=0)


@torch.no_grad()
def test_kernels_that_a_checkpoint_brings_are_computed_anew(tmp_path):
    golden = facts("mert_cqt")
    backbone = golden_mert(tmp_path, golden["config"], weights=["mert_cqt"])
    tensors = load_file(tmp_path / "model.safetensors")
    names = [f"feature_extractor_cqt.{name}" for name in ("lenghts", "cqt_kernels_real", "cqt_kernels_imag")]
    assert all(name in golden["facts"][1] for name in names)
    save_file(tensors | {name: torch.zeros(3) for name in names}, tmp_path / "model.safetensors")
    again = mert.Mert(backbone.config)
    assert again.fingerprint() == backbone.fingerprint()
    audio = load_file(GOLDEN / "mert_cqt.io.safetensors")["input_values"]
    assert torch.equal(again(audio)[-1], backbone(audio)[-1])


@pytest.mark.parametrize(("model", "size", "tensors"), [("MERT-v1-95M", "95M", 211), ("MERT-v1-330M", "330M", 403)])
def test_tensors_of_the_released_models_are_those_that_are_loaded(model, size, tensors):
    released = json.loads((GOLDEN / "mert_full_keys.json").read_text())["models"][model]
    assert len(released["keys"]) == released["n_tensors"] == tensors
    fields = {key: value for key, value in released["config"].items() if key in mert.CONFIG_KEYS}
    assert set(fields) == set(mert.CONFIG_KEYS), "a checkpoint's config.json names all that shapes the computation"
    for given in (fields, mert.SIZES[size]):
        with torch.device("meta"):
            expected = HubertModel(mert.hubert_config(given)).state_dict()
        assert {mert._current(name): shape for name, shape in released["keys"].items()} == {
            name: list(tensor.shape) for name, tensor in expected.items()
        }
