"""A recipe as it was written: which file it is, what it is for, and its fields with those given on the command line."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from etude.adapters.config import Typed
from etude.adapters.errors import UserError, nearest
from etude.recipes import packaged


class Task(NamedTuple):
    """What is done with a recipe: in words, by which command of ``adapt``, and a packaged one to start from."""

    words: str
    command: str
    example: str


TASKS = {
    "training": Task("training an adapter", "train", "demo"),
    "pretraining": Task("pretraining a backbone", "pretrain", "nano"),
}
"""By what the field ``task`` of a recipe says."""


class Source(NamedTuple):
    """The text of a recipe, the name of its file, and the folder that its relative paths may start from."""

    text: str
    where: str
    folder: Path | None


def read_recipe(path: str | Path) -> Source:
    """A recipe file, a packaged recipe by name or the one for a folder of recordings, which have no folder.

    Raises :class:`UserError`.
    """
    file = Path(path)
    folder: Path | None = file.parent
    if os.path.isdir(file) and str(path) not in packaged():
        from etude.adapters.recipe.starter import starter

        return Source(starter(file).text(), str(path), None)
    if not os.path.isfile(file):
        known = packaged()
        if file.stem not in known or (file.parent != Path() and file.parent.name != "recipes"):
            raise UserError("no such recipe", where=str(path), fix=nearest(file.stem, known))
        file, folder = known[file.stem], None
    try:
        text = file.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        raise UserError("is not a UTF-8 text file", where=str(file), fix="save it as UTF-8") from None
    except OSError as error:
        raise UserError(f"cannot be read: {error.strerror}", where=str(file), fix="check its permissions") from None
    return Source(text, file.name, folder)


class _Loader(yaml.SafeLoader):
    """Refuses keys given twice, of which YAML keeps the last, and keys that YAML does not take for text (``on``, ``1``).

    ``yes`` and ``true`` stay text, for the field to say what it takes, and so does ``1:30``, which YAML 1.1 takes for 90.
    """

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

    def construct_text(self, node: yaml.ScalarNode) -> Any:
        """A scalar as it is written."""
        return self.construct_scalar(node)

    def construct_number(self, node: yaml.ScalarNode) -> Any:
        """A number; one that begins with 0 would be octal."""
        if ":" in node.value:
            return self.construct_text(node)
        if re.fullmatch(r"[-+]?0[0-9_]+", node.value):
            problem = f"{node.value!r} would be octal: leave out the 0 in front, or write it in quotes if it is text"
            raise yaml.constructor.ConstructorError(problem=problem, problem_mark=node.start_mark)
        return self.construct_yaml_float(node) if node.tag.endswith("float") else self.construct_yaml_int(node)


class _TypedLoader(_Loader):
    """Of the command line."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        return {str(key): value for key, value in super().construct_mapping(node, deep).items()}

    def construct_text(self, node: yaml.ScalarNode) -> Any:
        """A scalar as it is written."""
        return Typed(self.construct_scalar(node))


for _name, _construct in {"bool": "text", "str": "text", "int": "number", "float": "number"}.items():
    for _kind in (_Loader, _TypedLoader):
        _kind.add_constructor(f"tag:yaml.org,2002:{_name}", getattr(_kind, f"construct_{_construct}"))


def read_yaml(text: str, where: str, load: Callable[[str], Any] = lambda text: yaml.load(text, _Loader)) -> Any:
    """Parse YAML. Raises :class:`UserError` with the line."""
    try:
        return load(text)
    except Exception as error:  # a tag that does not fit its value (!!int x) escapes as whatever the constructor runs into
        mark = getattr(error, "problem_mark", None)
        line = f":{mark.line + 1}" if mark and "\n" in text else ""
        reason = getattr(error, "problem", None) or next(iter(str(error).splitlines()), type(error).__name__)
        raise UserError(f"cannot be read as YAML: {reason}", where=f"{where}{line}") from None


def _typed(text: str) -> Any:
    """A value of the command line, where ``#`` begins no comment: text without quotes is all of it."""
    loader, whole = _TypedLoader(text), text.strip()
    node = loader.get_single_node()
    if node is None or (isinstance(node, yaml.ScalarNode) and node.style not in ("'", '"') and not whole.startswith("!")):
        if whole != (node.value if node else ""):
            return Typed(whole)
    elif rest := text[node.end_mark.index :].strip():
        raise yaml.constructor.ConstructorError(problem=f"{rest!r} follows the value")
    return loader.construct_document(node) if node else None


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
            section[place] = read_yaml(value, f"override {override!r}", _typed)
            return
        given: Any = section[place] if isinstance(section, list) else section.get(place)
        if given is None:
            section[place] = {}
        elif isinstance(given, str) and parts[: depth + 1] == ["train", "augment"]:
            from etude.adapters.sound.augment import PRESETS

            section[place] = dict(PRESETS[given]) if given in PRESETS else given
        section = section[place]


def _item(section: list[Any], part: str, name: str, override: str) -> int:
    """``part`` as a place in the list ``section``, called ``name``."""
    if part.isdecimal() and int(part) < len(section):
        return int(part)
    items = ", ".join(f"{name}.{place}" for place in range(len(section)))
    what = f"'{name}' is a list of {len(section)}" if section else f"'{name}' is an empty list"
    raise UserError(what, where=f"override {override!r}", fix=f"name one of {items}" if section else f"set {name} as a whole")


def task_of(path: str | Path) -> str:
    """The task of a recipe file, or of a packaged recipe by name. Raises :class:`UserError`."""
    text, where, _ = read_recipe(path)
    return _task(read_yaml(text, where), where)


def _task(raw: Any, where: str) -> str:
    """What a recipe as read from YAML is for, training where it does not say. Raises :class:`UserError` for anything else."""
    if not isinstance(raw, dict):
        return "training"
    if "soundfonts" in raw and "task" not in raw:  # what recipes for pretraining were known by before they named it
        raise UserError("does not say that it is for pretraining", where=where, fix="add 'task: pretraining'")
    task = raw.get("task", "training")
    if task not in tuple(TASKS):
        raise UserError(f"should be {' or '.join(map(repr, TASKS))}", where=f"{where}: task")
    return str(task)


def read_fields(text: str, overrides: Sequence[str], task: str, where: str) -> dict[str, Any]:
    """The fields of a recipe for ``task`` in ``text`` (YAML), with ``overrides``. Raises :class:`UserError` for another one."""
    raw = read_yaml(text, where)
    if not isinstance(raw, dict):
        raise UserError("is not a YAML mapping", where=where, fix=f"start from 'adapt recipes cp {TASKS[task].example}'")
    for override in overrides:
        override_fields(raw, override)
    found = _task(raw, where)
    if found != task:
        words, command, _ = TASKS[found]
        raise UserError(f"is a recipe for {words}", where=where, fix=f"use it with 'adapt {command}'")
    return raw
