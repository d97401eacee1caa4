"""How far training reaches, by hand; and adapters that meet noise, silence and next to nothing."""

import csv

import numpy as np
import pytest
import soundfile
from calls import errors, files_below, succeed

import etude
from etude.adapters.annotations import Layer
from etude.adapters.annotations.notes import Note
from etude.adapters.errors import UserError
from etude.adapters.heads._parts.complete_notes import note_scores
from etude.adapters.heads._parts.panel import Panel
from etude.adapters.heads._parts.panel_head import check_tells_unknown
from etude.adapters.heads._parts.reach import BEYOND, QUANTILE, Reach, is_unknown
from etude.adapters.heads._parts.scoring import event_scores
from etude.adapters.recipe.schema import parse_recipe
from etude.adapters.sound.descriptors import BANDS

RATE = 16_000


def nearest(one, examples, classes):
    """Root mean square distance to the nearest class mean in deviations of ``examples``, by loops."""
    found = []
    for label in sorted(set(classes)):
        centre = [np.mean([x[i] for x, own in zip(examples, classes, strict=True) if own == label]) for i in range(len(one))]
        gaps = [((one[i] - centre[i]) / np.std([x[i] for x in examples])) ** 2 for i in range(len(one))]
        found.append(np.sqrt(np.mean(gaps)))
    return min(found)


def test_near_is_what_is_within_the_margin_of_the_usual_held_out_distance():
    rng = np.random.default_rng(0)
    classes, fold = np.arange(40) % 2, np.arange(40) % 5
    examples = rng.normal([[0, 5, 0]], [[1, 2, 3]], (40, 3)) + 4 * classes[:, None]
    reach = Reach({"a": 1.5}, {"a": 3}, 3, {})  # of the third class there is no example
    reach.fit({"a": examples}, classes, fold)
    distances = [nearest(x, examples[fold != f], classes[fold != f]) for x, f in zip(examples, fold, strict=True)]
    assert reach.statistics["a"] == pytest.approx(np.quantile(distances, QUANTILE))
    others = rng.normal(0, 6, (200, 3))
    far = np.array([nearest(x, examples, classes) > 1.5 * reach.statistics["a"] for x in others])
    assert 20 < far.sum() < 180
    assert (reach.known({"a": others}) == np.where(far, BEYOND, 1)).all()
    again = Reach({"a": 1.5}, {"a": 3}, 3, reach.statistics)
    again.load_state_dict(reach.state_dict())
    assert (again.known({"a": others}) == reach.known({"a": others})).all()
    assert not any(parameter.requires_grad for parameter in reach.parameters())


def test_one_recording_reaches_as_far_as_itself_and_an_older_panel_everywhere():
    examples, classes = np.random.default_rng(0).normal(size=(20, 2)), np.arange(20) % 2
    alone = Reach({"a": 1.5}, {"a": 2}, 2, {})
    alone.fit({"a": examples}, classes, np.zeros(20, np.intp))
    assert alone.statistics["a"] == pytest.approx(np.quantile([nearest(x, examples, classes) for x in examples], QUANTILE))
    older = Reach({"a": 1.5}, {"a": 2}, 2, None)
    assert older.known({"a": 1e6 * examples}).tolist() == [1.0] * 20
    assert older.state_dict() == {}


def test_unknown_is_what_leaves_most_to_no_class():
    rows = np.array([[1.0, 0.0], [0.5, 0.5], [BEYOND, 0.0], [BEYOND / 2, BEYOND / 2], [0.0, 0.0]], np.float32)
    assert is_unknown(rows).tolist() == [False, False, True, True, False]  # silence is not unknown, but nothing


