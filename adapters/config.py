"""The base of every section of a recipe."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Annotated, Any, ClassVar

from pydantic import (
    BaseModel,
    ConfigDict,
    FieldSerializationInfo,
    PlainSerializer,
    ValidationInfo,
    ValidatorFunctionWrapHandler,
    WrapValidator,
)


class StrictModel(BaseModel):
    """A recipe section: unknown keys are errors, values are fixed once read."""

    example: ClassVar[Mapping[str, Any]] = {}
    """The smallest values of the fields that have no default, for documents and tests."""

    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True, allow_inf_nan=False, protected_namespaces=())


def distinct(names: Iterable[str]) -> tuple[str, ...]:
    """``names`` of the items of a list, each once: the second ``a`` is ``a-2``."""
    counts: Counter[str] = Counter()
    found = []
    for name in names:
        counts[name] += 1
        found.append(name if counts[name] == 1 else f"{name}-{counts[name]}")
    return tuple(found)


class Typed(str):
    """Text that was given on the command line, where relative paths start from the current folder, wherever the recipe is."""


class Place(str):
    """Where a :data:`Location` leads."""

    written = ""
    """What a recipe says for it, with ``~`` and ``${NAME}``: this holds on other machines, and tells nothing of this one."""


def _locate(value: Any, handler: ValidatorFunctionWrapHandler, info: ValidationInfo) -> Place:
    """Replace ``~`` and ``${NAME}``; an unset variable is an error, not an empty string."""
    text: str = handler(value)
    unset = [name for name in re.findall(r"\$\{(\w+)\}", text) if name not in os.environ]
    if unset:
        raise ValueError(f"the environment variable {unset[0]} is not set; set it, or override this field on the command line")
    place = Place(os.path.expanduser(re.sub(r"\$\{(\w+)\}", lambda match: os.environ[match[1]], text)))
    place.written = text
    folder = (info.context or {}).get(BESIDE)
    if folder is None or isinstance(value, Typed) or os.path.isabs(place) or not os.path.exists(os.path.join(folder, place)):
        return place
    if os.path.samefile(folder, os.curdir):
        return place
    beside = Place(os.path.join(folder, place))
    within = os.path.relpath(beside)
    beside.written = text if within.startswith(os.pardir) else within
    return beside


def as_written(place: str) -> str:
    """What a recipe says for ``place``."""
    return getattr(place, "written", place)


def _dumped(place: str, info: FieldSerializationInfo) -> str:
    return as_written(place) if info.context == AS_WRITTEN else str(place)


BESIDE = "beside"
"""Key of the validation context: the folder from which relative paths start, if they lead to something there."""
AS_WRITTEN = "as written"
"""The serialization context of what others are to read: places as :attr:`Place.written`."""
Location = Annotated[str, WrapValidator(_locate), PlainSerializer(_dumped)]
"""A path (or hub name) in a recipe, with ``~`` and ``${NAME}`` replaced. A relative one is looked for in the folder of the
recipe, then in the current folder."""
