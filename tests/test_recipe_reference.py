"""The recipe reference says of every field of everything registered what its model says."""

import importlib.util

import pytest
from pages import DOCS

from etude.adapters import registry
from etude.adapters.recipe.pretraining import PretrainRecipe
from etude.adapters.recipe.schema import RecipeOf


@pytest.fixture(scope="module")
def reference():
    """The module that makes the recipe reference."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(DOCS))
        spec = importlib.util.spec_from_file_location("recipe_reference", DOCS / "_recipe_reference.py")
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        yield module


def section(page, name):
    """What stands below the heading ``name`` of the third level."""
    return page.split(f"\n### {name}\n", 1)[1].split("\n### ", 1)[0].split("\n## ", 1)[0]


def test_the_reference_names_every_field(reference, plugged):
    page = reference.reference()
    for folder in reference.SECTIONS:
        for name in registry.names(folder):
            own = section(page, name)
            fields = registry.find(folder, name).Config.model_fields
            assert [field for field in fields if f"| `{field}` |" not in own] == [], name
    fixed, pretraining = page.split("\n## data\n")[0], page.split("\n## Pretraining recipes\n")[1]
    for model, part in ((RecipeOf, fixed), (PretrainRecipe, pretraining)):
        assert [field for field in model.model_fields if f"| `{field}` |" not in part] == []
    assert "**`train.augment`**" in fixed
    assert "| `lowpass_hz` |" in fixed


def test_a_row_of_the_reference_says_type_default_and_meaning(reference):
    page = reference.reference()
    assert '| `blocks` | text or list of integer | `"all"` | `all`, `last N`, or a list of block indices from 0. |' in page
    assert "| `overlap` | number ≥ 0 | `1.0` | Seconds by which windows overlap in evaluation and prediction;" in page
    assert "| `root` | text | required |" in section(page, "gtzan")
    assert "1,000 clips of 30 s" in section(page, "gtzan")
    assert "| `weight` | number > 0 | `1.0` | Factor of the weights of its recordings" in section(page, "gtzan")  # inherited
    assert ":class:" not in page
    assert "``" not in page.replace("```", "")


@pytest.mark.parametrize(
    ("schema", "words"),
    [
        ({"type": "integer", "minimum": 0, "exclusiveMaximum": 2**32}, "integer ≥ 0 and < 4,294,967,296"),
        ({"anyOf": [{"enum": ["a", "b"]}, {"type": "null"}]}, "`a` or `b` or null"),
        ({"type": "array", "prefixItems": [{"type": "number"}, {"type": "integer"}]}, "[number, integer]"),
        ({"type": "array", "items": {"$ref": "#/$defs/Part"}}, "list of section"),
        ({"type": "object", "additionalProperties": {"type": "boolean"}}, "text: true or false"),
        ({}, "anything"),
    ],
)
def test_types_are_said_in_words(reference, schema, words):
    assert reference.words(schema, {"Part": {"type": "object", "properties": {}}}) == words
