"""`adapt ARGUMENTS` called in this process."""

import re

from typer.testing import CliRunner

from etude.cli.app import app

RATE = 16000
LABELS = ("buzz", "tone")


def adapt(*arguments):
    """Run ``adapt ARGUMENTS`` in this process: exit code, stdout, stderr. A traceback fails the test that calls it."""
    result = CliRunner().invoke(app, list(map(str, arguments)), catch_exceptions=False)
    return result.exit_code, result.stdout, result.stderr


def errors(*arguments):
    """The lines on stderr of a call that must end with exit code 2, print nothing else, and say 'error' in every line."""
    code, out, err = adapt(*arguments)
    assert (code, out) == (2, ""), (code, out, err)
    assert all(re.match("(error|notice): ", line) for line in err.splitlines()), err
    return [line.removeprefix("error: ") for line in err.splitlines() if line.startswith("error: ")]


def succeed(*arguments):
    code, out, err = adapt(*arguments)
    assert code == 0, err
    return out


def files_below(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())
