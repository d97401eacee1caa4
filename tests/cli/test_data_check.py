"""`adapt data check`."""

import re
import shutil

import numpy as np
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
