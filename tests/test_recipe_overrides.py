"""Overrides of recipes, and variables of the environment in them."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from small_recipe import TEXT, problems, without

from etude.adapters.errors import UserError
from etude.adapters.recipe.schema import load_recipe, parse_recipe


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


@pytest.mark.parametrize("path", ["/d/my #2 take", "#2", ">", "|", "/d/1:30", "&a b", "/d/#2", "on", "no", "=x", "a  b"])
def test_a_path_on_the_command_line_is_all_of_its_text(path):
    assert parse_recipe(TEXT, [f"data.root={path}"]).data.root == path


@settings(deadline=None, max_examples=300)
@given(st.text(alphabet="ab1 #:&*?|>-,%@`~=.$/", max_size=9))
def test_a_path_is_taken_whole_or_refused(path):
    try:
        recipe = parse_recipe(TEXT, [f"data.root={path}"])
    except UserError:
        return
    assert recipe.data.root.written == path.strip()


def test_what_follows_a_value_in_quotes_or_brackets_is_refused():
    for value in ("'a' # b", "[a] #b", "{a: b} # c"):
        (line,) = problems(f"data.techniques={value}")
        assert line.endswith(f"cannot be read as YAML: '{value[value.index('#') :]}' follows the value")
    assert parse_recipe(TEXT, ["data.techniques=['a # b']"]).data.techniques == ("a # b",)


@pytest.mark.parametrize("written", [True, False])
@pytest.mark.parametrize("value", ["010", "-010", "00", "0_7"])
def test_octal_numbers_are_refused(value, written):
    lines = problems(text=TEXT.replace("epochs: 2", f"epochs: {value}")) if written else problems(f"train.epochs={value}")
    assert lines[0].endswith(f"'{value}' would be octal: leave out the 0 in front, or write it in quotes if it is text")


@pytest.mark.parametrize(
    ("field", "values"),
    [
        ("train.epochs", ["0o10", "1:30", "yes", "on", "true", "1e3"]),
        ("train.lr", ["1:30", "1:30.5", "off", "true"]),
        ("train.patience", ["off", "no", "true"]),
        ("mix.layers", ["[on]", "[1:30]"]),
    ],
)
def test_what_is_no_number_never_becomes_one(field, values):
    for value in values:
        for lines in (problems(f"{field}={value}"), problems(f"{field.split('.')[0]}={{{field.split('.')[1]}: {value}}}")):
            assert any(line.startswith(f"recipe: {field}") and "number" in line for line in lines), (value, lines)


def test_a_number_with_a_remark_is_no_number():
    assert problems("train.epochs=2 #3") == ["recipe: train.epochs: should be a whole number, got '2 #3'"]


def test_words_are_what_their_fields_take():
    recipe = parse_recipe(TEXT, ["data.techniques=[on, off, 1:30, true]", "heads.technique.pitch=off", "train.epochs=1_000"])
    assert recipe.data.techniques == ("on", "off", "1:30", "true")
    assert recipe.heads.technique.pitch is False
    assert recipe.train.epochs == 1000
    for value in ("010", "2024-01-01", "7"):
        assert "in quotes" in problems(f"data.techniques=[{value}]")[0]
    assert parse_recipe(TEXT, ["data.techniques=['010', '7']"]).data.techniques == ("010", "7")


def test_relative_paths_start_from_the_recipe_and_those_given_beside_it_from_here(tmp_path, monkeypatch):
    (tmp_path / "mine" / "notes").mkdir(parents=True)
    (tmp_path / "mine" / "recipe.yaml").write_text(TEXT.replace("somewhere", "notes"))

    def root(recipe, *overrides):
        return load_recipe(recipe, overrides).data.root

    def written(recipe, *overrides):
        return parse_recipe(load_recipe(recipe, overrides).dump()).data.root

    monkeypatch.chdir(tmp_path)
    assert (root("mine/recipe.yaml"), written("mine/recipe.yaml")) == ("mine/notes", "mine/notes")
    assert root("mine/recipe.yaml", "data.root=notes") == "notes"  # as the shell completes it
    (tmp_path / "notes").mkdir()
    assert root("mine/recipe.yaml") == "mine/notes"
    assert root("mine/recipe.yaml", "data={name: manifest, root: notes}") == "notes"
    monkeypatch.chdir(tmp_path / "mine")
    assert (root("recipe.yaml"), written("recipe.yaml")) == ("notes", "notes")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert root(tmp_path / "mine/recipe.yaml") == str(tmp_path / "mine/notes")
    assert written(tmp_path / "mine/recipe.yaml") == "notes"  # where it lies is nobody else's business
    (tmp_path / "mine" / "notes").rmdir()
    assert root(tmp_path / "mine/recipe.yaml") == "notes"


def test_a_dumped_recipe_keeps_variables_and_home(monkeypatch):
    monkeypatch.setenv("MY_MUSIC", "/music")
    text = parse_recipe(TEXT, ["data.root=${MY_MUSIC}/a", "init_from=~/b"]).dump()
    assert "root: ${MY_MUSIC}/a\n" in text
    assert "init_from: ~/b\n" in text
    monkeypatch.setenv("MY_MUSIC", "/other")
    assert parse_recipe(text).data.root == "/other/a"
