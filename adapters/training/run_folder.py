"""The folder of a run in progress: one run at a time writes to it."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from accelerate import Accelerator
from filelock import FileLock, Timeout

from etude.adapters.errors import UserError


@contextmanager
def hold(run: Path, accelerator: Accelerator, stale: tuple[str, ...] = ()) -> Iterator[None]:
    """Create ``run``, drop what is ``stale`` of an older run, and keep others out while the block runs (main process).

    Raises :class:`UserError` when another run is at work there or when the disk refuses.
    """
    if not accelerator.is_main_process:
        yield
        return
    try:
        run.mkdir(parents=True, exist_ok=True)
        held = FileLock(run / ".lock").acquire(timeout=0)
        for name in stale:
            if (run / name).is_dir():
                shutil.rmtree(run / name)
            else:
                (run / name).unlink(missing_ok=True)
    except Timeout:
        raise UserError("another run is at work there", where=str(run), fix="wait for it, or name another with --run") from None
    except OSError as error:
        raise UserError(f"cannot be written to: {error.strerror}", where=str(run), fix="name another folder") from None
    with held:
        yield
