"""`adapt cache ls|rm`: what is kept, and how to be rid of it."""

import re

import pytest
from filelock import FileLock
from typer.testing import CliRunner

from etude.adapters.storage.cache import cached_folder
from etude.adapters.training import engine
from etude.cli.app import app


def adapt(*arguments):
    result = CliRunner(env={"COLUMNS": "150"}).invoke(app, list(map(str, arguments)), catch_exceptions=False)
    return result.exit_code, result.stdout, result.stderr


@pytest.fixture
def filled(toy_recipe, tmp_path, monkeypatch):
    """A cache with the frozen states of three splits and a rendered data set."""
    root = tmp_path / "cache"
    monkeypatch.setenv("ETUDE_CACHE", str(root))
    engine.train(toy_recipe("train.epochs=1"), tmp_path / "run", tmp_path / "adapter")
    cached_folder("note_phrases", {"seed": 1}, lambda folder: (folder / "0.wav").write_bytes(b"x" * 1_000_000))
    return root


def rows(output):
    return [line.split() for line in output.splitlines() if re.match(r" ?[0-9a-f]{8} ", line)]


def test_it_lists_what_is_kept_and_the_limit(filled, monkeypatch):
    monkeypatch.setenv("ETUDE_CACHE_GB", "7")
    code, out, err = adapt("cache", "ls")
    assert (code, err) == (0, "")
    assert len(rows(out)) == 4
    assert out.count("frozen states of random:tiny") == 3
    assert "windows 12" in out
    phrases = next(row for row in rows(out) if "note" in row)
    assert phrases[-1] == "1.0"
    total = sum(path.stat().st_size for path in filled.rglob("*") if path.is_file()) / 1e9
    assert f"{total:.2f} GB in {filled}; frozen states may take 7 GB (ETUDE_CACHE_GB)" in out.replace("\n", " ")


def test_it_deletes_by_id_and_all(filled):
    first, *_ = rows(adapt("cache", "ls")[1])
    code, out, err = adapt("cache", "rm", first[0])
    assert (code, err) == (0, "")
    assert out.startswith("1 deleted, ")
    left = rows(adapt("cache", "ls")[1])
    assert len(left) == 3
    assert first[0] not in {row[0] for row in left}
    assert adapt("cache", "rm", "--all")[1].startswith("3 deleted, ")
    assert not [path for path in filled.rglob("*") if path.is_file() and path.suffix in (".rows", ".wav", ".lock")]
    assert adapt("cache", "ls")[1].startswith("0.00 GB in ")


def test_what_is_deleted_is_computed_again(filled, toy_recipe, tmp_path):
    adapt("cache", "rm", "--all")
    engine.train(toy_recipe("train.epochs=1"), tmp_path / "run2", tmp_path / "adapter2")
    assert len(rows(adapt("cache", "ls")[1])) == 3


def test_what_a_run_is_computing_stays(filled):
    folder = next(path for path in (filled / "features").iterdir() if path.is_dir())
    with FileLock(folder.with_suffix(".lock")):
        code, out, err = adapt("cache", "rm", "--all")
    assert code == 2
    assert "3 deleted" in out
    assert re.fullmatch(rf"error: {folder}: could not be deleted \(wait until .*\)\n", err)
    assert folder.is_dir()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), r"adapt cache rm: say what to delete \(give ids"),
        (("--all", "x"), r"adapt cache rm: say what to delete"),
        (("nonsense",), r"nonsense: nothing kept has this id \(see 'adapt cache ls'\)"),
    ],
)
def test_mistakes(filled, arguments, message):
    code, _, err = adapt("cache", "rm", *arguments)
    assert code == 2
    assert re.match(f"error: {message}", err)
    assert len(rows(adapt("cache", "ls")[1])) == 4


def test_a_damaged_entry_is_listed_and_can_be_deleted(filled):
    for path in filled.glob("features/*/about.json"):
        path.write_text("{")
    code, out, _ = adapt("cache", "ls")
    assert code == 0
    assert out.count("incomplete") == 3
    assert adapt("cache", "rm", "--all")[0] == 0
