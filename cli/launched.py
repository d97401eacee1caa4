"""A command as one of several processes of a launcher (``accelerate launch``), which ends all of them once one has failed."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import typer

from etude.adapters.errors import UserError

GRACE_SECONDS = 3.0


def speaks() -> bool:
    """Whether this process speaks for all: the only one, or the first of several."""
    return os.environ.get("RANK", "0") == "0"


@contextmanager
def told_once() -> Iterator[None]:
    """Delay errors of the block that another process is the one to tell: by then, the launcher has ended this one.

    What all processes meet, the first one tells. What only one meets it tells itself, and the others, which lose the connection
    to it, do not.
    """
    try:
        yield
    except (typer.Exit, KeyboardInterrupt):
        raise
    except Exception as error:
        if int(os.environ.get("WORLD_SIZE", "1")) > 1 and not (speaks() and isinstance(error, UserError)):
            time.sleep(GRACE_SECONDS)
        raise


def tell_launcher(text: str) -> None:
    """Give torch's launcher ``text`` to end its own report with, which else buries it."""
    if file := os.environ.get("TORCHELASTIC_ERROR_FILE"):
        Path(file).write_text(json.dumps({"message": text, "timestamp": int(time.time())}), encoding="utf-8")
