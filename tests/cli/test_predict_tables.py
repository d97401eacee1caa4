"""Tables of tags: a row for every tag of every recording, none twice and none lost, whatever stops the command."""

import csv
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from calls import adapt, errors, files_below, succeed

from etude.adapters.errors import UserError
from etude.adapters.inference.session import Session
from etude.cli.tables import Table


@pytest.fixture(scope="module")
def tagger(folders):
    return folders("tagger", method="lora", heads=["tags"])


@pytest.fixture(scope="module")
def both(folders):
    return folders("both", method="lora", heads=["tags", "technique"])


@pytest.fixture
def takes(take, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return [take(f"in/{name}.wav", 0.5 + index / 5) for index, name in enumerate("abcd")]


def rows(path):
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def expected(adapter, takes):
    """What a session finds, most confident first, and an empty row where that is nothing."""
    session, table = Session(adapter), []
    for path in takes:
        found = sorted(session(path).tags, key=lambda tag: -tag.confidence)
        table += [(path.name, tag.name, pytest.approx(tag.confidence, abs=6e-4)) for tag in found] or [(path.name, "", None)]
    return table


def compare(path, adapter, takes):
    table = [(Path(r["file"]).name, r["label"], float(r["confidence"]) if r["confidence"] else None) for r in rows(path)]
    assert table == expected(adapter, takes)


def test_tags_of_all_recordings_are_one_table(tagger, both, takes, tmp_path):
    out = succeed("predict", tagger, "in")
    assert out.splitlines()[0].endswith(" -> tags.csv")
    assert list(rows("tags.csv")[0]) == ["file", "label", "confidence"]
    assert rows("tags.csv")[0]["file"] == "in/a.wav"
    compare("tags.csv", tagger, takes)
    succeed("predict", tagger, "in", "--to", "jsonl", "--to", "json", "--out", "lines")
    lines = [json.loads(line) for line in Path("lines/tags.jsonl").read_text().splitlines()]
    assert [(Path(line["file"]).name, line["label"] or "", line["confidence"]) for line in lines] == expected(tagger, takes)
    assert files_below(tmp_path / "lines") == ["a.json", "b.json", "c.json", "d.json", "tags.jsonl"]
    succeed("predict", both, "in", "--with", tagger, "--out", "several")
    assert files_below(tmp_path / "several/tagger") == ["tags.csv"]
    assert files_below(tmp_path / "several/both") == ["a.csv", "b.csv", "c.csv", "d.csv", "tags.csv"]
    compare("several/both/tags.csv", both, takes)


def test_a_recording_in_which_nothing_is_found_has_a_row(tagger, takes, monkeypatch):
    import etude

    monkeypatch.setattr(Session, "all", lambda self, path: {"tagger": etude.Annotation(tags=())})
    succeed("predict", tagger, takes[0], "--to", "csv", "--to", "jsonl")
    assert rows("tags.csv") == [{"file": str(takes[0]), "label": "", "confidence": ""}]
    assert json.loads(Path("tags.jsonl").read_text()) == {"file": str(takes[0]), "label": None, "confidence": None}
    assert "4 of" not in succeed("predict", tagger, takes[0], "--skip-existing")


def test_rows_of_other_recordings_stay(tagger, takes):
    succeed("predict", tagger, takes[0], takes[1])
    succeed("predict", tagger, takes[2])
    compare("tags.csv", tagger, takes[:3])
    (line,) = errors("predict", tagger, "in")
    assert line.startswith("tags.csv: exists already")
    compare("tags.csv", tagger, takes[:3])
    succeed("predict", tagger, takes[0], takes[3], "--force")
    compare("tags.csv", tagger, [takes[1], takes[2], takes[0], takes[3]])


def test_skip_existing_computes_what_lacks_a_result(both, takes, monkeypatch):
    succeed("predict", both, "in/a.wav", "in/b.wav", "in/c.wav")
    Path("b.csv").unlink()
    Path("c.csv").write_text("corrected by hand")
    computed = []
    real = Session.all
    monkeypatch.setattr(Session, "all", lambda self, path: computed.append(path.name) or real(self, path))
    out = succeed("predict", both, "in", "--skip-existing")
    assert out.startswith("2 of 4 recordings have their results and are skipped\n")
    assert computed == ["b.wav", "d.wav"]
    compare("tags.csv", both, takes)
    assert Path("c.csv").read_text() == "corrected by hand"
    assert Path("b.csv").is_file()
    assert succeed("predict", both, *takes, "--skip-existing") == "4 of 4 recordings have their results and are skipped\n"
    succeed("predict", both, "in", "--skip-existing", "--to", "csv", "--to", "json")
    assert computed == ["b.wav", "d.wav", "a.wav", "b.wav", "c.wav", "d.wav"]
    compare("tags.csv", both, takes)


def test_skip_existing_with_sorted_recordings(tagger, takes, tmp_path):
    succeed("predict", tagger, takes[0], takes[1], "--sort-into", "sorted")
    out = succeed("predict", tagger, "in", "--sort-into", "sorted", "--skip-existing")
    assert out.startswith("2 of 4 ")
    assert {Path(name).name for name in files_below(tmp_path / "sorted")} == {"a.wav", "b.wav", "c.wav", "d.wav"}


def test_a_recording_called_as_the_table_has_a_result_of_its_own(both, take, tmp_path):
    names = [take("in/tags.wav"), take("in/errors.wav")]
    succeed("predict", both, *names, "--out", tmp_path / "out")
    assert files_below(tmp_path / "out") == ["errors.wav.csv", "tags.csv", "tags.wav.csv"]


@pytest.mark.parametrize(("name", "content"), [("tags.csv", "path,genre\nx,y\n"), ("tags.jsonl", '{"a": 1}\n')])
def test_a_file_that_is_no_such_table_is_not_touched(tagger, takes, name, content):
    Path(name).write_text(content)
    for option in ([], ["--force"], ["--skip-existing"]):
        (line,) = errors("predict", tagger, "in", "--to", Path(name).suffix[1:], *option)
        assert line == f"{name}: holds something else than file, label, confidence (name another folder with --out)"
    assert Path(name).read_text() == content


@pytest.mark.parametrize("suffix", [".csv", ".jsonl"])
def test_a_line_that_was_cut_off_takes_its_recording_with_it(tmp_path, suffix):
    """Wherever a line was cut, what follows is a table with every recording whole."""
    names, own = ["x, 1.wav", 'y".wav', "颤.wav"], [{"label": "a", "confidence": 0.5}, {"label": "b c", "confidence": None}]
    path = tmp_path / f"t{suffix}"
    table = Table(path, ("label", "confidence"))
    for name in names:
        table.add(Path(name), own)
    whole = path.read_bytes()
    for size in range(len(whole) + 1):
        path.write_bytes(whole[:size])
        if whole[:size].endswith(b"\n"):
            continue  # all lines are whole
        table = Table(path, ("label", "confidence"))
        table.drop(())
        for name in names:
            if not table.has(Path(name)):
                table.add(Path(name), own)
        assert sorted(path.read_bytes()) == sorted(whole), whole[:size]


def test_a_full_disk_leaves_a_table_as_it_was(tmp_path, full_disk):
    path = tmp_path / "t.csv"
    table = Table(path, ("label", "confidence"))
    table.add(Path("a.wav"), [{"label": "a", "confidence": 0.5}])
    before = path.read_bytes()
    full_disk(1000)
    with pytest.raises(UserError, match=r"t\.csv: cannot be written: File too large"):
        table.add(Path("b.wav"), [{"label": "x" * 100, "confidence": 0.5}] * 100)
    full_disk(-1)
    assert path.read_bytes() == before


def test_ctrl_c_leaves_what_is_done_and_skip_existing_goes_on(tagger, take, tmp_path):
    """Two processes; the signal goes to the whole group, as a terminal sends it."""
    takes = [take(f"in/{index:03d}.wav", 0.3) for index in range(60)]
    command = [Path(sys.executable).parent / "adapt", "predict", tagger, tmp_path / "in", "--out", tmp_path / "out"]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(
        [*command, "--jobs", "2"],
        env=environment,
        start_new_session=True,
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        while not ((tmp_path / "out/tags.csv").exists() and rows(tmp_path / "out/tags.csv")):
            assert process.poll() is None, process.stderr.read()
            time.sleep(0.02)
        os.killpg(process.pid, signal.SIGINT)
        out, err = process.communicate(timeout=20)
    finally:
        process.kill()
    assert process.returncode == 130
    assert err.splitlines()[-1] == "interrupted"  # below what was told of the progress
    assert "Traceback" not in err
    told = {line.partition(": ")[0] for line in out.splitlines()}
    done = {row["file"] for row in rows(tmp_path / "out/tags.csv")}
    assert told <= done
    assert 0 < len(done) < 60
    succeed("predict", tagger, tmp_path / "in", "--out", tmp_path / "out", "--skip-existing")
    found = [row["file"] for row in rows(tmp_path / "out/tags.csv")]
    assert list(dict.fromkeys(found)) == list(map(str, takes))
    alone = tmp_path / "alone"
    code, _, _ = adapt("predict", tagger, tmp_path / "in", "--out", alone)
    assert code == 0
    assert (alone / "tags.csv").read_bytes() == (tmp_path / "out/tags.csv").read_bytes()
