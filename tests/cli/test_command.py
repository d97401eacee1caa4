"""`adapt` itself: its help, its version, its mistakes, its progress, and how any command ends early."""

import errno
import os
import subprocess
import sys

import pytest
from calls import adapt, succeed
from rich.console import Console

import etude
from etude.adapters.progress import Bars
from etude.cli.progress import progress


def test_help_imports_nothing_heavy():
    code = (
        "import sys; from etude.cli.app import app\n"
        "app(['--help'], standalone_mode=False)\n"
        "print([m for m in ('torch', 'transformers', 'numpy', 'pydantic', 'matplotlib') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"
    assert "predict" in done.stdout


def test_version():
    assert succeed("--version") == f"etude {etude.__version__}\n"


@pytest.mark.parametrize("arguments", [("frobnicate",), ("predict", "a", "b.wav", "--bogus"), ("eval",), ("data", "chekc")])
def test_unknown_commands_and_options_leave_with_2(arguments):
    code, out, err = adapt(*arguments)
    assert (code, out) == (2, "")
    assert "Usage: adapt" in err


def test_ctrl_c_and_a_full_disk_end_any_command_without_a_traceback(adapter, take, tmp_path, monkeypatch):
    def stop(error):
        def session(self, path):
            raise error

        monkeypatch.setattr("etude.adapters.inference.session.Session.all", session)
        return adapt("predict", adapter, take(), "--out", tmp_path / "out")

    assert stop(KeyboardInterrupt()) == (130, "", "interrupted\n")
    code, out, err = stop(OSError(errno.ENOSPC, "No space left on device", "/disk/file"))
    assert (code, out) == (2, "")
    assert err == "error: /disk/file: No space left on device (free some space or name another place)\n"
    with pytest.raises(FileNotFoundError):  # not a user's mistake: a bug must stay visible
        stop(FileNotFoundError(errno.ENOENT, "No such file", "x"))


def test_progress_is_drawn_on_terminals_only_and_leaves_stdout_alone(monkeypatch, capfd):
    master, slave = os.openpty()
    with os.fdopen(slave, "w") as terminal, monkeypatch.context() as patch:
        patch.setenv("TERM", "xterm")
        patch.setattr("sys.stderr", terminal)
        with progress("predicting", 2) as advance:
            advance(1)
            print("result")
    drawn = os.read(master, 100_000).decode()
    os.close(master)
    assert "predicting" in drawn
    assert "result" not in drawn
    with progress("predicting", 2) as advance:
        advance(2)
    assert capfd.readouterr() == ("result\n", "")


def test_without_a_terminal_long_work_tells_where_it_is_now_and_then(capfd):
    clock = [0.0]
    with Bars(Console(stderr=True), get_time=lambda: clock[0]) as bars:
        task = bars.add_task("predicting", total=500)
        for clock[0] in (10, 29, 31, 45, 60, 62, 70):
            bars.advance(task, 1)
    assert capfd.readouterr().err == "predicting: 3 of 500 after 31 s\npredicting: 6 of 500 after 62 s\n"
