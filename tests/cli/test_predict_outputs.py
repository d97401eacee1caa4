"""Several results of one computation, standard output, activations, sorted recordings, and exit codes."""

import csv
import json
import os
import re
from pathlib import Path

import numpy as np
import pretty_midi
import pytest
from calls import adapt, errors, files_below, succeed
from PIL import Image

import etude
from etude.adapters.inference import plot
from etude.adapters.inference.session import Session

HEADS = {"events": ("technique",), "tagger": ("tags",), "both": ("tags", "technique")}


@pytest.fixture(scope="module")
def made(folders):
    return {name: folders(name, method="lora", heads=list(heads)) for name, heads in HEADS.items()}


@pytest.fixture
def takes(take, tmp_path):
    return [take(f"in/{name}.wav", seconds) for name, seconds in (("a", 1.0), ("b", 2.5), ("c", 0.3))]


@pytest.fixture
def counted(monkeypatch):
    """The recordings that are computed, in the order in which they are."""
    computed = []
    real = Session._run
    monkeypatch.setattr(
        Session, "_run", lambda self, jobs: (computed.extend(Path(source).stem for source, _ in jobs), real(self, jobs))[1]
    )
    return computed


def rows(text):
    return list(csv.DictReader(text.splitlines()))


def test_several_formats_of_one_computation(made, takes, tmp_path, counted):
    options = ["--to", "midi", "--to", "csv", "--to", "json", "--plot", "--activations", "--to", "csv"]
    out = succeed("predict", made["events"], tmp_path / "in", *options, "-o", tmp_path / "out")
    suffixes = (".activations.npz", ".csv", ".json", ".mid", ".png")
    assert files_below(tmp_path / "out") == [f"{name}{suffix}" for name in "abc" for suffix in suffixes]
    assert counted == ["a", "b", "c"]
    assert re.search(r"a\.wav: \d+ events? -> .*out/a\.mid, .*out/a\.csv, .*out/a\.json\n", out)
    for name in "abc":
        document = json.loads((tmp_path / f"out/{name}.json").read_text())
        song = pretty_midi.PrettyMIDI(str(tmp_path / f"out/{name}.mid"))
        table = rows((tmp_path / f"out/{name}.csv").read_text())
        assert len(table) == len(document["notes"]) == sum(len(track.notes) for track in song.instruments)
        assert Image.open(tmp_path / f"out/{name}.png").size == (1600, 900)


def test_activations_lead_to_what_is_found(made, takes, tmp_path):
    succeed("predict", made["both"], takes[1], "--activations", "--to", "json", "--out", tmp_path)
    session = Session(made["both"])
    with np.load(tmp_path / "b.activations.npz") as stored:
        heard = session.activations(takes[1])
        for head, outputs in heard.items():
            for output, values in outputs.items():
                assert (stored[f"{head}/{output}"] == values).all()
            times = stored[f"{head}/times"]
            assert len(times) == len(next(iter(outputs.values())))
            assert times[1] - times[0] == pytest.approx(1 / session.heads()[head].frame_rate(session.backbone.frame_rate))
        assert stored["technique/technique"].shape[1] == 2
        assert list(stored["tags/labels"]) == ["cel", "flu", "a/b", "vio"]
    assert session.decode(heard) == session(takes[1])
    document = json.loads((tmp_path / "b.json").read_text())
    assert len(document["notes"]) == len(session(takes[1]).notes)