def test_an_unknown_note_is_a_miss_and_no_false_alarm_of_a_class():
    truth, found = Layer((Note(1, 2, 60, "a"),)), Layer((Note(1, 2, 60, "unknown"),))
    scores = event_scores([truth], [found], ("a", "b"))
    assert scores["per_class"]["a"]["event"]["ref"] == 1
    assert {row["event"]["est"] for row in scores["per_class"].values()} == {0}
    notes = note_scores([truth], [found], ("a", "b"), pitched=False)
    assert (notes["note_onset_f1"], notes["note_technique_f1"]) == (1.0, 0.0)
    clashing = event_scores([truth], [found], ("a", "unknown"))
    assert clashing["per_class"]["unknown"]["event"]["est"] == 1  # a class of that name is one


def played(kind, pitch, rng):
    """Plucked and bowed notes of a second."""
    times = np.arange(RATE) / RATE
    tones = sum(np.sin(2 * np.pi * k * 440 * 2 ** ((pitch - 69) / 12) * times) / k**2 for k in range(1, 8))
    shape = np.exp(-4 * times) if kind == "plucked" else np.minimum(1, 4 * times) * np.minimum(1, 10 * (1 - times))
    return (0.3 * shape * tones + rng.normal(0, 1e-4, RATE)).astype(np.float32)


RECIPE = """
name: strings
data: {{name: notes, notes: "{notes}", label: technique}}
backbone: {{name: mert, weights: "random:tiny", window: 1.0}}
method: {{name: heads_only}}
heads:
  tags: {{activation: softmax, size: panel}}
  technique: {{judge: notes, pitch: false, hidden: 8}}
train: {{epochs: 1, metric: tags.f1_macro, leave_one_group_out: false}}
"""


