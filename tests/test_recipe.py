"""Recipes: every field is checked, every problem is told at once with its place and a remedy, nothing else ever escapes."""

import copy
import os
import re

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from etude.adapters import registry
from etude.adapters.errors import UserError
from etude.adapters.recipe.reading import is_for_pretraining
from etude.adapters.recipe.schema import load_recipe, parse_recipe
from etude.recipes import packaged

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


FOR_TRAINING = [name for name, path in packaged().items() if not is_for_pretraining(yaml.safe_load(path.read_text()))]


@pytest.mark.parametrize("name", FOR_TRAINING)
def test_packaged_recipes_load_and_survive_a_round_trip(name, tmp_path, monkeypatch):
    for variable in re.findall(r"\$\{(\w+)\}", packaged()[name].read_text()):
        monkeypatch.setenv(variable, str(tmp_path))
    recipe = load_recipe(name)
    assert recipe.name == name
    assert parse_recipe(recipe.dump()) == recipe
    assert load_recipe(packaged()[name]) == recipe
    assert load_recipe(f"recipes/{name}.yaml") == recipe
    metric_head = recipe.train.metric.split(".")[0]
    assert metric_head in type(recipe.heads).model_fields


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("name: x\nsoundfonts: [{path: a.sf2}]", True),
        ("soundfonts:", True),
        (TEXT, False),
        ("- soundfonts", False),
        ("soundfonts", False),
        ("", False),
    ],
)
def test_soundfonts_make_a_recipe_one_for_pretraining(text, expected):
    assert is_for_pretraining(yaml.safe_load(text)) is expected
    if expected:
        assert problems(text=text) == ["recipe: is a recipe for pretraining a backbone (use it with 'adapt pretrain')"]


def test_the_packaged_recipes_for_pretraining_are_known():
    assert set(packaged()) - set(FOR_TRAINING) == {"nano"}