def test_csv_on_standard_output(made, takes, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    session = Session(made["both"])
    code, out, err = adapt("predict", made["events"], "in/b.wav", "--to", "-")
    table = rows(out)
    assert (code, err) == (0, "")
    assert list(table[0]) == ["onset_time", "offset_time", "technique", "pitch", "confidence"]
    own = Session(made["events"])(takes[1]).notes
    assert [(float(row["onset_time"]), row["technique"]) for row in table] == [(round(n.onset, 4), n.technique) for n in own]
    out = succeed("predict", made["both"], "in", "--to", "-", "--to", "audacity", "--out", "out")
    table = rows(out)
    assert list(table[0])[:2] == ["file", "kind"]
    for name in ("in/a.wav", "in/b.wav", "in/c.wav"):
        found = session(name)
        for kind, layer in found.items():
            assert len([row for row in table if (row["file"], row["kind"]) == (name, kind)]) == len(layer)
        tags = {row["label"]: float(row["confidence"]) for row in table if (row["file"], row["kind"]) == (name, "tags")}
        assert tags == {tag.name: pytest.approx(tag.confidence, abs=6e-4) for tag in found.tags}
    assert files_below(tmp_path / "out") == ["a.txt", "b.txt", "c.txt"]
    out = succeed("predict", made["events"], "in/a.wav", "--with", made["tagger"], "--to", "-")
    assert {row["adapter"] for row in rows(out)} <= {"events", "tagger"}


def test_json_on_standard_output_is_a_line_for_each_recording(made, takes, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "in/bad.wav").write_text("no audio")
    before = files_below(tmp_path)
    code, out, err = adapt("predict", made["events"], "in", "--json")
    documents = list(map(json.loads, out.splitlines()))
    assert code == 3
    assert [document["file"] for document in documents] == ["in/a.wav", "in/b.wav", "in/c.wav"]
    session = Session(made["events"])
    for document in documents:
        assert [note["onset"] for note in document["notes"]] == [note.onset for note in session(document["file"]).notes]
        assert document["adapter"] == "events"
    assert re.fullmatch(r"error: in/bad\.wav: cannot be read as audio: .*\n", err)
    assert files_below(tmp_path) == before


def test_what_is_said_of_files_does_not_mix_with_what_is_printed(made, takes, tmp_path):
    code, out, err = adapt("predict", made["events"], takes[0], "--json", "--to", "csv", "--out", tmp_path / "out")
    assert code == 0
    assert len(list(map(json.loads, out.splitlines()))) == 1
    assert re.fullmatch(r".*a\.wav: \d+ events? -> .*a\.csv\n", err)


@pytest.mark.parametrize("option", [[], ["--link"]])
def test_recordings_are_sorted_by_what_is_found_in_them(made, takes, tmp_path, option):
    os.utime(takes[0], (1e9, 1e9))
    folder = tmp_path / "sorted"
    succeed("predict", made["tagger"], tmp_path / "in", "--sort-into", folder, *option)
    session = Session(made["tagger"])
    expected = sorted(
        f"{tag.name.replace('/', '_')}/{path.name}" for path in takes for tag in session(path).tags or [etude.Tag("unlabelled")]
    )
    assert expected
    assert files_below(folder) == expected
    for name in expected:
        path = folder / name
        assert path.read_bytes() == (tmp_path / "in" / path.name).read_bytes()
        assert path.is_symlink() == bool(option)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in", "sorted"]
    line = errors("predict", made["tagger"], tmp_path / "in", "--sort-into", folder)[0]
    assert "exists already" in line


def test_what_finds_nothing_is_sorted_as_unlabelled(made, takes, tmp_path, monkeypatch):
    monkeypatch.setattr(Session, "all", lambda self, path: {"tagger": etude.Annotation(tags=())})
    succeed("predict", made["tagger"], takes[0], "--sort-into", tmp_path / "sorted")
    assert files_below(tmp_path / "sorted") == ["unlabelled/a.wav"]


def test_exit_codes_and_the_table_of_errors(made, takes, tmp_path):
    bad = [tmp_path / "in/x.wav", tmp_path / "in/y.wav"]
    for path in bad:
        path.write_text("no audio")
    out = tmp_path / "out"
    assert adapt("predict", made["events"], bad[0], "--out", out)[0] == 2
    assert not out.exists()  # what is wrong with one recording, the terminal says
    assert adapt("predict", made["events"], *bad, "--out", out)[0] == 2
    assert files_below(out) == ["errors.csv"]
    assert adapt("predict", made["events"], *bad, *takes, "--out", out)[0] == 3
    table = rows((out / "errors.csv").read_text())
    assert [(row["file"], row["fix"]) for row in table] == [(str(path), "convert it to WAV or FLAC") for path in bad]
    bad[0].write_bytes(takes[0].read_bytes())
    assert adapt("predict", made["events"], *bad, "--out", out)[0] == 3
    assert [row["file"] for row in rows((out / "errors.csv").read_text())] == [str(bad[1])]
    bad[1].write_bytes(takes[0].read_bytes())
    assert adapt("predict", made["events"], bad[1], takes[0], "--out", out, "--force")[0] == 0
    assert not (out / "errors.csv").exists()


def test_a_bug_or_a_lack_of_memory_concerns_one_recording(made, takes, tmp_path, monkeypatch):
    real = Session.all

    def all(self, path):
        if path.stem in "ab":
            raise MemoryError if path.stem == "a" else RuntimeError("a tensor\nis wrong")
        return real(self, path)

    monkeypatch.setattr(Session, "all", all)
    code, _, err = adapt("predict", made["events"], *takes, "--out", tmp_path / "out")
    assert code == 3
    assert [line.partition("in/")[2].partition(" (")[0] for line in err.splitlines()] == [
        "a.wav: needs more memory than there is",
        "b.wav: failed: RuntimeError: a tensor is wrong",
    ]
    assert files_below(tmp_path / "out") == ["c.csv", "errors.csv"]


def test_a_long_recording_is_drawn_on_pages(made, take, tmp_path, monkeypatch):
    monkeypatch.setattr(plot, "PAGE", 1.0)
    succeed("predict", made["events"], take("long.wav", 2.5), "--plot", "--to", "csv", "--out", tmp_path / "out")
    assert files_below(tmp_path / "out") == ["long-page-2.png", "long-page-3.png", "long.csv", "long.png"]


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (["--json", "--to", "-"], "--json --to -: both print to standard output"),
        (["--force", "--skip-existing"], "--skip-existing --force: contradict each other"),
        (["--link"], r"--link: says how to sort .* \(add --sort-into FOLDER\)"),
        (["--json", "--skip-existing"], "--skip-existing: nothing is written that could exist"),
        (["--to", "jsonl"], "events: finds events, which jsonl cannot hold"),
        (["--jobs", "0"], "jobs: 0 processes are too few"),
        (["--sort-into", "in/a.wav"], "--sort-into in/a.wav: is a file, not a folder"),
    ],
)
def test_options_that_do_not_go_together(made, takes, tmp_path, monkeypatch, options, expected):
    monkeypatch.chdir(tmp_path)
    before = files_below(tmp_path)
    (line,) = errors("predict", made["events"], "in", *options)
    assert re.match(expected, line), line
    assert files_below(tmp_path) == before


def test_undrawable_names_are_told_once(made, take, tmp_path, monkeypatch):
    from etude.adapters.inference._parts import lettering

    monkeypatch.setattr(lettering, "_family", lambda char: None if char in "颤音" else lettering.OWN)
    code, _, err = adapt("predict", made["events"], take("颤音.wav"), take("颤.wav"), "--plot", "--out", tmp_path / "out")
    assert code == 0
    notice = "notice: no font here has 颤音: pictures show code points (install a font, fonts-noto-cjk say)\n"
    assert err in (notice, notice.replace("颤音", "音颤"))
