"""Folders of derived data (rendered phrases, ...) that are built once and found again by what they were made from."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any


def cache_root() -> Path:
    """``$ETUDE_CACHE``, else ``$XDG_CACHE_HOME/etude``, else ``~/.cache/etude``."""
    if chosen := os.environ.get("ETUDE_CACHE"):
        return Path(chosen).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME", "~/.cache")).expanduser() / "etude"


def cached_folder(kind: str, key: Mapping[str, Any], build: Callable[[Path], None]) -> Path:
    """The folder that ``build`` fills, built on first use; ``key`` (JSON) must name everything its content depends on.

    It is built under a temporary name and renamed when complete: an interrupted build leaves nothing that could be taken for
    a finished one, and of two concurrent builds the first to finish wins.
    """
    digest = hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()[:16]
    folder = cache_root() / kind / digest
    if folder.is_dir():
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    partial = Path(tempfile.mkdtemp(prefix=f".{digest}-", dir=folder.parent))
    try:
        build(partial)
        (partial / "key.json").write_text(json.dumps(key, indent=2, sort_keys=True))
        try:
            partial.rename(folder)
        except OSError:
            if not folder.is_dir():
                raise
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return folder
