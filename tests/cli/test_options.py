"""What every command understands: -h, -q, -v, ~, and what the shell asks to complete a word."""

import os
import subprocess
import sys

import pytest
import typer
from calls import adapt, errors, succeed

from etude.cli.app import app
from etude.cli.home import expand_home


def commands():
    """The words of every command and group."""
    waiting, found = [((), typer.main.get_command(app))], []
    for words, command in waiting:
        found.append(words)
        waiting += [((*words, name), inner) for name, inner in getattr(command, "commands", {}).items()]
    return found


@pytest.mark.parametrize("words", commands())
def test_every_command_has_help_in_short_and_takes_quiet_and_verbose(words):
    text = succeed(*words, "-h")
    assert text == succeed(*words, "--help")
    for option in ("-h, --help", "-q, --quiet", "-v, --verbose"):
        assert option in text
    assert all(len(line) <= 80 for line in text.splitlines())


def test_commands_are_described_in_whole_sentences():
    assert "..." not in succeed("-h").partition("Commands:")[2]


@pytest.mark.parametrize("place", [0, 1, 2, 3])
def test_quiet_prints_where_results_are_and_errors_only(recipe_file, tmp_path, place):
    def quiet(*words):
        return adapt(*words[:place], "-q", *words[place:])

    out = tmp_path / "adapter"
    words = ("train", recipe_file, "train.epochs=1", "--run", tmp_path / "run", "-o", out)
    assert quiet(*words) == (0, f"{out}\n", "")
    code, printed, err = quiet(*words)
    assert (code, printed) == (2, "")
    assert err == f"error: {tmp_path}/run: is a finished run of this recipe (pass --fresh to train it again)\n"
    code, _, err = quiet("train", recipe_file, "--bogus")
    assert code == 2
    assert "No such option: --bogus" in err
    assert "frame F1" in quiet("eval", out)[1]  # scores are the result


def test_quiet_is_over_with_its_command(recipe_file, tmp_path):
    words = ("train", recipe_file, "train.epochs=1", "--fresh", "--run", tmp_path / "run", "--out", tmp_path / "adapter")
    adapt("-q", *words)
    _, out, err = adapt(*words)
    assert "epoch" in err
    assert "adapter: " in out
    assert adapt(*words, "-q")[2] == ""


def test_quiet_copying_and_merging_print_paths(tmp_path):
    assert succeed("recipes", "cp", "demo", tmp_path, "-q") == f"{tmp_path}/demo.yaml\n"


def test_verbose_prints_versions_time_and_the_way_to_an_error(tmp_path):
    words = ("eval", tmp_path / "nope")
    plain = errors(*words)
    code, out, err = adapt("-v", *words)
    assert (code, out) == (2, "")
    lines = err.splitlines()
    assert lines[0].startswith(f"python {sys.version.split()[0]}, etude ")
    assert "torch" in lines[0]
    assert "Traceback (most recent call last):" in lines
    assert lines[-1] == f"error: {plain[0]}"
    code, out, err = adapt("recipes", "-v", "ls")
    assert code == 0
    assert out == succeed("recipes", "ls")
    assert err.splitlines()[-1].endswith(" s")


@pytest.mark.parametrize("options", [("-q", "-v"), ("-v", "-q"), ("-qv",)])
def test_quiet_and_verbose_exclude_each_other(options):
    code, out, err = adapt("recipes", "ls", *options)
    assert (code, out) == (2, "")
    assert "cannot be quiet and verbose" in err


@pytest.mark.parametrize(
    ("argument", "expected"),
    [
        ("~/x", "/home/me/x"),
        ("~", "/home/me"),
        ("--out=~/x y", "/home/me/x y"),
        ("-o~/x", "/home/me/x"),
        ("--any-thing=~", "/home/me"),
        ("a/~/x", None),
        ("./~", None),
        ("--out=a~", None),
        ("data.root=~/x", None),
        ("~no-such-user/x", None),
        ("--~", None),
    ],
)
def test_home_is_replaced_in_front_of_arguments_and_values(argument, expected, monkeypatch):
    monkeypatch.setenv("HOME", "/home/me")
    assert expand_home(argument) == (argument if expected is None else argument.partition("~")[0] + expected)


@pytest.mark.parametrize("join", ["--out=~/made", "-o~/made", "--out ~/made", "-o ../made", "--out=../made"])
def test_results_go_where_home_and_relative_paths_say(join, recipe_file, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "here" / "made").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "here")
    succeed("train", recipe_file, "train.epochs=1", "--run=~/run", *join.split())
    assert (tmp_path / "made" / "adapter.json").exists()
    assert (tmp_path / "run" / "checkpoint.pt").exists()
    assert not (tmp_path / "here" / "~").exists()
    assert "technique" in succeed("inspect", "~/made")


@pytest.mark.parametrize("out", [".", "made/.."])
def test_the_current_folder_is_not_replaced(out, recipe_file, tmp_path, monkeypatch):
    (tmp_path / "made").mkdir()
    monkeypatch.chdir(tmp_path)
    (line,) = errors("train", recipe_file, "--out", out)
    assert line.endswith("is the current folder (name one below it, such as toy-adapter)")


def complete(words, folder):
    """What bash is told when the tabulator key is pressed after ``words``."""
    asked = {"COMP_WORDS": words, "COMP_CWORD": str(words.count(" ")), "_ADAPT_COMPLETE": "complete_bash"}
    env = {**os.environ, **asked}
    code = (
        "import sys\nfrom etude.cli.app import app\n"
        "try:\n    app(prog_name='adapt')\nfinally:\n"
        "    assert not {'torch', 'numpy', 'rich.console'} & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=folder, env=env, capture_output=True, text=True, check=False)
    assert "Error" not in done.stderr
    return done.stdout.split()


def test_the_shell_completes_recipes_and_adapters_and_imports_nothing_heavy(tmp_path):
    for file in ("elm.yaml", "mine/electric.yaml", "e-adapter/adapter.json", "runs/demo/adapter.json", "else.txt"):
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / file).touch()
    assert complete("adapt train el", tmp_path) == ["electric-bass", "elm.yaml"]
    assert complete("adapt train mine/", tmp_path) == ["mine/electric.yaml"]
    assert complete("adapt recipes cp ele", tmp_path) == ["electric-bass"]
    assert complete("adapt recipes check elm", tmp_path) == ["elm.yaml"]
    assert complete("adapt eval ", tmp_path) == ["e-adapter", "runs/demo"]
    assert complete("adapt inspect runs/d", tmp_path) == ["runs/demo"]
    assert "--fresh" in complete("adapt train --fr", tmp_path)
    assert "--install-completion" in succeed("-h")
