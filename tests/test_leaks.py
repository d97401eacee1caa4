"""A recording in two splits is refused, whatever it is called, and telling which files are equal is cheap."""

import shutil

import pytest
from typer.testing import CliRunner

from etude.adapters.datasets._parts import equal_files as module
from etude.adapters.datasets._parts.equal_files import equal_files
from etude.adapters.errors import UserError
from etude.adapters.model.build import named_dataset
from etude.adapters.training import engine
from etude.cli.app import app


@pytest.fixture
def leaking(toy_root, tmp_path):
    """The toy data with a training recording as a test recording, and another one twice in the training split."""
    root = shutil.copytree(toy_root, tmp_path / "data")
    shutil.copy(root / "train0.wav", root / "test1.wav")
    shutil.copy(root / "train1.wav", root / "train2.wav")
    return root


def expected(root):
    first = f"{root}/train0.wav in the split 'train'"
    return f"{root}/test1.wav: is the same recording as {first} (keep it in one split only)"


def test_train_refuses_it_before_anything_is_computed(leaking, toy_recipe, tmp_path, monkeypatch):
    monkeypatch.setattr(engine, "untrained_model", None)
    with pytest.raises(UserError) as caught:
        engine.train(toy_recipe(f"data.root={leaking}"), tmp_path / "run", tmp_path / "adapter")
    assert str(caught.value) == expected(leaking)
    assert not (tmp_path / "run").exists()


def test_data_check_tells_it_once(leaking):
    result = CliRunner().invoke(app, ["data", "check", f"{leaking}/manifest.csv"])
    assert (result.exit_code, result.stderr) == (2, f"error: {expected(leaking)}\n")


def test_every_copy_is_named_and_a_recording_listed_in_two_splits_as_well(toy_root, tmp_path):
    root = shutil.copytree(toy_root, tmp_path / "data")
    for name in ("validation0", "test0", "test1"):
        shutil.copy(root / "train0.wav", root / f"{name}.wav")
    problems = named_dataset(f"{root}/manifest.csv").leaks()
    assert [problem.where for problem in problems] == [f"{root}/{name}.wav" for name in ("validation0", "test0", "test1")]


def test_equal_files_are_those_with_equal_bytes(tmp_path):
    """Files that differ in their last byte alone, at every length at which the comparison stops."""
    names = {}
    for length in (0, 1, *module.HEADS, *(head + 1 for head in module.HEADS), 200_000):
        for copy, content in enumerate((b"a" * length, b"a" * length, b"a" * max(0, length - 1) + b"b")):
            path = tmp_path / f"{length}-{copy}"
            path.write_bytes(content)
            names.setdefault(content, []).append(path)
    paths = [path for found in names.values() for path in found]
    groups = [found for found in names.values() if len(found) > 1]
    assert sorted(equal_files(paths)) == sorted(groups)
    assert equal_files([]) == equal_files([tmp_path / "gone", tmp_path / "lost", tmp_path]) == []
    assert equal_files([paths[0], paths[0]]) == [], "one file named twice is one file"
    (tmp_path / "link").symlink_to(paths[0])
    assert equal_files([tmp_path / "link", paths[0]]) == [[tmp_path / "link", paths[0]]]


def test_only_what_begins_alike_is_read_as_a_whole(tmp_path, monkeypatch):
    """As of hundreds of thousands of notes that are equally long: of all but two the first bytes tell them apart."""
    paths = [tmp_path / str(number) for number in range(50)]
    for number, path in enumerate(paths):
        path.write_bytes(bytes([max(1, number)]) * 100_000)
    lengths = []
    digest = module._digest
    monkeypatch.setattr(module, "_digest", lambda path, length=None: lengths.append(length) or digest(path, length))
    assert equal_files(paths) == [paths[:2]]
    assert lengths == [4_096] * 50 + [65_536] * 2 + [None] * 2
