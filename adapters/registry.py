"""A folder is its own registry: every module in it is one thing, named after its file.

``names("backbones")`` lists without importing anything; ``find("backbones", "mert")`` imports that one file and returns the
class in it that implements the folder's contract (the contract itself is defined in the folder's ``__init__``). Another
distribution adds to the folder by an entry point in the group ``etude.backbones``, whose value is such a module, or the class.
"""

from __future__ import annotations

import inspect
from functools import cache
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from pkgutil import iter_modules
from types import ModuleType
from typing import Any

from etude.adapters.errors import UserError, nearest

CONTRACTS = {
    "annotations": "Kind",
    "formats": "Format",
    "datasets": "Dataset",
    "backbones": "Backbone",
    "methods": "Method",
    "heads": "Head",
    "regularizers": "Regularizer",
}


@cache
def own_names(folder: str) -> tuple[str, ...]:
    """The names of what the folder itself holds, sorted; nothing is imported."""
    modules = iter_modules([str(Path(__file__).parent / folder)])
    return tuple(sorted(module.name for module in modules if not module.name.startswith("_")))


@cache
def _plugins(folder: str) -> dict[str, list[EntryPoint]]:
    found: dict[str, list[EntryPoint]] = {}
    for point in entry_points(group=f"etude.{folder}"):
        found.setdefault(point.name, []).append(point)
    return found


def names(folder: str) -> tuple[str, ...]:
    """The names of everything in ``folder``, that of other distributions as well, sorted; nothing is imported."""
    return tuple(sorted({*own_names(folder), *_plugins(folder)}))


@cache
def find(folder: str, name: str) -> type[Any]:
    """The class registered as ``name`` in ``folder``.

    Raises :class:`UserError` for an unknown name, for one that two distributions use, and for a plug-in that cannot be loaded.
    """
    noun = "kind of annotation" if folder == "annotations" else folder.removesuffix("s")
    if name not in names(folder):
        raise UserError(f"unknown {noun} {name!r}", fix=nearest(name, names(folder)))
    contract = getattr(import_module(f"etude.adapters.{folder}"), CONTRACTS[folder])
    points = _plugins(folder).get(name, [])
    makers = [*(["etude"] if name in own_names(folder) else []), *map(_maker, points)]
    if len(makers) > 1:
        raise UserError(f"the {noun} {name!r} is in {' and in '.join(makers)}", fix=f"uninstall {makers[-1]}")
    if not points:
        return _class_in(import_module(f"etude.adapters.{folder}.{name}"), contract)
    try:
        value = points[0].load()
        found = _class_in(value, contract) if isinstance(value, ModuleType) else value
        if not (inspect.isclass(found) and issubclass(found, contract)):
            raise TypeError(f"{points[0].value} is no {contract.__name__}")
    except Exception as error:  # a plug-in may do anything when it is imported
        what = f"the {noun} {name!r} of {makers[0]} cannot be loaded: {type(error).__name__}: {' '.join(str(error).split())}"
        raise UserError(what, fix=f"update or uninstall {makers[0]}") from error
    return found


def usable(folder: str) -> dict[str, type[Any]]:
    """Everything in ``folder`` by name, but for plug-ins that cannot be loaded."""
    found = {}
    for name in names(folder):
        try:
            found[name] = find(folder, name)
        except UserError:
            continue
    return found


def _maker(point: EntryPoint) -> str:
    return point.dist.name if point.dist else point.value


def _class_in(module: ModuleType, contract: type[Any]) -> type[Any]:
    found = [
        value
        for value in vars(module).values()
        if inspect.isclass(value) and issubclass(value, contract) and value.__module__ == module.__name__
    ]
    if len(found) != 1:
        raise TypeError(f"{module.__name__} must define exactly one {contract.__name__}, found {len(found)}")
    return found[0]
