"""Makes the page ``recipe-reference.md`` of the models that read recipes, for everything that is registered.

What is installed from elsewhere is described as well. A field's meaning is the docstring below it.
"""

from __future__ import annotations

import ast
import inspect
import json
import textwrap
from collections.abc import Iterator, Mapping
from itertools import pairwise
from typing import Any, cast, get_args

from _roles import plain
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import to_jsonable_python

from etude.adapters import registry
from etude.adapters.recipe.pretraining import PretrainRecipe
from etude.adapters.recipe.schema import RecipeOf

SECTIONS = {
    "datasets": ("data", "`data: {name: ...}`, or a list of them."),
    "backbones": ("backbone", "`backbone: {name: ...}`."),
    "methods": ("method", "`method: {name: ...}`."),
    "heads": ("heads", "`heads: {NAME: {...}}`, one or more by their names."),
    "regularizers": ("regularizers", "`regularizers: [{name: ...}]`, a list that may be empty, as it is by default."),
}
"""Folder of the registry -> the section of a recipe in which its things are named, and how."""
LIMITS = {"exclusiveMinimum": ">", "minimum": "≥", "exclusiveMaximum": "<", "maximum": "≤"}
WORDS = {"boolean": "true or false", "string": "text", "null": "null", "integer": "integer", "number": "number"}
TABLE = "| field | type | default | meaning |\n| --- | --- | --- | --- |\n"
INTRODUCTION = """# Recipe reference

A recipe is one YAML file. Unknown fields are errors, and all problems are reported at once. Any field can be set on the command
line: `adapt train recipe.yaml train.lr=1e-3`. `adapt recipes check recipe.yaml` prints a recipe with every default filled in.
In paths, `~` and `${NAME}` of the environment are replaced; a relative path starts from the folder of the recipe if it leads to
something there, else from the current folder. This page is made of the code that reads recipes.
"""


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """MkDocs asks for further pages here."""
    files.append(File.generated(config, "recipe-reference.md", content=reference()))
    return files


def reference() -> str:
    """The page."""
    parts = [INTRODUCTION, "## The recipe\n", table(RecipeOf)]
    for folder, (section, how) in SECTIONS.items():
        things = registry.usable(folder)
        parts.append(f"## {section}\n\n{how}{'' if things else ' None is installed.'}\n")
        for name, thing in things.items():
            about = inspect.getdoc(inspect.getmodule(thing)) or ""
            parts += [f"### {name}\n", plain(about) + "\n", table(thing.Config)]
    return "\n".join([*parts, "## Pretraining recipes\n", "For `adapt pretrain`.\n", table(PretrainRecipe)])


def table(model: type[BaseModel]) -> str:
    """What ``model`` says of itself, and a table of its fields; then the same of every section within it."""
    return "\n".join(
        (f"**{', '.join(f'`{path}`' for path in paths)}** " if paths else "") + _one_table(section)
        for section, paths in _sections(model, "", {model: []}).items()
    )


def _sections(model: type[BaseModel], prefix: str, found: dict[type[BaseModel], list[str]]) -> dict[type[BaseModel], list[str]]:
    """The models of all sections within ``model``, and where each is used."""
    for name, field in model.model_fields.items():
        for inner in _models_in(field.annotation):
            found.setdefault(inner, []).append(prefix + name)
            _sections(inner, f"{prefix}{name}.", found)
    return found


def _models_in(annotation: Any) -> Iterator[type[BaseModel]]:
    """The models that an annotation names, in unions and lists as well; not those that stand for a choice."""
    if inspect.isclass(annotation) and issubclass(annotation, BaseModel):
        yield annotation
    for part in get_args(annotation):
        yield from _models_in(part)


def _one_table(model: type[BaseModel]) -> str:
    schema, meanings, rows = model.model_json_schema(), docstrings(model), []
    for name, field in model.model_fields.items():
        default = "required" if field.is_required() else _default(field)
        cells = (
            f"`{name}`",
            words(schema["properties"][name], schema.get("$defs", {})),
            default,
            plain(meanings.get(name, "")),
        )
        rows.append(f"| {' | '.join(' '.join(cell.split()).replace('|', chr(92) + '|') for cell in cells)} |\n")
    return f"{plain(inspect.getdoc(model) or '')}\n\n{TABLE}{''.join(rows)}"


def _default(field: FieldInfo) -> str:
    value = field.get_default(call_default_factory=True)
    if isinstance(value, BaseModel):
        return ""  # its own table has them
    return f"`{json.dumps(to_jsonable_python(value), ensure_ascii=False)}`"


def docstrings(model: type[BaseModel]) -> dict[str, str]:
    """The string below each field of ``model``, its own or inherited."""
    found: dict[str, str] = {}
    for owner in reversed(model.__mro__):
        if owner is BaseModel or not issubclass(owner, BaseModel):
            continue
        [definition] = ast.parse(textwrap.dedent(inspect.getsource(owner))).body
        for statement, below in pairwise(cast(ast.ClassDef, definition).body):
            match statement, below:
                case ast.AnnAssign(target=ast.Name(id=name)), ast.Expr(value=ast.Constant(value=str(text))):
                    found[name] = text
    return found


def words(schema: Mapping[str, Any], models: Mapping[str, Any]) -> str:
    """What a field of this JSON schema takes; ``models`` are its definitions."""
    if "$ref" in schema:
        return words(models[schema["$ref"].rpartition("/")[2]], models)
    if "anyOf" in schema:
        return " or ".join(dict.fromkeys(words(one, models) for one in schema["anyOf"]))
    if "enum" in schema or "const" in schema:
        return " or ".join(f"`{value}`" for value in schema.get("enum", [schema.get("const")]))
    match schema.get("type"):
        case "array" if "prefixItems" in schema:
            return f"[{', '.join(words(item, models) for item in schema['prefixItems'])}]"
        case "array":
            return f"list of {words(schema['items'], models)}"
        case "object" if isinstance(schema.get("additionalProperties"), dict):
            keys = words(schema["propertyNames"], models) if "propertyNames" in schema else "text"
            return f"{keys}: {words(schema['additionalProperties'], models)}"
        case "object":
            return "section"
        case kind:
            limits = [f"{sign} {schema[name]:,}" for name, sign in LIMITS.items() if name in schema]
            return " ".join([WORDS.get(kind, "anything"), " and ".join(limits)]).strip()
