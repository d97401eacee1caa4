"""`adapt data check`."""

import json
import re
import shutil

import numpy as np
import pytest
import soundfile
from calls import RATE, adapt, errors, succeed


def test_data_check_describes_a_sound_data_set(toy_root, recipe_file):
    for name in (toy_root / "manifest.csv", recipe_file):
        out = succeed("data", "check", name)
        assert re.search(r"train +6 +0\.4 +\d+ +buzz \d+, tone \d+", out)
        assert out.splitlines()[-1].endswith("no problems found")


def test_a_technique_that_training_never_names(toy_root, tmp_path):
    shutil.copytree(toy_root, tmp_path / "data")
    (tmp_path / "data/test0.csv").write_text("onset_time,offset_time,technique,pitch\n1,2,tune,60\n")
    (line,) = errors("data", "check", tmp_path / "data/manifest.csv")
    assert line.endswith("test0.csv:2: unknown technique 'tune' (did you mean 'tone'?)")


def test_data_check_lists_every_problem_at_once(toy_root, tmp_path):
    root = tmp_path / "data"
    shutil.copytree(toy_root, root)
    rows = ["missing.wav,missing.csv,train", "train1.wav,,train", ",train1.csv,train", "train0.wav,train0.csv,tset"]
    with (root / "manifest.csv").open("a") as file:
        file.write("\n".join(rows) + "\n")
    (root / "train2.wav").write_bytes(b"")
    soundfile.write(root / "train3.wav", np.full(4 * RATE, np.nan, np.float32), RATE, subtype="FLOAT")
    events = ["1,1,tone,60", "2,1,tone,60", "1,99,tone,60", "x,2,tone,60", "1,2,tone,200", "-1,2,tone,60"]
    (root / "train4.csv").write_text("\n".join(["onset_time,offset_time,technique,pitch", *events]) + "\n")
    (root / "train5.csv").write_text("onset_time,offset_time,technique,pitch\n1,2,tone,60\n1.5,2.5,tone,60\n")
    (root / "test1.csv").write_text("onset_time,offset_time\n1,2\n")
    (root / "validation0.csv").unlink()
    soundfile.write(root / "forgotten.wav", np.zeros(100), RATE)
    lines = errors("data", "check", root / "manifest.csv")
    expected = [
        "missing.wav: no such audio file",
        "missing.csv: cannot be read: No such file",
        "manifest.csv:13: names no event file",
        "manifest.csv:14: names no recording",
        r"manifest.csv:15: unknown split 'tset' \(did you mean 'test'\?\)",
        "manifest.csv:15: train0.wav is listed before",
        "train2.wav: cannot be read as audio",
        "train3.wav: holds NaN or infinite samples at 0.00 s",
        "train4.csv:2: event at 1 s has zero length",
        "train4.csv:3: event at 2 s has offset before its onset",
        "train4.csv:4: event 1-99 s is outside the recording of 4.00 s",
        "train4.csv:5: onset_time is 'x', not a number",
        "train4.csv:6: pitch 200 is not a MIDI number",
        "train4.csv:7: onset -1 s is before the recording starts",
        "test1.csv:1: lacks the column 'technique'",
        "validation0.csv: cannot be read: No such file",
    ]
    for pattern in expected:
        assert sum(bool(re.search(pattern, line)) for line in lines) == 1, pattern
    assert len(lines) == len(expected)
    notices = [line for line in adapt("data", "check", root / "manifest.csv")[2].splitlines() if line.startswith("notice")]
    assert any("forgotten.wav: is not listed" in line for line in notices)
    assert any("train5.wav" in line and "overlap" in line for line in notices)


def notices(*arguments):
    code, out, err = adapt("data", "check", *arguments)
    assert code == 0, err
    lines = err.splitlines()
    assert all(line.startswith("notice: ") for line in lines), err
    return out, [line.removeprefix("notice: ") for line in lines]