@pytest.fixture(scope="module")
def strings(tmp_path_factory):
    """The folder of an adapter that judges notes and clips, and that of its notes."""
    root, rng = tmp_path_factory.mktemp("strings"), np.random.default_rng(0)
    with (root / "notes.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["path", "source", "instrument", "technique", "midi", "split", "licence"])
        for kind in ("plucked", "bowed"):
            for pitch in range(48, 60):
                name, split = f"{kind}{pitch}.wav", ("train", "train", "validation", "test")[pitch % 4]
                soundfile.write(root / name, played(kind, pitch, rng), RATE)
                writer.writerow([name, "s", "i", kind, pitch, split, "CC0"])
    recipe = parse_recipe(RECIPE.format(notes=root / "notes.csv"))
    return etude.train(recipe, root / "run", root / "adapter"), root


def eager(session):
    """Finds a note wherever there may be one."""
    for head in session.heads().values():
        if "onset" in head.thresholds:
            head.thresholds = {"onset": 0.0, "activity": 0.0}
    return session


NOISE = np.random.default_rng(1).normal(0, 0.1, 2 * RATE).astype(np.float32)


@pytest.mark.parametrize("level", [1.0, 0.01])
def test_noise_is_nothing_that_it_is_sure_of(strings, level):
    found = eager(etude.Session(strings[0]))(level * NOISE, rate=RATE)
    assert found.notes
    assert all(record.confidence < 0.5 for record in (*found.notes, *found.tags))
    named = eager(etude.Session(strings[0], unknown=True))(level * NOISE, rate=RATE)
    assert [(tag.name, tag.confidence) for tag in named.tags] == [("unknown", None)]
    assert {(note.technique, note.confidence) for note in named.notes} == {("unknown", None)}
    assert [note.onset for note in named.notes] == [note.onset for note in found.notes]


@pytest.mark.parametrize("unknown", [False, True])
@pytest.mark.parametrize("samples", [np.zeros(2 * RATE), np.zeros(3), np.array([0.5, -0.5, 0.5]), NOISE[:3]], ids=len)
def test_silence_and_three_samples_have_no_label_or_little_confidence(strings, samples, unknown):
    found = eager(etude.Session(strings[0], unknown=unknown))(samples.astype(np.float32), rate=RATE)
    assert all(record.confidence is None or record.confidence < 0.5 for record in (*found.notes, *found.tags))
    if not samples.any():
        assert [*found.notes, *found.tags] == []


def test_what_is_like_training_is_named_as_surely_as_without_unknown(strings):
    sessions = [eager(etude.Session(strings[0], unknown=unknown)) for unknown in (False, True)]
    for kind in ("plucked", "bowed"):
        for pitch in (51, 55):
            without, found = (session(strings[1] / f"{kind}{pitch}.wav") for session in sessions)
            assert found == without
            assert [tag.name for tag in found.tags] == [kind]
            assert found.tags[0].confidence > 0.5
            assert found.notes[0].technique is not None


def test_unknown_is_a_label_of_every_result(strings, tmp_path):
    soundfile.write(tmp_path / "noise.wav", NOISE, RATE)
    out, folder = tmp_path / "out", tmp_path / "sorted"
    options = ["--unknown", "--min-confidence", "0.5", "--sort-into", folder, "-o", out]
    formats = [word for name in ("csv", "json", "textgrid") for word in ("--to", name)]
    succeed("predict", strings[0], tmp_path / "noise.wav", strings[1] / "bowed51.wav", *formats, *options)
    table = (out / "tags.csv").read_text().splitlines()
    assert table[1] == f"{tmp_path / 'noise.wav'},unknown,"
    assert table[2].split(",")[1] == "bowed"
    assert "unknown/noise.wav" in files_below(folder)
    assert "bowed/bowed51.wav" in files_below(folder)
    again = ["predict", strings[0], tmp_path / "noise.wav", *formats, *options, "--skip-existing"]
    assert "1 of 1 recordings have their results" in succeed(*again)
    (found, _) = etude.predict_files(strings[0], [tmp_path / "noise.wav", strings[1] / "bowed51.wav"], unknown=True)
    assert [tag.name for tag in found.annotations["strings"].tags] == ["unknown"]


def test_who_cannot_tell_says_so_in_a_line(folders, take, tmp_path):
    adapter = folders("both", method="lora", heads=["tags", "technique"])
    lines = errors("predict", adapter, take(0.5), "--unknown", "-o", tmp_path)
    assert len(lines) == 2
    assert all("does not know what is unlike its training data" in line and str(adapter) in line for line in lines)
    panel = Panel({}, 2, 4, 4)
    with pytest.raises(UserError, match="does not know"):
        check_tells_unknown(panel, ("a", "b"))
    panel.statistics["kinds"] = ["beginning"]
    panel.reach.statistics = {"beginning": 1.0, "spectrum": 1.0}
    check_tells_unknown(panel, ("a", "b"))
    with pytest.raises(UserError, match="class called 'unknown' of its own"):
        check_tells_unknown(panel, ("a", "unknown"))
    panel.prior = Panel({"kinds": ["beginning"]}, 2, 4, 4)  # made before
    with pytest.raises(UserError, match="does not know"):
        check_tells_unknown(panel, ("a", "b"))


def test_what_a_prior_knows_is_known():
    """A few new recordings do not reach as far as those that a panel starts from."""
    rng, classes = np.random.default_rng(0), np.arange(40) % 2

    def segments(place, count):
        widths = {("2", "beginning"): 4, ("3", "beginning"): 4, ("2", "course"): 16, ("3", "course"): 16}
        widths["log_mel", "spectrum"] = 5 * BANDS
        return [
            {expert: rng.normal(place, 1, width).astype(np.float32) for expert, width in widths.items()} for _ in range(count)
        ]

    older = Panel({}, 2, 4, 4)
    older.fit(segments(20, 40), classes, [str(i) for i in classes], [""] * 40)
    panel = Panel({}, 2, 4, 4)
    panel.start_from(older.statistics, older.state_dict())
    heard = segments(20, 2) + segments(0, 2) + segments(-20, 2)
    near = [[1.0] * 2, [BEYOND] * 2]
    assert panel.known(heard).tolist() == near[0] + near[1] + near[1]
    assert panel.tells_unknown
    panel.fit(segments(0, 40), classes, [str(i) for i in classes], [""] * 40)
    assert panel.known(heard).tolist() == near[0] + near[0] + near[1]
    again = Panel(panel.statistics, 2, 4, 4)
    again.load_state_dict(panel.state_dict())
    assert again.known(heard).tolist() == panel.known(heard).tolist()
