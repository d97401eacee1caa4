import re
from pathlib import Path

import pytest
import yaml
from huggingface_hub import ModelCard

from etude.adapters.artifact import BackboneRef, Manifest
from etude.hub_cards.card import adapter_licence, render_card, terms

RECIPE = """# train it with: adapt train /srv/private/recipe.yaml
name: flute
backbone: {name: mert, weights: "/home/jo/My Models/MERT-v1-95M"}
dataset: {name: manifest, root: ~/music/phrases, extra: ['C:\\\\Users\\\\jo\\\\data', 'file:///home/jo/x', "see /home/jo/y/z"]}
train: {lr: 0.001}
"""
SCORES = {
    "frame_micro_f1": 0.71234,
    "frame_macro_f1": 0.5,
    "event_micro_f1": 0.25,
    "pitch_frame_f1": 0.875,
    "per_class": {
        "vibrato": {"frame": {"f1": 0.9, "ref": 120, "est": 130, "tp": 100}, "event": {"f1": 0.8, "ref": 12}},
        "tremolo|flutter": {"frame": {"f1": float("nan"), "ref": 0}},
    },
    "before": {"frame_micro_f1": 0.625},
}


def manifest(base_id="m-a-p/MERT-v1-95M", base_licence="cc-by-nc-4.0", data_licence="CC-BY-NC-ND-4.0", **changes):
    backbone = BackboneRef(
        name="mert",
        id=base_id,
        revision="abc123",
        fingerprint="ab12" * 16,
        licence=base_licence,
        sample_rate=24000,
        frame_rate=75.0,
        hidden_size=768,
        num_blocks=12,
    )
    fields = {
        "name": "flute",
        "created": "2026-01-02",
        "etude_version": "0.1.0",
        "versions": {"torch": "2.6", "python": "3.11"},
        "seed": 3,
        "backbone": backbone,
        "method": "lora",
        "labels": {"technique": ("vibrato", "tremolo|flutter")},
        "dataset": "phrases",
        "data_licence": data_licence,
        "trainable": {"backbone": 294912, "mix": 13, "heads": 1000},
        "metric": "technique.frame_macro_f1",
    }
    return Manifest(**{**fields, **changes})


def rendered(metrics=None, recipe=RECIPE, **changes):
    return render_card(manifest(**changes), {} if metrics is None else metrics, recipe)


def rows(card, first):
    """The cells of the Markdown table whose header starts with ``first``."""
    lines = card.splitlines()
    start = next(i for i, line in enumerate(lines) if line.startswith(f"| {first} |"))
    table = []
    for line in lines[start:]:
        if not line.startswith("|"):
            break
        table.append([cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]])
    assert set(table[1]) == {"---"}
    assert {len(row) for row in table} == {len(table[0])}
    return [table[0], *table[2:]]


def test_hub_reads_the_front_matter():
    data = ModelCard(rendered({"validation": {"technique": SCORES}, "test": {"technique": SCORES}})).data
    assert (data.license, data.license_name) == ("other", "cc-by-nc-4.0-and-cc-by-nc-nd-4.0")
    assert data.library_name == "etude"
    assert data.base_model == "m-a-p/MERT-v1-95M"
    assert data.base_model_relation == "adapter"
    assert set(data.tags) == {"music-information-retrieval", "playing-technique-detection", "lora"}
    assert data.metrics == ["f1"]
    found = {(r.dataset_split, r.metric_name): r.metric_value for r in data.eval_results}
    assert len(found) == 6
    assert found["test", "Frame F1, micro (technique)"] == 0.7123
    assert found["validation", "Event F1, micro (technique)"] == 0.25


@pytest.mark.parametrize("metrics", [{}, {"validation": {}}, {"test": None}, {"validation": {"technique": {}}}])
def test_without_scores_nothing_is_invented(metrics):
    card = rendered(metrics)
    assert ModelCard(card).data.eval_results is None
    assert "No scores were recorded." in card
    assert "F1" not in card


def test_two_heads_keep_their_scores_apart():
    metrics = {"test": {"technique": {"frame_micro_f1": 0.25}, "tags": {"f1_micro": 0.75}}}
    results = ModelCard(rendered(metrics, labels={"technique": ("a",), "tags": ("b",)})).data.eval_results
    assert sorted(r.metric_value for r in results) == [0.25, 0.75]
    assert len({r.metric_name for r in results}) == 2


def test_score_table():
    card = rendered({"validation": {"technique": SCORES}, "test": {"technique": {"frame_micro_f1": 0.4}}})
    assert rows(card, "Score") == [
        ["Score", "validation, before post-processing", "validation", "test"],
        ["Frame F1, micro", "0.625", "0.712", "0.400"],
        ["Frame F1, macro", "-", "0.500", "-"],
        ["Event F1, micro", "-", "0.250", "-"],
        ["pitch frame F1", "-", "0.875", "-"],
    ]


def test_class_table_has_counts_and_escapes_bars():
    card = rendered({"validation": {"technique": SCORES}})
    assert rows(card, "Class") == [
        ["Class", "frame F1", "frames annotated", "frames found", "event F1", "events annotated"],
        ["vibrato", "0.900", "120", "130", "0.800", "12"],
        ["tremolo\\|flutter", "-", "0", "-", "-", "-"],
    ]


