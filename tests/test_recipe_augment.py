"""Augmentation in recipes: sections, and the word that stands for one."""

import pytest
import yaml
from small_recipe import TEXT, VALID, problems

from etude.adapters.recipe.schema import TrainConfig, parse_recipe
from etude.adapters.sound.augment import PRESETS, AugmentConfig

ROOMS = AugmentConfig(
    **{"views": 3, "equalizer_db": 5, "tilt_db": (-3, 3), "lowpass_hz": (2500, 11000), "noise_db": (20, 60)},
    **{"room_seconds": (0.1, 0.6), "room_db": (-25, -6), "probability": 0.5},
)
WRITTEN = yaml.safe_dump(VALID | {"train": {"augment": "rooms"}})


def augmentation(*overrides, text=TEXT):
    """What augments after ``overrides`` of ``text``; the recipe as it is dumped says the same."""
    recipe = parse_recipe(text, overrides)
    assert parse_recipe(recipe.dump()) == recipe
    return recipe.train.augment


def test_a_word_stands_for_the_fields_of_views_from_other_rooms():
    assert augmentation("train.augment=rooms") == ROOMS
    assert augmentation(text=WRITTEN) == ROOMS
    dumped = yaml.safe_load(parse_recipe(WRITTEN).dump())["train"]["augment"]
    assert dumped["room_seconds"] == [0.1, 0.6]
    assert set(dumped) == set(AugmentConfig.model_fields)


def test_fields_are_set_beside_those_of_the_word():
    for given in (["train.augment=rooms", "train.augment.views=5"], ["train.augment.views=5"]):
        assert augmentation(*given, text=WRITTEN) == ROOMS.model_copy(update={"views": 5})
    assert augmentation("train.augment.lowpass_hz=null", text=WRITTEN) == ROOMS.model_copy(update={"lowpass_hz": None})
    assert augmentation(text=WRITTEN) == ROOMS, "the word keeps its meaning"


@pytest.mark.parametrize("word", ["room", "Rooms", "off"])
def test_another_word_is_refused(word):
    assert problems(f"train.augment={word}") == [
        f"recipe: train.augment: should be a section of 'key: value' lines or the word rooms, got '{word}'"
    ]
    assert problems(f"train.augment={word}", "train.augment.views=5") == [
        "override 'train.augment.views=5': 'augment' is not a section"
    ]
    assert problems(f"data.root={word}", "data.root.views=5")
    assert problems("data.root=rooms", "data.root.views=5") == ["override 'data.root.views=5': 'root' is not a section"]


def test_faults_beside_the_word_are_told():
    assert problems("train.augment.room_db=null", text=WRITTEN) == [
        "recipe: train.augment: a room needs room_seconds and room_db: name both, or neither"
    ]
    assert problems("train.augment.reverb=1", text=WRITTEN)[0].startswith("recipe: train.augment.reverb: unknown key 'reverb'")


def test_nothing_is_augmented_unless_a_recipe_says_so():
    assert TrainConfig().augment == AugmentConfig() == augmentation()


def test_the_reference_says_what_the_word_stands_for():
    for field, value in PRESETS["rooms"].items():
        assert f"``{field}: {value}``" in AugmentConfig.__doc__
