"""`adapt convert` between all formats, with what is lost and all that is wrong."""

import json
from pathlib import Path

import jams
import numpy as np
import pytest
import soundfile
from typer.testing import CliRunner

from etude.adapters.annotations import Annotation
from etude.adapters.annotations.notes import Note
from etude.adapters.annotations.tags import Tag
from etude.adapters.formats import export, format_of, read_annotation, readable, writable
from etude.cli.app import app

CASES = Path(__file__).parent / "fixtures" / "annotations"
ANNOTATION = Annotation(
    notes=[Note(0.5, 1, 60, "a", "violin", 0.5), Note(1, 2, None, "b")], tags=[Tag("cello", 0.5), Tag("slow")]
)


def convert(*arguments, code=0):
    run = CliRunner().invoke(app, ["convert", *map(str, arguments)])
    assert run.exit_code == code, run.output
    return run.stdout.splitlines(), run.stderr.splitlines()


def notes(path):
    read = read_annotation(path)
    assert not read.problems
    return [(round(n.onset, 3), round(n.offset, 3), n.technique, round(n.pitch)) for n in read.annotation.notes]


@pytest.fixture
def source(tmp_path):
    path = tmp_path / "source.json"
    export(ANNOTATION, path, "json", duration=3.0, source=Path("a.wav"))
    return path


@pytest.mark.parametrize("name", [name for name in writable() if name in readable()])
def test_every_format_becomes_every_other(tmp_path, name):
    target = tmp_path / f"out{format_of(name).suffix}"
    for path in sorted(CASES.iterdir()):
        out, _ = convert(path, target, "--force")
        assert out == [f"{path}: 6 events -> {target}"]
        assert notes(target) == notes(path)


def test_the_length_is_that_of_the_recording_beside_it(tmp_path, source):
    convert(source, tmp_path / "a.jams")
    assert jams.load(str(tmp_path / "a.jams")).file_metadata.duration == 2
    soundfile.write(tmp_path / "source.flac", np.zeros(8000 * 5), 8000)
    convert(source, tmp_path / "b.jams")
    document = jams.load(str(tmp_path / "b.jams"))
    assert (document.file_metadata.duration, document.file_metadata.title) == (5, "source")
    soundfile.write(tmp_path / "source.flac", np.zeros(8000), 8000)
    _, errors = convert(source, tmp_path / "c.jams", code=2)
    assert errors == [f"error: {source}, notes[1]: event 1-2 s is outside the recording of 1.00 s (correct its times)"]
    assert not (tmp_path / "c.jams").exists()


def test_what_is_lost_is_told(tmp_path, source):
    assert convert(source, tmp_path / "a.eaf")[1] == [
        f"notice: {tmp_path / 'a.eaf'}: elan does not hold the confidence of 1 of 2 tags"
    ]
    assert convert(source, tmp_path / "a.txt")[1] == [
        f"notice: {tmp_path / 'a.txt'}: audacity does not hold {what}"
        for what in ("the instrument of 1 of 2 events", "the confidence of 1 of 2 events", "the confidence of 1 of 2 tags")
    ]
    assert convert(source, tmp_path / "a.csv")[1] == [f"notice: {tmp_path / 'a.csv'}: csv does not hold 2 of 2 tags"]
    assert convert(source, tmp_path / "b.json")[1] == []
    _, errors = convert(source, tmp_path / "a.mid", code=2)
    assert "1 of 2 notes have no pitch for MIDI" in errors[0]
    assert not (tmp_path / "a.mid").exists()


def test_tiers_and_columns_are_named(tmp_path):
    (tmp_path / "a.csv").write_text("onset_time,offset_time,Art\n0,1,pluck\n")
    convert(tmp_path / "a.csv", tmp_path / "a.json", "--columns", "technique=Art")
    assert json.loads((tmp_path / "a.json").read_text())["notes"][0]["technique"] == "pluck"
    convert(CASES / "elan.eaf", tmp_path / "b.json", "--tiers", "technique=Pitch", "--tiers", "pitch=Pitch")
    assert json.loads((tmp_path / "b.json").read_text())["notes"][0]["technique"] == "62"
    _, errors = convert(CASES / "elan.eaf", tmp_path / "c.json", "--tiers", "technique", code=2)
    assert errors == ["error: --tiers: is 'technique', not WHAT=NAME (write it as in technique=IPT)"]


def test_a_folder_keeps_its_folders_and_goes_on_after_a_fault(tmp_path):
    (tmp_path / "in" / "anna").mkdir(parents=True)
    (tmp_path / "in" / "anna" / "1.TextGrid").write_bytes((CASES / "praat.TextGrid").read_bytes())
    (tmp_path / "in" / "2.txt").write_bytes((CASES / "audacity.txt").read_bytes())
    (tmp_path / "in" / "3.txt").write_text("0\t1\ta\nx\ny\n")
    (tmp_path / "in" / "4.wav").write_bytes(b"RIFF")
    out, errors = convert(tmp_path / "in", tmp_path / "out", "--to", "csv", code=3)
    assert len(out) == 2
    assert [line for line in errors if line.startswith("error")] == [
        f"error: {tmp_path / 'in' / '3.txt'}:{line}: has no two times: '{text}' (correct or remove it)"
        for line, text in ((2, "x"), (3, "y"))
    ]
    files = sorted(str(path.relative_to(tmp_path / "out")) for path in (tmp_path / "out").rglob("*") if path.is_file())
    assert files == ["2.csv", "anna/1.csv"]
    assert notes(tmp_path / "out" / "anna" / "1.csv") == notes(CASES / "expected.csv")


def test_two_files_do_not_become_one(tmp_path):
    for name in ("1.txt", "1.lab", "1.csv"):
        (tmp_path / name).write_text("0\t1\ta\n")
    _, errors = convert(tmp_path, tmp_path / "out", "--to", "json", code=2)
    assert errors == [
        f"error: {tmp_path / '1.txt'}: would become {tmp_path / 'out' / '1.json'}, as {tmp_path / '1.csv'} does"
        " (rename or remove one of them)"
    ]


def test_nothing_is_replaced_unless_told_so(tmp_path, source):
    target = tmp_path / "a.csv"
    target.write_text("mine")
    _, errors = convert(source, target, code=2)
    assert errors == [f"error: {target}: exists already (pass --force to replace, or name another place)"]
    assert target.read_text() == "mine"
    convert(source, target, "--force")
    assert len(read_annotation(target).annotation.notes) == 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("source.json", "a.xyz"), "a.xyz: says nothing of the format (add --to and one of audacity, csv, elan"),
        (("source.json", "a.svl"), "a.svl: says nothing of the format"),
        (("source.json", "a.csv", "--to", "mid"), "--to: unknown format 'mid' (did you mean 'midi'?)"),
        (("source.json", "a.csv", "--to", "tony"), "--to: unknown format 'tony'"),
        (("nowhere.eaf", "a.csv"), "nowhere.eaf: cannot be read: No such file or directory (check the path)"),
        (("empty", "a", "--to", "csv"), "empty: holds no annotation file (their names end in .csv .eaf"),
        (("empty", "a.csv"), "a.csv: says nothing of the format"),
    ],
)
def test_mistakes(tmp_path, source, monkeypatch, arguments, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    _, errors = convert(*arguments, code=2)
    assert len(errors) == 1
    assert errors[0].startswith(f"error: {message}")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["empty", "source.json"]


def test_a_file_goes_into_a_folder_under_its_own_name(tmp_path, source):
    (tmp_path / "out").mkdir()
    convert(source, tmp_path / "out", "--to", "textgrid")
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["source.TextGrid"]
