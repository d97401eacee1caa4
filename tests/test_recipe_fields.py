"""Every field of a recipe is checked, every problem is told at once with its place and a remedy."""

import pytest
import yaml
from small_recipe import TEXT, problems, without

from etude.adapters import registry
from etude.adapters.recipe.schema import parse_recipe


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
        ("heads.technique.pitch=maybe", "heads.technique.pitch: should be true or false or 'tracker', got 'maybe'"),
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
