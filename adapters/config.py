"""The base of every section of a recipe."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Annotated, Any, ClassVar

from pydantic import AfterValidator, BaseModel, ConfigDict


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


def _expand(text: str) -> str:
    """Replace ``~`` and ``${NAME}``; an unset variable is an error, not an empty string."""
    unset = [name for name in re.findall(r"\$\{(\w+)\}", text) if name not in os.environ]
    if unset:
        raise ValueError(f"the environment variable {unset[0]} is not set; set it, or override this field on the command line")
    return os.path.expanduser(re.sub(r"\$\{(\w+)\}", lambda match: os.environ[match[1]], text))


Location = Annotated[str, AfterValidator(_expand)]
"""A path (or hub name) in a recipe, with ``~`` and ``${NAME}`` replaced."""
