"""Recipes: the packaged ones, what they are for, and text and files that are none."""

import os
import re

import pytest
import yaml
from small_recipe import TEXT, problems

from etude.adapters.errors import UserError
from etude.adapters.recipe.reading import task_of
from etude.adapters.recipe.schema import load_recipe, parse_recipe
from etude.recipes import packaged

FOR_TRAINING = [name for name in packaged() if task_of(name) == "training"]


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
        ("task: pretraining", "pretraining"),
        ("name: x\ntask: pretraining\nheads: {}", "pretraining"),
        ("task: training\nsoundfonts: []", "training"),
        (TEXT, "training"),
        ("- task: pretraining", "training"),
        ("pretraining", "training"),
        ("", "training"),
    ],
)
def test_a_recipe_says_what_it_is_for_and_without_a_word_it_is_training(text, expected, tmp_path):
    (tmp_path / "recipe.yaml").write_text(text)
    assert task_of(tmp_path / "recipe.yaml") == expected
    if expected == "pretraining":
        assert problems(text=text) == ["recipe: is a recipe for pretraining a backbone (use it with 'adapt pretrain')"]


def test_the_task_is_a_field_like_any_other():
    assert parse_recipe(f"task: training\n{TEXT}") == parse_recipe(TEXT), "recipes stored before there was a task"
    assert yaml.safe_load(parse_recipe(TEXT).dump())["task"] == "training"
    assert problems("task=pretraining") == ["recipe: is a recipe for pretraining a backbone (use it with 'adapt pretrain')"]


@pytest.mark.parametrize("task", ["pretrain", "", "3", "[training]", "{a: {}}", '"a\\nb"'])
def test_an_unknown_task(task, tmp_path):
    line = "should be 'training' or 'pretraining'"
    assert problems(text=f"task: {task}\n{TEXT}") == [f"recipe: task: {line}"]
    (tmp_path / "mine.yaml").write_text(f"name: x\ntask: {task}")
    with pytest.raises(UserError, match=f"^mine.yaml: task: {line}$"):
        task_of(tmp_path / "mine.yaml")


def test_a_recipe_for_pretraining_from_before_there_was_a_task():
    line = "recipe: does not say that it is for pretraining (add 'task: pretraining')"
    assert problems(text="name: x\nsoundfonts: [{path: a.sf2}]") == [line]


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
        ("name: !!int x", "recipe: cannot be read as YAML: invalid literal for int() with base 10: 'x'"),
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
    assert message(tmp_path).startswith(f"{tmp_path}: holds no recording")
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
