"""What pydantic refuses in a recipe, in words for people who write YAML: what, where in the file, and how to fix it."""

from __future__ import annotations

import reprlib
from collections.abc import Mapping, Sequence
from datetime import date
from typing import Any, get_args, get_origin

from pydantic import BaseModel, ValidationError

from etude.adapters import registry
from etude.adapters.errors import Problem, nearest

KINDS = {
    **{"data": "datasets", "backbone": "backbones", "method": "methods", "heads": "heads"},
    "regularizers": "regularizers",
}
"""Section -> the folder whose files it names."""

EXPECTED = {
    **dict.fromkeys(("model_type", "dict_type"), "should be a section of 'key: value' lines"),
    "tuple_type": "should be a list",
    **dict.fromkeys(("string_type", "string_unicode"), "should be text"),
    **dict.fromkeys(("int_type", "int_parsing", "int_from_float", "int_parsing_size"), "should be a whole number"),
    **dict.fromkeys(("float_type", "float_parsing"), "should be a number"),
    **dict.fromkeys(("bool_type", "bool_parsing"), "should be true or false"),
    "missing": "is too short",  # an item of a list; missing fields are told otherwise
}
"""By pydantic's error type; those it words well enough are not here."""


def explain(error: ValidationError, model: type[BaseModel], raw: Mapping[str, Any], where: str) -> list[Problem]:
    """One problem per place in ``raw``, the recipe that ``model`` refused; ``where`` names its file.

    A fault within a value explains the fault of the value itself, which is then left out (the members of a union).
    """
    found: dict[tuple[str, ...], list[Any]] = {}
    for detail in error.errors():
        found.setdefault(_path(detail, raw), []).append(detail)
    inmost = [path for path in found if not any(path == other[: len(path)] for other in found if other != path)]
    return [_problem(path, found[path], model, where) for path in inmost]


def _path(detail: Any, raw: Any) -> tuple[str, ...]:
    """Keys and indices that lead to the fault, without what pydantic adds to them for the members of a union."""
    path: list[str] = []
    for part in map(str, detail["loc"]):
        inside = dict(enumerate(raw)) if isinstance(raw, list) else raw if isinstance(raw, dict) else {}
        inside = {str(key): value for key, value in inside.items()}
        if part in inside:
            path.append(part)
            raw = inside[part]
    return (*path, detail["loc"][-1]) if _lacks_field(detail) else tuple(path)


def _problem(path: tuple[str, ...], details: Sequence[Any], model: type[BaseModel], where: str) -> Problem:
    """The errors at one place, several if it may hold this or that, as one problem."""
    place = f"{where}: {'.'.join(map(_printable, path))}" if path else where
    first = details[0]
    if first["type"] == "extra_forbidden":
        return Problem(f"unknown key '{_printable(path[-1])}'", place, nearest(path[-1], _fields(model, path[:-1])))
    if _lacks_field(first):
        named = [part for part in path[1:] if not part.isdecimal()] in ([], ["name"])
        kind = KINDS.get(path[0]) if named else None
        known = ", ".join(registry.names(kind)) if kind else ""
        return Problem("is missing", place, f"one of {known}" if known else f"add '{path[-1]}:'")
    expected, *others = (_expected(detail) for detail in details)
    what = " or ".join([expected, *(other.removeprefix("should ").removeprefix("be ") for other in others)])
    value = first["input"]
    if value is None:
        return Problem(f"is empty, {what}", place)
    if all(detail["type"] == "value_error" for detail in details):
        return Problem(what, place)
    unquoted = first["type"] == "string_type" and isinstance(value, int | float | date)
    return Problem(f"{what}, got {_shown(value)}", place, "write it in quotes" if unquoted else "")


def _lacks_field(detail: Any) -> bool:
    return detail["type"] == "missing" and isinstance(detail["loc"][-1], str)


def _expected(detail: Any) -> str:
    message: str = detail["msg"].removeprefix("Value error, ").replace("Input should", "should", 1)
    if detail["type"] == "too_short":
        return f"should hold at least {detail['ctx']['min_length']}"
    if detail["type"] == "too_long":
        return f"should hold at most {detail['ctx']['max_length']}"
    return EXPECTED.get(detail["type"], f"{message[:1].lower()}{message[1:]}")


def _fields(model: Any, path: Sequence[str]) -> Sequence[str]:
    """Field names of the section at ``path``."""
    parts = iter(path)
    for part in parts:
        annotation = model.model_fields[part].annotation
        if get_origin(annotation) is tuple:
            items, place = get_args(annotation), int(next(parts))
            annotation = items[0 if Ellipsis in items else place]
        model = next(kind for kind in (annotation, *get_args(annotation)) if hasattr(kind, "model_fields"))
    return list(model.model_fields)


def _printable(key: str) -> str:
    """``key`` on one line."""
    return repr(key)[1:-1]


def _shown(value: Any) -> str:
    """``value`` on one line of readable length: aliases can make a short YAML file describe an endless value."""
    short = reprlib.Repr()
    short.maxlevel, short.maxstring, short.maxother = 2, 60, 60
    try:
        return short.repr(value)
    except ValueError:  # CPython writes no integer of more than 4300 digits
        return "a number of thousands of digits"
