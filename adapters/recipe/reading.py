"""The text of a recipe: which file it is in, the YAML in it, and fields set on the command line."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import yaml

from etude.adapters.errors import UserError, nearest
from etude.recipes import packaged


def read_recipe(path: str | Path) -> tuple[str, str]:
    """The text of a recipe file, or of a packaged recipe by name, and the file's name. Raises :class:`UserError`."""
    file = Path(path)
    if not os.path.isfile(file):
        known = packaged()
        if file.stem not in known or (file.parent != Path() and file.parent.name != "recipes"):
            raise UserError("no such recipe", where=str(path), fix=nearest(file.stem, known))
        file = known[file.stem]
    try:
        text = file.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        raise UserError("is not a UTF-8 text file", where=str(file), fix="save it as UTF-8") from None
    except OSError as error:
        raise UserError(f"cannot be read: {error.strerror}", where=str(file), fix="check its permissions") from None
    return text, file.name


def is_for_pretraining(raw: Any) -> bool:
    """Whether a recipe as read from YAML is for ``adapt pretrain``, which renders notes, rather than for ``adapt train``."""
    return isinstance(raw, dict) and "soundfonts" in raw


class _Loader(yaml.SafeLoader):
    """Refuses keys given twice, of which YAML keeps the last, and keys that YAML does not take for text (``on``, ``1``)."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen = set()
        for key, _ in node.value if isinstance(node, yaml.MappingNode) else ():
            if not isinstance(key, yaml.ScalarNode):
                continue  # refused by yaml itself
            textual = key.tag.rpartition(":")[2] in ("str", "merge")
            if not textual or key.value in seen:
                fault = "is given twice" if textual else "needs quotes"
                raise yaml.constructor.ConstructorError(problem=f"the key {key.value!r} {fault}", problem_mark=key.start_mark)
            seen.add(key.value)
        return super().construct_mapping(node, deep)


def read_yaml(text: str, where: str) -> Any:
    """Parse YAML. Raises :class:`UserError` with the line."""
    try:
        return yaml.load(text, _Loader)
    except Exception as error:  # a tag that does not fit its value (!!bool x) escapes as whatever the constructor runs into
        mark = getattr(error, "problem_mark", None)
        line = f":{mark.line + 1}" if mark and "\n" in text else ""
        reason = getattr(error, "problem", None) or next(iter(str(error).splitlines()), type(error).__name__)
        raise UserError(f"cannot be read as YAML: {reason}", where=f"{where}{line}") from None


def override_fields(raw: dict[str, Any], override: str) -> None:
    """Put ``section.field=value`` into ``raw``; an item of a list goes by its place from 0 on. Raises :class:`UserError`."""
    key, separator, value = override.partition("=")
    parts = key.split(".")
    if not separator or not all(parts):
        raise UserError(f"{override!r} is not an override", fix="write section.field=value, e.g. train.lr=1e-3")
    section: Any = raw
    for depth, part in enumerate(parts):
        place: Any = part
        if isinstance(section, list):
            place = _item(section, part, ".".join(parts[:depth]), override)
        elif not isinstance(section, dict):
            raise UserError(f"'{parts[depth - 1]}' is not a section", where=f"override {override!r}")
        if depth == len(parts) - 1:
            section[place] = read_yaml(value, f"override {override!r}")
            return
        if (section[place] if isinstance(section, list) else section.get(place)) is None:
            section[place] = {}
        section = section[place]


def _item(section: list[Any], part: str, name: str, override: str) -> int:
    """``part`` as a place in the list ``section``, called ``name``."""
    if part.isdecimal() and int(part) < len(section):
        return int(part)
    items = ", ".join(f"{name}.{place}" for place in range(len(section)))
    what = f"'{name}' is a list of {len(section)}" if section else f"'{name}' is an empty list"
    raise UserError(what, where=f"override {override!r}", fix=f"name one of {items}" if section else f"set {name} as a whole")
