"""Adapters and recipes that are used from another folder than the one they were made in."""

import json
import shutil

import pytest
from calls import adapt, succeed

from etude.adapters import artifact


@pytest.fixture(scope="module")
def project(toy_root, recipe_file, tmp_path_factory):
    """A folder with recordings in ``takes``, weights in ``weights``, a recipe that names both so, and its adapter."""
    from safetensors.torch import save_file

    from etude.adapters.backbones.whisper import Whisper, WhisperConfig

    folder = tmp_path_factory.mktemp("project")
    shutil.copytree(toy_root, folder / "takes")
    (folder / "weights").mkdir()
    states = Whisper(WhisperConfig(name="whisper", weights="random:tiny")).model.state_dict()
    save_file({key: value.contiguous() for key, value in states.items()}, folder / "weights" / "model.safetensors")
    (folder / "weights" / "config.json").write_text(json.dumps({"model_type": "whisper", "encoder_attention_heads": 2}))
    text = recipe_file.read_text().replace(str(toy_root), "takes").replace("random:tiny", "weights")
    (folder / "toy.yaml").write_text(text)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        succeed("train", "toy.yaml", "train.epochs=1")
    return folder


@pytest.fixture
def elsewhere(tmp_path, monkeypatch):
    """The current folder, with recordings of the same name that are no recordings."""
    (tmp_path / "elsewhere" / "takes").mkdir(parents=True)
    (tmp_path / "elsewhere" / "takes" / "manifest.csv").write_text("audio,events,split\nx,y,test\n")
    monkeypatch.chdir(tmp_path / "elsewhere")


def test_eval_and_predict_find_data_and_weights_from_any_folder(project, take, tmp_path, elsewhere):
    scores = artifact.read_header(project / "toy-adapter").metrics["test"]
    for folder in (project, tmp_path / "moved"):
        if not folder.exists():
            shutil.copytree(project, folder)
        for data in ([], [folder / "toy.yaml"]):
            assert json.loads(succeed("eval", folder / "toy-adapter", *data, "--json"))["scores"] == artifact.plain(scores)
        succeed("predict", folder / "toy-adapter", take(), "--out", tmp_path / f"found-{folder.name}")


def test_an_adapter_that_left_its_project_alone_looks_in_the_current_folder(project, tmp_path, monkeypatch):
    (tmp_path / "alone").mkdir()
    shutil.copytree(project / "toy-adapter", tmp_path / "alone" / "toy-adapter")
    monkeypatch.chdir(project)
    assert "2 recordings" in succeed("eval", tmp_path / "alone" / "toy-adapter")
    monkeypatch.chdir(tmp_path)
    code, _, err = adapt("eval", tmp_path / "alone" / "toy-adapter", "--weights", project / "weights")
    assert code == 2
    assert "takes/manifest.csv: cannot be read: No such file" in err


def test_weights_on_the_command_line_lie_in_the_current_folder(project, tmp_path, monkeypatch):
    shutil.copytree(project / "weights", tmp_path / "here" / "weights")
    (tmp_path / "here" / "weights" / "model.safetensors").write_text("none")
    monkeypatch.chdir(tmp_path / "here")
    code, _, err = adapt("eval", project / "toy-adapter", "--weights", "weights")
    assert code == 2
    assert "weights/model.safetensors: cannot be read as weights" in err


def test_no_file_of_an_adapter_tells_where_it_was_made(project):
    for file in (project / "toy-adapter").iterdir():
        assert str(project.parent).encode() not in file.read_bytes(), file.name
    assert "root: takes\n" in (project / "toy-adapter" / "recipe.yaml").read_text()
