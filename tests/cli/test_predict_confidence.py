"""--min-confidence: every result lacks what is less sure, and nothing else."""

import csv
import json

import numpy as np
import pretty_midi
import pytest
from calls import adapt, errors, files_below, succeed

import etude
from etude.adapters.annotations import Annotation, Layer
from etude.adapters.annotations.notes import Note
from etude.adapters.annotations.tags import Tag
from etude.adapters.errors import UserError
from etude.adapters.inference import plot
from etude.adapters.inference.confident import confident
from etude.adapters.inference.session import Session


@pytest.fixture(scope="module")
def both(folders):
    return folders("both", method="lora", heads=["tags", "technique"])


@pytest.fixture
def recording(take):
    return take("in/a.wav", 2.5)


def test_all_results_lack_the_less_confident_records(both, recording, tmp_path, monkeypatch):
    drawn = []
    monkeypatch.setattr(plot, "plot_pages", lambda path, annotation, target, labels: drawn.append(annotation))
    whole = Session(both)(recording)
    least = float(np.median([note.confidence for note in whole.notes]))
    notes = [note for note in whole.notes if note.confidence >= least]
    tags = [tag for tag in whole.tags if tag.confidence >= least]
    assert 0 < len(notes) < len(whole.notes)
    formats = [option for name in ("csv", "midi", "json", "jams") for option in ("--to", name)]
    options = ["--min-confidence", least, "--plot", "--sort-into", tmp_path / "sorted", "-o", tmp_path / "out"]
    succeed("predict", both, recording, *formats, *options)
    document = json.loads((tmp_path / "out/a.json").read_text())
    assert [note["onset"] for note in document["notes"]] == [note.onset for note in notes]
    assert [tag["tag"] for tag in document["tags"]] == [tag.name for tag in tags]
    with (tmp_path / "out/a.csv").open() as file:
        assert len(list(csv.DictReader(file))) == len(notes)
    song = pretty_midi.PrettyMIDI(str(tmp_path / "out/a.mid"))
    assert sum(len(track.notes) for track in song.instruments) == len(notes)
    assert [list(annotation.notes) for annotation in drawn] == [notes]
    folders = {name.split("/")[0] for name in files_below(tmp_path / "sorted")}
    assert folders == {name.replace("/", "_") for name in ({n.technique for n in notes} | {t.name for t in tags})}
    printed = json.loads(succeed("predict", both, recording, "--json", "--min-confidence", least))
    assert printed["notes"] == document["notes"]
    (found,) = etude.predict_files(both, [recording], min_confidence=least)
    assert (list(found.annotations["both"].notes), list(found.annotations["both"].tags)) == (notes, tags)
    (everything,) = etude.predict_files(both, [recording])
    assert everything.annotations["both"] == whole


def test_exactly_as_confident_stays_and_so_does_what_states_no_confidence():
    tags = Layer((Tag("a", 0.4), Tag("b", 0.5), Tag("c")), unjudged=("d",))
    annotation = Annotation(notes=[Note(0, 1, confidence=0.49), Note(1, 2)], tags=tags)
    found = confident(annotation, 0.5)
    assert list(found.notes) == [Note(1, 2)]
    assert found.tags == Layer((Tag("b", 0.5), Tag("c")), unjudged=("d",))
    assert confident(annotation, 0.0) == annotation
    empty = confident(Annotation(tags=[Tag("a", 0.4)]), 1.0)
    assert "tags" in empty  # somebody looked
    assert not empty.tags


@pytest.mark.parametrize("value", ["-0.1", "1.5", "nan"])
def test_what_is_no_probability_is_refused_at_once(both, recording, tmp_path, value):
    (line,) = errors("predict", both, recording, "--min-confidence", value, "-o", tmp_path / "out")
    assert line == f"--min-confidence: {value} is not a confidence (use a number from 0 to 1)"
    assert not (tmp_path / "out").exists()
    with pytest.raises(UserError, match="is not a confidence"):
        etude.predict_files(both, [recording], min_confidence=float(value))


def test_who_is_sure_of_nothing_is_sorted_as_unlabelled(both, recording, tmp_path, monkeypatch):
    monkeypatch.setattr(Session, "all", lambda self, path: {"both": Annotation(tags=[Tag("cel", 0.9)])})
    assert adapt("predict", both, recording, "--min-confidence", "0.95", "--sort-into", tmp_path / "sorted")[0] == 0
    assert files_below(tmp_path / "sorted") == ["unlabelled/a.wav"]