def test_dump_holds_every_default():
    dumped = yaml.safe_load(parse_recipe(TEXT).dump())
    assert dumped["method"] == {
        **{"name": "lora", "variant": "lora", "rank": 8, "alpha": 8.0, "dropout": 0.0},
        **{"sites": ["attn.q", "attn.v"], "blocks": "all"},
    }
    assert dumped["mix"] == {"layers": [0, 2]}
    assert dumped["heads"]["technique"]["hidden"] == 16
    assert dumped["heads"]["technique"]["pitch_range"] is None
    assert dumped["train"]["epochs"] == 2


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("trian.lr=1", "recipe: trian: unknown key 'trian' (did you mean 'train'?)"),
        ("data.rot=x", "recipe: data.rot: unknown key 'rot' (did you mean 'root'?)"),
        ("backbone.wieghts=x", "recipe: backbone.wieghts: unknown key 'wieghts' (did you mean 'weights'?)"),
        ("method.rnak=4", "recipe: method.rnak: unknown key 'rnak' (did you mean 'rank'?)"),
        ("mix.layer=all", "recipe: mix.layer: unknown key 'layer' (did you mean 'layers'?)"),
        ("heads.technique.hiden=3", "recipe: heads.technique.hiden: unknown key 'hiden' (did you mean 'hidden'?)"),
        ("train.precison=fp32", "recipe: train.precison: unknown key 'precison' (did you mean 'precision'?)"),
        ("mix.zzz=1", "recipe: mix.zzz: unknown key 'zzz' (known: layers)"),
        ("data.name=manifst", "recipe: data.name: unknown dataset 'manifst' (did you mean 'manifest'?)"),
        ("backbone.name=wisper", "recipe: backbone.name: unknown backbone 'wisper' (did you mean 'whisper'?)"),
        ("method.name=lroa", "recipe: method.name: unknown method 'lroa' (did you mean 'lora'?)"),
        ("heads.tecnique.hidden=3", "recipe: heads: unknown head 'tecnique' (did you mean 'technique'?)"),
        ("heads.__init__={}", "recipe: heads: unknown head '__init__'"),
        ("heads.model_config={}", "recipe: heads: unknown head 'model_config'"),
        (r'heads={"a\nb": {}}', r"recipe: heads: unknown head 'a\nb'"),
        (r'train={"a\nb": 1}', r"recipe: train.a\nb: unknown key 'a\nb'"),
        (r'data.name="a\nb"', r"recipe: data.name: unknown dataset 'a\nb'"),
        (r'train={"\ud800": 1}', "recipe: train: should be text"),
    ],
)
def test_unknown_names_get_the_nearest_known_one(override, message):
    (line,) = problems(override)
    assert line.startswith(message)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("train.lr=fast", "train.lr: should be a number, got 'fast'"),
        ("train.lr=", "train.lr: is empty, should be a number"),
        ("train.lr=0", "train.lr: should be greater than 0, got 0"),
        ("train.lr=.inf", "train.lr: should be a finite number, got inf"),
        ("backbone.window=.nan", "backbone.window: should be a finite number, got nan"),
        ("train.epochs=1.5", "train.epochs: should be a whole number, got 1.5"),
        ("train.epochs=2024-01-31", "train.epochs: should be a whole number, got datetime.date(2024, 1, 31)"),
        ("train.precision=fp8", "train.precision: should be 'auto', 'fp32', 'bf16' or 'fp16', got 'fp8'"),
        ("train.metric=3", "train.metric: should be text, got 3 (write it in quotes)"),
        ("seed=4294967296", "seed: should be less than 4294967296, got 4294967296"),
        ("name=a b", "name: 'a b' may hold letters, digits, '.', '_' and '-' only, the first a letter or digit"),
        ("name=../x", "name: '../x' may hold letters, digits, '.', '_' and '-' only, the first a letter or digit"),
        ("method.sites=attn.q", "method.sites: should be a list, got 'attn.q'"),
        ("method.sites=[]", "method.sites: should hold at least 1, got []"),
        ("method.blocks=first 2", "method.blocks: should be 'all' or 'last N' or a list, got 'first 2'"),
        ("method.blocks=last 0", "method.blocks: should be 'all' or 'last N' or a list, got 'last 0'"),
        ("method.blocks=[0, x]", "method.blocks.1: should be a whole number, got 'x'"),
        ("mix.layers=last", "mix.layers: should be 'all' or a list, got 'last'"),
        ("mix.layers=[]", "mix.layers: should be 'all' or hold at least 1, got []"),
        ("mix.layers=[1, [2]]", "mix.layers.1: should be a whole number, got [2]"),
        ("heads.technique.weight=0", "heads.technique.weight: should be greater than 0, got 0"),
        ("heads.technique.weight=-1", "heads.technique.weight: should be greater than 0, got -1"),
        ("heads.technique.pitch=maybe", "heads.technique.pitch: should be true or false, got 'maybe'"),
        ("heads.technique.pitch_range=[40]", "heads.technique.pitch_range: is too short, got [40]"),
        ("heads.technique.pitch_range=[1,2,3]", "heads.technique.pitch_range: should hold at most 2, got [1, 2, 3]"),
        ("heads.technique.pitch_range=[60,128]", "heads.technique.pitch_range.1: should be less than or equal to 127, got 128"),
        ("heads.technique.pitch_range=[70,60]", "heads.technique: pitch_range must be (lowest, highest)"),
        ("heads.technique={onset: false, decoder: fusion}", "heads.technique: decoder 'fusion' needs 'onset: true'"),
        ("data.labels={a: 1}", "data.labels.a: should be text, got 1 (write it in quotes)"),
        ("data.labels=[a]", "data.labels: should be a section of 'key: value' lines, got ['a']"),
        ("data.name=3", "data.name: should be text, got 3 (write it in quotes)"),
        ("data.name=!!binary bWFuaWZlc3Q=", "data.name: should be text, got b'manifest'"),
        ("data.name=[manifest]", "data.name: should be text, got ['manifest']"),
    ],
)
def test_wrong_values_are_told_in_plain_words(override, message):
    assert problems(override) == [f"recipe: {message}"]


@pytest.mark.parametrize("section", ["data", "backbone", "method", "mix", "heads", "train", "heads.technique"])
@pytest.mark.parametrize("value", ["[1, 2]", "text", "3", "null"])
def test_sections_that_are_no_sections(section, value):
    if (section, value) == ("heads.technique", "null"):
        assert parse_recipe(TEXT, [f"{section}={value}"]).heads.technique.hidden == 512
        return
    if (section, value) == ("data", "[1, 2]"):
        expected = [f"recipe: data.{i}: should be a section of 'key: value' lines, got {i + 1}" for i in range(2)]
        assert problems("data=[1, 2]") == expected
        return
    (line,) = problems(f"{section}={value}")
    assert line.startswith(f"recipe: {section}: ")
    assert "should be a section of 'key: value' lines" in line
    assert ("is empty" if value == "null" else f"got {yaml.safe_load(value)!r}") in line


