"""Overrides of recipes, and variables of the environment in them."""

import pytest
from small_recipe import TEXT, problems, without

from etude.adapters.recipe.schema import parse_recipe


def test_overrides_are_yaml_values_of_the_fields_types():
    recipe = parse_recipe(
        TEXT,
        [
            *("train.lr=1e-3", "method.blocks=last 1", "method.sites=[attn.k, ffn.in]", "mix.layers=all"),
            *("heads.technique.pitch=false", "data.labels.a=b", "train.patience=null", "data.root=a=b"),
        ],
    )
    assert recipe.train.lr == 0.001
    assert isinstance(recipe.train.lr, float)
    assert (recipe.method.blocks, recipe.method.sites) == ("last 1", ("attn.k", "ffn.in"))
    assert recipe.mix.layers == "all"
    assert recipe.heads.technique.pitch is False
    assert recipe.data.labels == {"a": "b"}
    assert recipe.train.patience is None
    assert recipe.data.root == "a=b"
    assert parse_recipe(recipe.dump()) == recipe


def test_overrides_reach_into_lists():
    assert parse_recipe(TEXT, ["mix.layers.1=1"]).mix.layers == (0, 1)


def test_overrides_reach_into_empty_and_absent_sections():
    text = without("train").replace("hidden: 16", "") + "train:"
    recipe = parse_recipe(text, ["train.epochs=7", "heads.technique.hidden=8"])
    assert (recipe.train.epochs, recipe.heads.technique.hidden) == (7, 8)
    assert parse_recipe(without("train"), ["train.epochs=7"]).train.epochs == 7


@pytest.mark.parametrize("override", ["x", "=1", "a..b=1", ".a=1", "a.=1", "", "."])
def test_what_is_not_an_override(override):
    assert problems(override) == [f"'{override}' is not an override (write section.field=value, e.g. train.lr=1e-3)"]


def test_overrides_that_cannot_be_applied():
    assert problems("data.root.x=3") == ["override 'data.root.x=3': 'root' is not a section"]
    assert problems("method.sites=[]", "method.sites.0=attn.q") == [
        "override 'method.sites.0=attn.q': 'method.sites' is an empty list (set method.sites as a whole)"
    ]
    (line,) = problems("train.lr={a")
    assert line.startswith("override 'train.lr={a': cannot be read as YAML: ")


def test_environment_variables_and_home_in_paths(monkeypatch):
    monkeypatch.setenv("MY_MUSIC", "/music")
    monkeypatch.setenv("HOME", "/home/me")
    monkeypatch.delenv("NOT_SET", raising=False)
    assert parse_recipe(TEXT, ["data.root=${MY_MUSIC}/a"]).data.root == "/music/a"
    assert parse_recipe(TEXT, ["data.root=~/a"]).data.root == "/home/me/a"
    assert problems("data.root=${NOT_SET}/a", "backbone.weights=${MY_MUSIC}/${NOT_SET}") == [
        f"recipe: {field}: the environment variable NOT_SET is not set; set it, or override this field on the command line"
        for field in ("data.root", "backbone.weights")
    ]