def test_a_data_set_without_faults_gives_no_notice(toy_root):
    out, lines = notices(toy_root / "manifest.csv")
    assert lines == []
    assert re.search(r"recordings, s +10 +4\.00 +4\.00 +4\.00", out)
    assert re.search(r"events 'buzz', s +\d+ +0\.2\d +0\.3\d +0\.4\d", out)
    assert "sample rates: 16000 Hz; channels: 1\n" in out


def test_what_is_worth_a_look_is_told_and_is_no_hindrance(toy_root, tmp_path):
    root = tmp_path / "data"
    shutil.copytree(toy_root, root)
    rows = (root / "manifest.csv").read_text().replace(",test", ",train").splitlines()
    (root / "manifest.csv").write_text("\n".join(rows) + "\n")
    samples = soundfile.read(root / "train0.wav")[0]
    samples[RATE : 3 * RATE] = 0
    soundfile.write(root / "train0.wav", samples, RATE)
    labels = (root / "train1.csv").read_text()
    (root / "train1.csv").write_text(labels.replace("tone", "tones"))
    out, lines = notices(root / "manifest.csv")
    assert out.splitlines()[-1].endswith("no problems found")
    for start in (
        "split 'test': no recording (",
        "split 'validation': no events of 'tones' (",
        "the techniques 'tone' (",
        f"{root}/train0.wav: ",
    ):
        assert sum(line.startswith(start) for line in lines) == 1, (start, lines)
    assert len(lines) in (4, 5)  # there may be few 'tones'


def test_nothing_is_called_missing_that_a_faulty_file_may_hold(toy_root, tmp_path):
    root = tmp_path / "data"
    shutil.copytree(toy_root, root)
    for name in ("test0.csv", "test1.csv"):
        (root / name).unlink()
    _, _, err = adapt("data", "check", root / "manifest.csv")
    assert [line[:6] for line in err.splitlines()] == ["error:"] * 2


def test_json_holds_everything(toy_root, tmp_path):
    found = json.loads(succeed("data", "check", toy_root / "manifest.csv", "--json"))
    assert found["problems"] == found["notices"] == []
    train, *others = found["splits"]
    assert [row["split"] for row in others] == ["validation", "test"]
    assert (train["recordings"], train["minutes"]) == (6, pytest.approx(0.4))
    notes = train["annotations"]["notes"]
    assert sum(notes["classes"].values()) == notes["records"] > 20
    assert found["statistics"]["seconds"] == {"count": 10, "low": 4.0, "median": 4.0, "high": 4.0}
    assert found["statistics"]["sample_rates"] == {"16000": 10}
    shutil.copytree(toy_root, tmp_path / "data")
    (tmp_path / "data/test0.wav").write_bytes(b"")
    soundfile.write(tmp_path / "data/more.wav", np.zeros(100), RATE)
    code, out, err = adapt("data", "check", tmp_path / "data/manifest.csv", "--json")
    assert code == 2
    found = json.loads(out)
    (problem,) = found["problems"]
    assert set(problem) == {"what", "where", "fix"}
    assert f"error: {problem['where']}: {problem['what']} ({problem['fix']})" in err
    assert [notice["where"] for notice in found["notices"]] == [str(tmp_path / "data/more.wav")]


def test_many_classes_are_counted_rather_than_listed(tmp_path, monkeypatch):
    from etude.cli import contents

    monkeypatch.setattr(contents, "MOST_LISTED", 2)
    rows = ["audio,events,split"]
    for split in ("train", "validation", "test"):
        soundfile.write(tmp_path / f"{split}.wav", np.random.default_rng(len(rows)).normal(0, 0.1, 20 * RATE), RATE)
        events = [f"{at},{at + 0.5},{name},60" for at, name in enumerate(["one", "two", "three"] * 6)]
        (tmp_path / f"{split}.csv").write_text("\n".join(["onset_time,offset_time,technique,pitch", *events]) + "\n")
        rows.append(f"{split}.wav,{split}.csv,{split}")
    (tmp_path / "manifest.csv").write_text("\n".join(rows) + "\n")
    out, lines = notices(tmp_path / "manifest.csv")
    assert lines == []
    assert out.count("3 classes of 6 to 6 each") == 3
    assert "'one'" not in out