@pytest.mark.parametrize(
    ("path", "fix"),
    [
        (("name",), "add 'name:'"),
        (("data",), f"one of {', '.join(registry.names('datasets'))}"),
        (("backbone",), f"one of {', '.join(registry.names('backbones'))}"),
        (("method", "name"), f"one of {', '.join(registry.names('methods'))}"),
        (("heads",), f"one of {', '.join(registry.names('heads'))}"),
        (("data", "root"), "add 'root:'"),
        (("backbone", "weights"), "add 'weights:'"),
    ],
)
def test_missing_fields(path, fix):
    assert problems(text=without(*path)) == [f"recipe: {'.'.join(path)}: is missing ({fix})"]


def test_no_head():
    assert problems("heads={}") == ["recipe: heads: names no head (known: mapped_tags, tags, technique)"]


def test_all_problems_at_once_each_with_its_path():
    wrong = {
        **{"nmae": "x", "data.name": "manifst", "backbone.window": -1, "method.rank": "x", "mix.layers": 0},
        **{"heads.technique.hidden": 0, "train.lr": -1, "train.epoch": 3},
    }
    lines = problems(*(f"{path}={value}" for path, value in wrong.items()), "heads.tecnique.x=1")
    assert sorted(line.split(": ")[1] for line in lines) == sorted([*wrong, "heads"])


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


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "recipe: is not a YAML mapping (start from 'adapt recipes cp demo')"),
        ("- a\n- b", "recipe: is not a YAML mapping (start from 'adapt recipes cp demo')"),
        ("just text", "recipe: is not a YAML mapping (start from 'adapt recipes cp demo')"),
        ("name: toy\ndata: [", "recipe:2: cannot be read as YAML: expected the node content, but found '<stream end>'"),
        ("name: toy\n\tdata: x", "recipe:2: cannot be read as YAML: found character '\\t' that cannot start any token"),
        ("name: a: b\n", "recipe:1: cannot be read as YAML: mapping values are not allowed here"),
        ("name: \x07", "recipe: cannot be read as YAML: unacceptable character #x0007: special characters are not allowed"),
        ("name: 2024-99-99", "recipe: cannot be read as YAML: month must be in 1..12"),
        ("name: !!bool x", "recipe: cannot be read as YAML: 'x'"),
        ("name: !!python/name:os.system x", "recipe: cannot be read as YAML: could not determine a constructor for the tag"),
        ("[" * 500, "recipe: cannot be read as YAML: maximum recursion depth exceeded"),
        ("a: 1\ntrain: {}\ntrain: {}", "recipe:3: cannot be read as YAML: the key 'train' is given twice"),
        ("train:\n  lr: 1\n  lr: 2\n", "recipe:3: cannot be read as YAML: the key 'lr' is given twice"),
        ("data:\n  labels: {on: x}", "recipe:2: cannot be read as YAML: the key 'on' needs quotes"),
        ("? [a]\n: b", "recipe:1: cannot be read as YAML: found unhashable key"),
    ],
)
def test_text_that_is_no_recipe(text, message):
    (line,) = problems(text=text)
    assert line.startswith(message)


def test_merge_keys_are_plain_yaml():
    text = TEXT.replace("train:\n", "train:\n  <<: {epochs: 9, lr: 0.5}\n")
    recipe = parse_recipe(text)
    assert (recipe.train.epochs, recipe.train.lr) == (2, 0.5)


def test_values_that_aliases_or_digits_make_endless_are_told_briefly():
    doubled = "".join(f"{chr(98 + i)}: &{chr(98 + i)} [{f'*{chr(97 + i)}, ' * 9}]\n" for i in range(9))
    text = f"{TEXT}a: &a [{'x, ' * 9}]\n" + doubled + "seed: *j\n"
    lines = problems(text=text)
    assert len(lines) == 11  # the ten anchors are unknown keys
    assert all(len(line) < 500 for line in lines)
    assert problems("seed=0x" + "f" * 9999) == [
        "recipe: seed: should be less than 4294967296, got a number of thousands of digits"
    ]
    (line,) = problems("heads=&h {technique: *h}")
    assert line.startswith("recipe: heads.technique.technique: unknown key 'technique'")


