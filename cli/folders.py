"""Folders that a command will write to, tried before the work begins."""

from __future__ import annotations

import os
from pathlib import Path

from etude.adapters.errors import UserError


def check_writable(folder: Path, option: str) -> None:
    """Raise :class:`UserError` where ``folder``, or the nearest one above it that exists, does not take new files.

    Nothing is created yet. ``option`` is what the user named it with.
    """
    nearest = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    if not nearest.is_dir():
        raise UserError("is a file, not a folder", where=f"{option} {nearest}", fix="name another folder")
    if not os.access(nearest, os.W_OK | os.X_OK):
        raise UserError(
            "cannot be written to", where=f"{option} {nearest}", fix="change its permissions or name another folder"
        )


def run_and_out(name: str, makes: str, marker: str, run: Path | None, out: Path | None, fresh: bool) -> tuple[Path, Path]:
    """Where the run ``name`` and the adapter or backbone that it ``makes`` go: as the user said, or runs/NAME and NAME-MAKES.

    Raises :class:`UserError` where they cannot be written to, where ``out`` is the current folder, or where it holds a result
    (the file ``marker``) that neither ``fresh`` nor the run to be continued may replace.
    """
    run, out = run or Path("runs") / name, out or Path(f"{name}-{makes}")
    check_writable(run, "--run")
    check_writable(out, "--out")
    if out.resolve() == Path.cwd():  # the folder is replaced as a whole, and with it the one that the shell is in
        raise UserError("is the current folder", where=f"--out {out}", fix=f"name one below it, such as {name}-{makes}")
    if (out / marker).exists() and not (fresh or (run / "checkpoint.pt").exists()):
        article = "an" if makes[0] in "aeiou" else "a"
        fix = "name another folder with --out, or pass --fresh to replace it"
        raise UserError(f"holds {article} {makes} already", where=f"--out {out}", fix=fix)
    return run, out


def make_folder(folder: Path) -> None:
    """Create ``folder`` and those above it. Raises :class:`UserError` when the system refuses."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"cannot be created: {error.strerror}", where=str(folder), fix="name another folder") from None