def test_what_is_right_of_the_notes_is_a_table_of_the_tested_split():
    row = {"f1": 0.96, "precision": 1.0, "recall": 0.92, "ref": 25, "est": 23, "tp": 23}
    scores = {"frame_micro_f1": 0.5, "note_onset_f1": 0.96, "note_all_f1": 0.5, "note_all_right": 0.625, "notes": 7}
    scores["parts"] = {"note_onset": row, "note_pitch": {**row, "ref": 0}, "note_all": {**row, "f1": 0.5, "right": 0.625}}
    card = rendered({"validation": {"technique": SCORES}, "test": {"technique": scores}})
    assert "What is right, test split, head `technique`" in card
    assert rows(card, "right") == [
        ["right", "F1", "precision", "recall", "annotated", "found", "correct", "of matched"],
        ["onset", "0.960", "1.000", "0.920", "25", "23", "23", "-"],
        ["with all of it", "0.500", "1.000", "0.920", "25", "23", "23", "0.625"],
    ]
    assert {row[0] for row in rows(card, "Score")[1:]} >= {"Frame F1, micro", "notes"}
    assert not any(row[0].startswith("note ") for row in rows(card, "Score"))
    assert "What is right" not in rendered({"test": {"technique": SCORES}})  # as of adapters that were made before


def test_classes_that_are_never_annotated_are_told_with_their_false_alarms():
    scores = {"frame_micro_f1": 0.5, "absent": {"muted|x": 3, "slap": 1}}
    line = "Head `technique`: never annotated here, but found: muted\\|x 3 times, slap once."
    assert line in rendered({"test": {"technique": scores}}).splitlines()
    assert "never annotated" not in rendered({"test": {"technique": {**scores, "absent": {}}}})


def test_validation_scores_are_called_what_they_are():
    assert "There is no test score" in rendered({"validation": {"technique": SCORES}})
    assert "There is no test score" not in rendered({"validation": {"technique": SCORES}, "test": {"technique": SCORES}})


@pytest.mark.parametrize("base_id", ["/home/jo/My Models/MERT-v1-95M", "~/models/MERT-v1-95M", "C:\\models\\MERT-v1-95M"])
def test_no_absolute_path(base_id):
    card = rendered(
        {"test": {"technique": SCORES}}, base_id=base_id, dataset="/srv/my phrases", data_licence="see /srv/a/LICENCE"
    )
    for leak in ("/home", "/srv", "~/", "C:", "Users", "jo/", "My Models", "music/phrases"):
        assert leak not in card
    assert "`MERT-v1-95M`" in card
    assert ModelCard(card).data.base_model is None
    shown = yaml.safe_load(re.search(r"```yaml\n(.*?)```", card, re.S)[1])
    assert shown["backbone"] == {"name": "mert", "weights": "MERT-v1-95M"}
    assert shown["dataset"]["root"] == "phrases"
    assert shown["dataset"]["extra"] == ["data", "x", "see z"]
    assert shown["train"] == {"lr": 0.001}


def test_a_relative_folder_is_not_a_hub_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("models/mert").mkdir(parents=True)
    card = rendered(base_id="models/mert")
    assert ModelCard(card).data.base_model is None
    assert "models/mert" not in card


def test_web_addresses_stay():
    assert "(https://huggingface.co/m-a-p/MERT-v1-95M)" in rendered()
    assert "https://example.org/a/b" in rendered(data_licence="see https://example.org/a/b")


def test_recipe_is_shown_whole():
    recipe = "backbone: {name: mert, weights: m-a-p/MERT-v1-95M}\nheads:\n  technique: {pitch: true, labels: [滑音]}\n"
    shown = re.search(r"```yaml\n(.*?)```", rendered(recipe=recipe), re.S)[1]
    assert yaml.safe_load(shown) == yaml.safe_load(recipe)
    assert "滑音" in shown


@pytest.mark.parametrize(
    ("base", "data", "expected"),
    [
        ("Apache-2.0", "CC-BY-4.0", {"license": "cc-by-4.0"}),
        ("MIT", "CC0-1.0", {"license": "mit"}),
        ("MIT", "mit", {"license": "mit"}),
        ("CC-BY-NC-4.0", "CC-BY-NC-4.0", {"license": "other", "license_name": "cc-by-nc-4.0"}),
        ("apache-2.0", "CC BY-SA 4.0", {"license": "other", "license_name": "apache-2.0-and-cc-by-sa-4.0"}),
        ("none (random weights)", "CC0-1.0", {"license": "cc0-1.0"}),
        ("MIT", "CC-BY-4.0 AND CC-BY-NC-4.0", {"license": "other", "license_name": "mit-and-cc-by-4.0-and-cc-by-nc-4.0"}),
        ("MIT", "unknown: ask them", {"license": "other", "license_name": "mit-and-unknown"}),
        ("apache-2.0", "", {"license": "other", "license_name": "apache-2.0-and-unknown"}),
    ],
)
def test_licence_of_the_adapter(base, data, expected):
    assert adapter_licence(base, data) == expected
    assert ModelCard(rendered(base_licence=base, data_licence=data)).data.license == expected["license"]


@pytest.mark.parametrize(
    ("licence", "words"),
    [
        ("CC-BY-NC-ND-4.0", ["no commercial use", "adapted material may not be shared", "credit"]),
        ("CC-BY-SA-4.0", ["same licence", "credit"]),
        ("Research only, non-commercial", ["no commercial use"]),
        ("mit", ["licence notice"]),
        ("CC0-1.0", ["no conditions"]),
        ("none (random weights)", ["no conditions"]),
        ("GPL-2.0", ["derived software"]),
        ("CC-BY-4.0 AND CC-BY-NC-4.0", ["no commercial use", "credit"]),
        ("my own", ["not known"]),
    ],
)
def test_terms_in_plain_words(licence, words):
    text = "; ".join(terms(licence))
    assert all(word in text for word in words)
    assert len(terms(licence)) == len(words)


def test_hostile_names_stay_text():
    card = rendered({}, name='x: "y"\n---\n{{ 1 + 1 }}', labels={"technique": ("{% raw %}", "b")})
    assert ModelCard(card).data.library_name == "etude"
    assert "{% raw %}" in card
