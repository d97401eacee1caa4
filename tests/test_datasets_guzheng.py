"""Guzheng_Tech99, on small trees laid out as its releases of files are."""

import pytest
from made_datasets import audio, whats
from made_guzheng import COMBINED, RAW, SPLITS, guzheng, write_files
from typer.testing import CliRunner

from etude.adapters.datasets.guzheng_tech99 import LAYOUTS
from etude.cli.app import app

CLASSES = ["vibrato", "plucks", "upward_portamento", "downward_portamento", "glissando", "tremolo", "point_note"]


@pytest.mark.parametrize("layout", LAYOUTS)
def test_pieces_are_paired_by_name_in_every_layout(tmp_path, layout):
    # 'a.d.flac' comes before 'a.flac', but 'a.csv' before 'a.d.csv': pairs by position would mix them up.
    data = write_files(tmp_path, layout)
    audios, labels = (sorted(path.name for path in (tmp_path / kind / "test").iterdir()) for kind in layout)
    assert [name.removesuffix(".flac") for name in audios] != [name.removesuffix(".csv") for name in labels]
    for split in SPLITS:
        tracks = {track.audio.stem: track for track in data.tracks(split)}
        for k, stem in enumerate(("b", "a.d", "a", "A 1")):
            (note,) = tracks[stem].annotation.notes
            assert (tracks[stem].info.duration, note.offset, note.pitch) == (k + 1, k + 0.9, 60 + k)
    assert data.licence == "CC-BY-NC-ND-4.0"
    assert len({track.id for track in data.check()[0]}) == 12
    assert data.notices == []


def test_a_missing_piece_shifts_no_pair_and_is_reported(tmp_path):
    data = write_files(tmp_path)
    (tmp_path / "data/train/a.flac").unlink()
    (tmp_path / "labels/test/A 1.csv").unlink()
    audio(tmp_path / "data/validation/b.wav")
    audio(tmp_path / "data/validation/._b.wav")
    tracks, problems = data.check()
    assert all(track.info.duration == track.annotation.notes[0].pitch - 59 for track in tracks)
    assert len(tracks) == 10
    assert sorted(map(str, problems)) == [
        f"{tmp_path}/data/test/A 1.flac: has no label file of the same name (add or rename it)",
        f"{tmp_path}/data/validation/b.wav: has the same name as b.flac (remove one of them)",
        f"{tmp_path}/labels/train/a.csv: has no recording of the same name (add or rename it)",
    ]


def test_raw_names_lead_to_the_seven_classes(tmp_path):
    data = write_files(tmp_path, stems=[f"{k:02d}" for k in range(11)], raw=[*RAW, COMBINED])
    assert data.classes["notes"] == tuple(CLASSES)
    found = [track.annotation.notes[0].technique for track in data.tracks("train")]
    assert [CLASSES.index(name) for name in found] == [0, 1, 2, 3, 4, 4, 4, 4, 5, 6, 4]


EVENTS = """onset_time,offset_time,IPT,note
0.1,0.1,boxian,60
0.2,0.15,boxian,60
-0.05,0.3,boxian,60
0.4,0.9,chanyin,62
0.9,1.0005,boxian,64
0.95,1.6,boxian,65
1.2,1.4,boxian,66
"""


def test_what_does_not_fit_a_recording_is_cut_or_left_out_and_counted(tmp_path):
    write_files(tmp_path)
    for split in ("train", "test"):
        (tmp_path / f"labels/{split}/b.csv").write_text(EVENTS)
    data = guzheng(tmp_path)
    assert data.check()[1] == []
    track = next(track for track in data.tracks("train") if track.audio.stem == "b")
    times = [(note.onset, note.offset) for note in track.annotation.notes]
    assert times == [(0, 0.3), (0.4, 0.9), (0.9, 1), (0.95, 1)]
    where = f"first {tmp_path}/data/train/b.flac"
    assert [str(notice) for notice in data.notices] == [
        f"{where}: 6 events in 2 recordings last no time or begin after the end, and are left out",
        f"{where}: 2 events in 2 recordings outlast it, and are cut",
    ]


def test_other_faults_are_problems_with_their_line(tmp_path):
    write_files(tmp_path)
    table = tmp_path / "labels/train/b.csv"
    table.write_text("onset_time,offset_time,IPT,note\n0,0.5,boxain,60\n0,x,boxian,60\n0,0.5,boxian,200\nnan,0.5,boxian,60\n")
    (tmp_path / "labels/test/b.csv").write_text("onset,offset,IPT\n0,1,boxian\n")
    (tmp_path / "data/test/a.flac").write_bytes(b"")
    tracks, problems = guzheng(tmp_path).check()
    assert len(tracks) == 12 - 3
    lines = whats(problems).splitlines()
    assert [line for line in lines if line.startswith(str(table))] == [
        f"{table}:2: unknown technique 'boxain' (did you mean 'boxian'?)",
        f"{table}:3: offset_time is 'x', not a number "
        "(seconds for times, MIDI numbers or C4 and the like for pitch, 0 to 1 for confidence)",
        f"{table}:4: pitch 200 is not a MIDI number (0-127) (correct its times, pitch or confidence)",
        f"{table}:5: onset or offset is not a finite number (correct its times, pitch or confidence)",
    ]
    others = {problem.where for problem in problems if not problem.where.startswith(str(table))}
    assert others == {f"{tmp_path}/labels/test/b.csv:1", f"{tmp_path}/data/test/a.flac"}


def test_what_is_not_there_says_how_to_fetch_it(tmp_path):
    _, (problem,) = guzheng(tmp_path / "none").check()
    assert problem.where == str(tmp_path / "none")
    fetch = "hf download ccmusic-database/Guzheng_Tech99 --repo-type dataset --local-dir Guzheng_Tech99"
    assert problem.fix.startswith(fetch)
    _, (problem,) = guzheng(tmp_path).check()
    assert problem.what.startswith("holds neither tables (.arrow, .parquet) nor recordings")
    assert problem.fix.startswith(fetch)
    data = write_files(tmp_path / "some", splits=("train",))
    assert whats(data.check()[1]).count("file in it") == 4


def test_recordings_without_split_folders_are_refused_since_nothing_tells_the_split(tmp_path):
    audio(tmp_path / "data/audio/1.flac")
    (tmp_path / "data/label").mkdir()
    _, (problem,) = guzheng(tmp_path).check()
    assert problem.where == f"{tmp_path}/data/audio"
    assert "nothing tells the published split" in problem.what


@pytest.mark.parametrize("recipe", ["guzheng", "guzheng-probe"])
def test_the_recipe_is_happy_with_what_is_unpacked_from_modelscope(tmp_path, recipe):
    write_files(tmp_path, ("audio", "label"), raw=[COMBINED] * 4)
    result = CliRunner(env={"COLUMNS": "150"}).invoke(app, ["data", "check", recipe, f"data.root={tmp_path}"])
    assert result.exit_code == 0, result.stderr
    assert "glissando 4" in result.stdout
