"""What fuzzing may give: a recipe, or problems that print on one line each."""

import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from small_recipe import TEXT, VALID

from etude.adapters.errors import UserError
from etude.adapters.recipe.schema import parse_recipe


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
