"""A folder is its own registry: every module in it is one thing, named after its file.

``names("backbones")`` lists without importing anything; ``find("backbones", "mert")`` imports that one file and returns the
class in it that implements the folder's contract (the contract itself is defined in the folder's ``__init__``).
"""

from __future__ import annotations

import inspect
from functools import cache
from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules
from typing import Any

from etude.adapters.errors import UserError, nearest

CONTRACTS = {"backbones": "Backbone", "methods": "Method", "heads": "Head", "datasets": "Dataset"}


def names(kind: str) -> tuple[str, ...]:
    """The names of everything of one ``kind``, sorted; nothing is imported."""
    modules = iter_modules([str(Path(__file__).parent / kind)])
    return tuple(sorted(module.name for module in modules if not module.name.startswith("_")))


@cache
def find(kind: str, name: str) -> type[Any]:
    """The class registered as ``name`` in folder ``kind``. Raises :class:`UserError` for an unknown name."""
    if name not in names(kind):
        raise UserError(f"unknown {kind[:-1]} {name!r}", fix=nearest(name, names(kind)))
    contract = getattr(import_module(f"etude.adapters.{kind}"), CONTRACTS[kind])
    module = import_module(f"etude.adapters.{kind}.{name}")
    found = [
        value
        for value in vars(module).values()
        if inspect.isclass(value) and issubclass(value, contract) and value.__module__ == module.__name__
    ]
    if len(found) != 1:
        raise TypeError(f"{module.__name__} must define exactly one {contract.__name__}, found {len(found)}")
    return found[0]