def test_files_that_cannot_be_read(tmp_path, monkeypatch):
    def message(path):
        with pytest.raises(UserError) as caught:
            load_recipe(path)
        (problem,) = caught.value.problems
        return str(problem)

    latin = tmp_path / "latin.yaml"
    latin.write_bytes("name: t\xf6y".encode("latin-1"))
    assert message(latin) == f"{latin}: is not a UTF-8 text file (save it as UTF-8)"
    monkeypatch.chdir(tmp_path)
    assert message("guzeng") == "guzeng: no such recipe (did you mean 'guzheng'?)"
    assert message("recipes/guzeng.yaml") == "recipes/guzeng.yaml: no such recipe (did you mean 'guzheng'?)"
    assert message("mine/demo.yaml").startswith("mine/demo.yaml: no such recipe")
    assert "no such recipe" in message("x" * 5000)
    assert "no such recipe" in message("a\0b")
    assert "no such recipe" in message(tmp_path)
    if os.geteuid():
        secret = tmp_path / "secret.yaml"
        secret.write_text(TEXT)
        secret.chmod(0)
        assert message(secret) == f"{secret}: cannot be read: Permission denied (check its permissions)"


def test_a_file_in_reach_goes_before_a_packaged_recipe(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "demo").mkdir()
    assert load_recipe("demo").name == "demo"
    (tmp_path / "demo").rmdir()
    (tmp_path / "demo").write_text("\ufeff" + TEXT, encoding="utf-8")
    assert load_recipe("demo").name == "toy"
    (tmp_path / "demo").write_text(TEXT + "sed: 1\n")
    with pytest.raises(UserError, match=r"^demo: sed: unknown key"):
        load_recipe("demo")


# What fuzzing may give: a recipe, or problems that print on one line each.


def recipe_or_user_error(text, overrides=()):
    try:
        recipe = parse_recipe(text, overrides)
    except UserError as error:
        lines = [str(problem) for problem in error.problems]
    else:
        assert parse_recipe(recipe.dump()) == recipe
        return
    assert lines
    assert [line for line in lines if not line.isprintable()] == []


FUZZ = settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.too_slow])
SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=8),
    st.dates(),
    st.binary(max_size=4),
    st.sampled_from(["all", "last 1", "lora", "whisper", "manifest", "random:tiny", "1e-3", "${UNSET_VARIABLE}", "~"]),
)
KEYS = st.one_of(
    st.sampled_from(["name", "data", "backbone", "method", "mix", "heads", "train", "technique", "layers", "seed", "weights"]),
    st.sampled_from(["hidden", "pitch_range", "decoder", "blocks", "sites", "labels", "lr", "window", "root", "techniques"]),
    st.text(max_size=5),
    st.integers(),
    st.none(),
)
TREES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3), max_leaves=8
)


def merge(base, other):
    if not (isinstance(base, dict) and isinstance(other, dict)):
        return other
    return {**base, **{key: merge(base.get(key), value) for key, value in other.items()}}


@FUZZ
@given(st.text() | st.text(alphabet=" \n\t:-[]{}&*!|>'\"%@`#,?<=ab1.~"))
def test_any_text(text):
    recipe_or_user_error(text)


@FUZZ
@given(st.dictionaries(KEYS, TREES, max_size=4))
def test_any_structure_in_a_valid_recipe(tree):
    recipe_or_user_error(yaml.safe_dump(merge(VALID, tree), allow_unicode=True))


@FUZZ
@given(st.lists(st.tuples(st.lists(KEYS, min_size=1, max_size=3), TREES), max_size=3), st.text(max_size=20))
def test_any_overrides(overrides, text):
    written = [
        f"{'.'.join(map(str, keys))}={yaml.safe_dump(value, default_flow_style=True, width=10_000)}"
        for keys, value in overrides
    ]
    recipe_or_user_error(TEXT, written)
    recipe_or_user_error(TEXT, [text, f"train.metric={text}"])
