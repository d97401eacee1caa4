"""The card of a pretrained backbone against its recipe and its history."""

import re

import pytest
from huggingface_hub import ModelCard

from etude.adapters.backbones._parts.weights import find_licence
from etude.adapters.pretraining.techniques import TECHNIQUES
from etude.adapters.recipe.pretraining import PretrainRecipe
from etude.hub_cards.backbone_card import EFFECTS, render_backbone_card

HISTORY = [
    {"step": 400, "train": {"pitch": 9.0, "onset": 9.0}, "held_out": {"pitch": 1.25, "onset": 0.5}},
    {"step": 800, "train": {"pitch": 9.0, "onset": 9.0}, "held_out": {"pitch": 8.0, "onset": 8.0}},
    {"step": 1200, "train": {"pitch": 9.0, "onset": 9.0}, "held_out": {"pitch": 0.75004, "onset": 0.0625}},
]
RECORDED = {("karo bass", "CC0-1.0"), ("karo bass", "CC-BY-4.0"), ("a|b", "my own")}
RECIPE = {
    "task": "pretraining",
    "name": "toy-1",
    "soundfonts": (
        {"path": "/srv/private/One Two.sf2", "title": "One GM | by Jo", "licence": "mit"},
        {"path": "~/sounds/two.sf3", "title": "Two", "licence": "cc-by-3.0"},
    ),
    "recordings": {"notes": "/home/jo/My Notes/notes.csv", "share": 0.07},
    "licence": "cc-by-4.0",
}
FRONT = {"library_name": "etude", "license": "cc-by-4.0"}


def rendered(recorded=RECORDED, history=HISTORY, instruments=181, **options):
    recipe = PretrainRecipe.model_validate(RECIPE | options)
    return render_backbone_card(recipe, instruments, TECHNIQUES, recorded, 3_720_000, history)


def rows(card, first):
    """The cells below the header that starts with ``first``, of the only such table."""
    (table,) = re.findall(rf"^\| {first} \|.*\n((?:\|.*\n)+)", card, re.MULTILINE)
    line, *body = [[cell.strip() for cell in re.split(r"(?<!\\)\|", row)[1:-1]] for row in table.splitlines()]
    assert set(line) == {"---"}
    assert {len(row) for row in body} <= {len(line)}
    return body


def augmentations(card):
    (line,) = re.findall(r"^- Augmentations: (.*)\.$", card, re.MULTILINE)
    return line.split("; ")


def test_hub_reads_the_front_matter_and_so_do_we(tmp_path):
    data = ModelCard(rendered()).data
    assert {name: getattr(data, name) for name in FRONT} == FRONT
    assert data.model_name == "toy-1"
    assert "hubert" in data.tags
    (tmp_path / "README.md").write_text(rendered())
    assert find_licence(str(tmp_path), None, {}) == "cc-by-4.0"


def test_every_source_is_there_with_its_licence():
    assert rows(rendered(), "source") == [
        ["One GM \\| by Jo", "mit", "SoundFont"],
        ["Two", "cc-by-3.0", "SoundFont"],
        ["a\\|b", "my own", "recorded notes"],
        ["karo bass", "CC-BY-4.0", "recorded notes"],
        ["karo bass", "CC0-1.0", "recorded notes"],
    ]
    assert "Recorded notes make up 7 % of all parts" in rendered()


def test_no_path_of_the_machine_appears():
    for word in ("/srv", "/home", "sounds/", ".sf2", ".sf3", "notes.csv", "My Notes"):
        assert word not in rendered(), word


def test_a_recipe_without_recordings():
    card = rendered(recorded=(), recordings=None)
    assert [row[0] for row in rows(card, "source")] == ["One GM \\| by Jo", "Two"]
    assert "ecorded notes" not in card
    assert ModelCard(card).data.license == "cc-by-4.0"


def test_losses_are_the_first_and_the_last_of_the_history():
    assert rows(rendered(), "target") == [["pitch", "1.250", "0.750"], ["onset", "0.500", "0.062"]]
    assert "| target | after 400 steps | after 1,200 steps |" in rendered()
    assert "| target |" not in rendered(history=[])


@pytest.mark.parametrize("name", ["mixup", "concatenation", "effects"])
@pytest.mark.parametrize("setting", [None, {"probability": 0}])
def test_an_augmentation_that_is_switched_off_is_said_to_be(name, setting):
    on = {"mixup": {"probability": 0.25}, "concatenation": {"probability": 0.125}, "effects": {"probability": 0.75}}
    expected = {key: f"{key} (probability {value['probability']:g})" for key, value in on.items()} | {name: f"no {name}"}
    assert augmentations(rendered(**on | {name: setting})) == list(expected.values())


def test_single_effects_that_are_switched_off_are_said_to_be():
    assert augmentations(rendered(effects={"reverb": 0, "pitch_shift": 0}))[-1] == (
        "effects (probability 0.3, no pitch shift, no reverb)"
    )
    fields = PretrainRecipe.model_validate(RECIPE).effects.model_dump()
    assert set(fields) - {"probability", "noise_db"} == set(EFFECTS)


def test_targets_are_those_left_in_with_their_states():
    targets = {"spectrum": {"weight": 3.0, "layer": 0}, "context": {"layer": 2}, "pitch": None, "technique": None}
    targets |= {"timbre": {"weight": 0.5, "layer": 3}, "motion": {}}
    (line,) = re.findall(r"^- Targets.*: (.*)\.$", rendered(targets=targets), re.MULTILINE)
    expected = ["instrument (state 4, weight 1)", "onset (state 4, weight 1)"]
    expected += ["spectrum (state 0, weight 3)", "context (state 2, weight 1)"]
    expected += ["timbre (state 3, weight 0.5)", "motion (state 4, weight 1)"]
    assert line == ", ".join(expected)
    assert not re.search("timbre|motion|context", rendered()), "unless asked for"


@pytest.mark.parametrize(
    ("parts", "words"),
    [((1.0,), "one instrument at once"), ((0.5, 0.5), "up to 2 instruments"), ((0.0, 1.0, 0.0), "up to 2 instruments")],
)
def test_numbers_are_those_of_the_recipe(parts, words):
    card = rendered(clips={"seconds": 1.5, "parts": parts, "plain": 0.4}, train={"steps": 4800, "batch_size": 16})
    assert words in card
    assert "181 instruments are told apart" in card
    assert "4,800 steps of 16 clips, 32 hours" in card, "4800 * 16 * 1.5 / 3600"
    assert "(24000 Hz in, 75 states of\n256 values per second out, 4 blocks, 3.7 million parameters)" in card
    assert "with a probability of 0.6 with a\ntechnique" in card
    assert "{name: mert, weights: toy-1}" in card


def test_hostile_titles_stay_text():
    soundfonts = ({"path": "a.sf2", "title": "{{ 1 + 1 }}\n---\n{% raw %}", "licence": "mit"},)
    card = rendered(soundfonts=soundfonts)
    assert ["{{ 1 + 1 }} --- {% raw %}", "mit", "SoundFont"] in rows(card, "source")
    assert ModelCard(card).data.library_name == "etude"
