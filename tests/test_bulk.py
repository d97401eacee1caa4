"""predict_files: one prediction at a time, in order, whatever becomes of the others."""

import itertools

import numpy as np
import pytest
import soundfile

import etude
from etude.adapters.errors import UserError
from etude.adapters.inference.session import Session


def test_predictions_come_in_order_and_bad_files_stop_nobody(folders, take, tmp_path):
    session = Session(folders("lora", method="lora"), folders("dora", method="dora"))
    (tmp_path / "noise.wav").write_bytes(b"no audio at all")
    files = [take(0.5), tmp_path / "missing.wav", take(2.2), tmp_path / "noise.wav", str(take(1.5))]
    found = list(etude.predict_files(session, files))
    assert [str(item.path) for item in found] == list(map(str, files))
    assert [bool(item.problems) for item in found] == [False, True, False, True, False]
    assert "no such audio file" in str(found[1].problems[0])
    assert found[1].annotations == {}
    for item, seconds in zip(found[::2], (0.5, 2.2, 1.5), strict=True):
        assert item.annotations == session.all(item.path)
        assert item.duration == seconds


def test_two_processes_find_what_one_does(folders, take, tmp_path):
    adapter = folders("lora", method="lora")
    (tmp_path / "noise.wav").write_bytes(b"no audio at all")
    files = [take(0.5), tmp_path / "noise.wav", take(2.2), take(1.5)]
    alone = list(etude.predict_files(adapter, files))
    assert list(etude.predict_files(adapter, files, jobs=2)) == alone
    assert [len(item.problems) for item in alone] == [0, 1, 0, 0]
    assert sum(len(item.annotations["lora"].notes) for item in alone if not item.problems) > 0
    with pytest.raises(UserError, match="a session cannot be shared by processes"):
        etude.predict_files(Session(adapter), files, jobs=2)


def test_nothing_is_computed_before_it_is_asked_for(folders, tmp_path):
    """Endless lists are fine: memory does not grow with their length."""
    asked = []

    def endless():
        for number in itertools.count():
            path = tmp_path / f"{number}.wav"
            soundfile.write(path, 0.1 * np.ones(4000, np.float32), 8000)
            asked.append(number)
            yield path

    predictions = etude.predict_files(folders("lora", method="lora"), endless())
    assert asked == []
    assert next(predictions).path.name == "0.wav"
    assert next(predictions).path.name == "1.wav"
    assert asked == [0, 1]


def test_evaluate_gives_what_the_command_prints(toy_recipe, tmp_path):
    """Scores of a trained adapter on its own test split, and on a manifest."""
    adapter = etude.train(toy_recipe("train.epochs=1"), tmp_path / "run", tmp_path / "adapter")
    result = etude.evaluate(adapter)
    assert (result.split, result.recordings) == ("test", 2)
    stored = result.adapter.metrics["test"]["technique"]
    assert result.scores["technique"]["event_macro_f1"] == stored["event_macro_f1"]
    root = toy_recipe().data.root
    again = etude.evaluate(str(adapter), f"{root}/manifest.csv", split="validation", cache=False)
    assert again.recordings == 2
    assert again.scores["technique"].keys() == result.scores["technique"].keys()
