"""Adapters that are not what they should be."""

import json
import re
import shutil
from pathlib import Path

import pytest
from calls import errors, succeed

from etude.adapters import artifact


def _cut(path):
    path.write_bytes(path.read_bytes()[:-100])


def _flip(path):
    content = bytearray(path.read_bytes())
    content[-3] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize(
    ("damage", "name", "expected"),
    [
        (Path.unlink, artifact.MANIFEST, "is not a complete adapter: lacks adapter.json"),
        (Path.unlink, artifact.TENSORS, "is not a complete adapter: lacks adapter.safetensors"),
        (_cut, artifact.TENSORS, "adapter.safetensors: is truncated"),
        (_flip, artifact.TENSORS, "adapter.safetensors: holds tensors that were altered"),
        (_flip, artifact.RECIPE, "recipe.yaml: was altered"),
        (_cut, artifact.METRICS, "metrics.json: was altered"),
    ],
)
def test_damaged_adapters(adapter, take, tmp_path, damage, name, expected):
    broken = tmp_path / "broken"
    shutil.copytree(adapter, broken)
    damage(broken / name)
    for command in (["inspect", broken], ["eval", broken], ["predict", broken, take(), "--out", tmp_path / "out"]):
        (line,) = errors(*command)
        assert expected in line
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("command", [["inspect"], ["eval"], ["predict", "x.wav"]])
def test_adapters_that_do_not_exist(command, tmp_path):
    command = [command[0], str(tmp_path / "nope"), *command[1:]]
    (line,) = errors(*command)
    assert line.endswith("nope: no such adapter folder (check the path, or download the adapter first)")


def test_only_the_very_weights_of_training_are_accepted(adapter, take, tmp_path):
    import torch
    from safetensors.torch import save_file

    from etude.adapters.backbones.whisper import Whisper, WhisperConfig

    encoder = Whisper(WhisperConfig(name="whisper", weights="random:tiny")).model
    for name, change in (("same", 0.0), ("other: one", 1e-3)):
        with torch.no_grad():
            encoder.conv1.bias += change
        (tmp_path / name).mkdir()
        save_file(
            {key: value.contiguous() for key, value in encoder.state_dict().items()}, tmp_path / name / "model.safetensors"
        )
        (tmp_path / name / "config.json").write_text(json.dumps({"model_type": "whisper", "encoder_attention_heads": 2}))
    succeed("predict", adapter, take(), "--out", tmp_path, "--weights", tmp_path / "same")
    (line,) = errors("predict", adapter, take(), "--out", tmp_path / "out", "--weights", tmp_path / "other: one")
    assert re.search(r"was made for random:tiny .*the weights at .*other: one are others", line)
