"""A recipe to change, and the problems that a change gives."""

import copy

import pytest
import yaml

from etude.adapters.errors import UserError
from etude.adapters.recipe.schema import parse_recipe

VALID = {
    "name": "toy",
    "data": {"name": "manifest", "root": "somewhere"},
    "backbone": {"name": "whisper", "weights": "random:tiny"},
    "method": {"name": "lora"},
    "mix": {"layers": [0, 2]},
    "heads": {"technique": {"hidden": 16}},
    "train": {"epochs": 2},
}
TEXT = yaml.safe_dump(VALID)


def problems(*overrides, text=TEXT):
    """The lines of the error that ``overrides`` of ``text`` give."""
    with pytest.raises(UserError) as caught:
        parse_recipe(text, overrides)
    assert all(str(problem).isprintable() for problem in caught.value.problems)
    return str(caught.value).split("\n")


def without(*path):
    changed = copy.deepcopy(VALID)
    section = changed
    for key in path[:-1]:
        section = section[key]
    del section[path[-1]]
    return yaml.safe_dump(changed)
