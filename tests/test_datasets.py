import csv
import os
import shutil
from collections import Counter, defaultdict
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import soundfile
from pydantic import ValidationError

from etude.adapters.datasets import note_phrases
from etude.adapters.datasets._parts.phrases import Phrase, write_phrases
from etude.adapters.datasets.guzheng_tech99 import GuzhengTech99
from etude.adapters.datasets.manifest import Manifest
from etude.adapters.datasets.note_phrases import NotePhrases
from etude.adapters.errors import UserError
from etude.adapters.sound.audio import read_window
from etude.adapters.sound.spans import sound

RATE = 24000
SHARED = Path(os.environ.get("ETUDE_SHARED", Path(__file__).parents[2] / "shared"))
HEADER = "onset_time,offset_time,technique,pitch\n"


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("ETUDE_CACHE", str(tmp_path / "cache"))


def audio(path, seconds=1.0, seed=0, channels=1):
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(seed).uniform(-0.5, 0.5, (int(seconds * 8000), channels)).astype(np.float32)
    soundfile.write(path, noise, 8000)


def labelled(folder, rows, header="audio,events,split"):
    """A data set in which row ``k`` is (split, events text); files are named after the row."""
    lines = [header]
    for number, (split, text) in enumerate(rows):
        audio(folder / f"{number}.wav", seed=number)
        (folder / f"{number}.csv").write_text(HEADER + text)
        lines.append(f"{number}.wav,{number}.csv,{split}")
    (folder / "manifest.csv").write_text("\n".join(lines) + "\n")


def manifest(root, **options):
    return Manifest(Manifest.Config(name="manifest", root=str(root), **options))


def whats(problems):
    return "\n".join(map(str, problems))


# manifest


def test_a_manifest_gives_its_tracks(tmp_path):
    labelled(tmp_path, [("train", "0,.5,b,60\n.5,1,a,\n"), ("val", "0,1,b,61\n"), ("Test", ""), ("validation", "0,1,a,3\n")])
    data = manifest(tmp_path)
    assert [track.id for track in data.tracks("train")] == ["0.wav"]
    assert [track.id for track in data.tracks("validation")] == ["1.wav", "3.wav"]
    (test,) = data.tracks("test")
    assert test.annotation.notes.records == ()
    assert test.info.duration == 1.0
    assert data.classes["notes"] == ("a", "b")
    assert data.licence == "unknown"
    assert data.notices == []
    assert data.check_audio(data.check()[0]) == []


def test_the_licence_is_the_union_over_the_rows(tmp_path):
    labelled(tmp_path, [("train", "0,1,a,\n")] * 4)
    lines = (tmp_path / "manifest.csv").read_text().splitlines()
    tail = [",licence", ",CC0-1.0", ",CC-BY-4.0", ",", ",CC0-1.0"]
    (tmp_path / "manifest.csv").write_text("\n".join(a + b for a, b in zip(lines, tail, strict=True)))
    data = manifest(tmp_path, licence="MIT")
    data.check()
    assert data.licence == "CC-BY-4.0 AND CC0-1.0 AND MIT"


def test_recordings_weigh_what_their_row_says_times_the_data_set(tmp_path):
    labelled(tmp_path, [("train", "0,1,a,\n")] * 3)
    lines = (tmp_path / "manifest.csv").read_text().splitlines()
    tail = [",weight", ",0.25", ", 4 ", ","]
    (tmp_path / "manifest.csv").write_text("\n".join(a + b for a, b in zip(lines, tail, strict=True)))
    assert [track.weight for track in manifest(tmp_path).tracks("train")] == [0.25, 4, 1]
    assert [track.weight for track in manifest(tmp_path, weight=2).tracks("train")] == [0.5, 8, 2]
    with pytest.raises(ValidationError, match="greater than 0"):
        manifest(tmp_path, weight=0)


def test_confidences_are_read_and_are_targets_with_soft_labels_only(tmp_path):
    labelled(tmp_path, [("train", "0,.5,a,\n")])
    (tmp_path / "0.csv").write_text("onset_time,offset_time,technique,confidence\n0,.5,a,.25\n.5,1,a,\n")
    for options, soft in (({}, False), ({"soft_labels": True}, True)):
        (track,) = manifest(tmp_path, **options).tracks("train")
        assert track.soft is soft
        assert [note.confidence for note in track.annotation.notes] == [0.25, None]


@pytest.mark.parametrize("cell", ["0", "-1", "x", "nan", "inf", "1,5"])
def test_a_weight_that_is_none_is_a_problem_of_its_row(tmp_path, cell):
    labelled(tmp_path, [("train", "0,1,a,\n")] * 2)
    header, first, second = (tmp_path / "manifest.csv").read_text().splitlines()
    (tmp_path / "manifest.csv").write_text(f'{header},weight\n{first},1\n{second},"{cell}"\n')
    _, problems = manifest(tmp_path).check()
    fix = "write one such as 0.5, or nothing"
    assert whats(problems) == f"{tmp_path}/manifest.csv:3: weight is {cell!r}, not a number above 0 ({fix})"


def test_derived_data_do_not_depend_on_name_and_weight():
    """The keys are those of phrases that people already have in their cache."""
    config = NotePhrases.Config(name="note_phrases", notes="a.csv", phrases={"train": 1})
    assert list(config.content()) == [
        *("notes", "sources", "instruments", "techniques", "phrase_seconds", "phrases", "note_seconds", "gap"),
        *("overlap_probability", "overlap", "gain_db", "seed", "sample_rate"),
    ]
    weighted = NotePhrases.Config(name="note_phrases", weight=3, notes="a.csv", phrases={"train": 1})
    assert weighted.content() == config.content()


def test_labels_give_the_classes_and_their_order(tmp_path):
    labelled(tmp_path, [("train", "0,1,zz,\n.2,1,yy,\n")])
    data = manifest(tmp_path, labels={"zz": "late", "yy": "early", "xx": "late"})
    assert data.classes["notes"] == ("late", "early")
    assert [note.technique for note in data.tracks("train")[0].annotation.notes] == ["late", "early"]
    assert manifest(tmp_path, techniques=("zz", "none", "yy")).classes["notes"] == ("zz", "none", "yy")
    assert manifest(tmp_path, labels={"zz": "a", "yy": "b"}, techniques=("b", "a")).classes["notes"] == ("b", "a")
    with pytest.raises(ValidationError, match="'zz' leads to 'a', which is not among the techniques"):
        manifest(tmp_path, labels={"zz": "a"}, techniques=("b",))


def test_every_problem_of_the_set_is_reported_at_once(tmp_path):
    labelled(tmp_path, [("train", "0,1,vibrato,60\n")] * 3 + [("train", "0,1,vibratto,60\n5,6,vibrato,60\nx,1,vibrato,\n")])
    audio(tmp_path / "sub" / "kept.wav")
    (tmp_path / "empty.wav").write_bytes(b"")
    (tmp_path / "text.wav").write_text("not audio")
    with (tmp_path / "manifest.csv").open("a") as file:
        file.write("0.wav,0.csv,test\nmissing.wav,0.csv,train\nempty.wav,0.csv,train\ntext.wav,0.csv,train\n")
        file.write("sub/kept.wav,gone.csv,train\n1.csv,1.csv,train\nsub/../2.wav,2.csv,train\n,2.csv,train\n")
        file.write("sub/kept.wav,,train\n3.wav,3.csv,trian\n")
    tracks, problems = manifest(tmp_path, techniques=("vibrato",)).check()
    assert [track.id for track in tracks] == ["0.wav", "1.wav", "2.wav"]
    expected = [
        "manifest.csv:6: 0.wav is listed before (line 2, split 'train')",
        "missing.wav: no such audio file",
        "empty.wav: cannot be read as audio",
        "text.wav: cannot be read as audio",
        "gone.csv: cannot be read: No such file",
        "1.csv: cannot be read as audio",
        "manifest.csv:12: sub/../2.wav is listed before (line 4",
        "manifest.csv:13: names no recording",
        "manifest.csv:14: names no event file",
        "manifest.csv:15: unknown split 'trian' (did you mean 'train'?)",
        "manifest.csv:15: 3.wav is listed before",
        "3.csv:2: unknown technique 'vibratto' (did you mean 'vibrato'?)",
        "3.csv:3: event 5-6 s is outside the recording of 1.00 s",
        "3.csv:4: onset_time is 'x', not a number",
    ]
    for text in expected:
        assert sum(text in str(problem) for problem in problems) == 1, text
    assert len(problems) == len(expected), whats(problems)


def test_tracks_are_refused_while_there_is_a_problem(tmp_path):
    labelled(tmp_path, [("train", "0,1,a,60\n"), ("validation", "0,1,a,60\n")])
    (tmp_path / "1.csv").unlink()
    with pytest.raises(UserError, match=r"1\.csv: cannot be read"):
        manifest(tmp_path).tracks("train")


def test_a_split_without_recordings_is_refused(tmp_path):
    labelled(tmp_path, [("train", "0,1,a,60\n")])
    with pytest.raises(UserError, match="no recording in the split 'test'"):
        manifest(tmp_path).tracks("test")


def test_a_technique_that_only_another_split_names_is_a_slip(tmp_path):
    labelled(tmp_path, [("train", "0,1,vibrato,60\n"), ("test", "0,1,vibrata,60\n")])
    _, (problem,) = manifest(tmp_path).check()
    assert str(problem) == f"{tmp_path}/1.csv:2: unknown technique 'vibrata' (did you mean 'vibrato'?)"


def test_a_faulty_training_file_brings_no_false_alarms(tmp_path):
    labelled(tmp_path, [("train", "0,1,a,60\nx,1,b,60\n"), ("test", "0,1,a,60\n.5,1,b,60\n")])
    _, (problem,) = manifest(tmp_path).check()
    assert problem.where.endswith("0.csv:3")


def test_without_a_training_split_the_techniques_are_those_of_the_rest(tmp_path):
    labelled(tmp_path, [("test", "0,1,b,60\n"), ("test", "0,1,a,60\n")])
    data = manifest(tmp_path)
    assert data.check()[1] == []
    assert data.classes["notes"] == ("a", "b")


def test_nothing_to_learn_is_a_problem(tmp_path):
    labelled(tmp_path, [("train", "0,1,,60\n")])
    assert "no event names a technique" in whats(manifest(tmp_path).check()[1])


@pytest.mark.parametrize(
    ("text", "what"),
    [
        (None, "cannot be read: No such file"),
        ("audio,event,split\n", "lacks the column 'events' (did you mean 'event'?)"),
        ("audio,events,split\n", "lists no recording"),
        ("audio,events,split\na\0.wav,b\0.csv,train\n", "no such audio file"),
    ],
)
def test_a_bad_manifest_is_a_problem(tmp_path, text, what):
    if text is not None:
        (tmp_path / "manifest.csv").write_text(text)
    tracks, problems = manifest(tmp_path).check()
    assert tracks == []
    assert what in whats(problems)


def test_notices_do_not_hinder(tmp_path):
    labelled(tmp_path, [("train", "0,.5,a,60\n.4,.6,a,60\n.4,.6,a,61\n.4,.6,b,60\n.6,.8,a,60\n"), ("train", "0,1,a,60\n")])
    audio(tmp_path / "extra.wav")
    data = manifest(tmp_path)
    assert len(data.tracks("train")) == 2
    assert [str(notice) for notice in data.notices] == [
        f"{tmp_path}/extra.wav: is not listed (add it, or ignore this)",
        f"{tmp_path}/0.wav: events that overlap one of the same technique and pitch: 1, first at 0.4 s (check their times)",
    ]


def test_an_event_inside_a_longer_one_is_noticed_after_a_shorter_one(tmp_path):
    labelled(tmp_path, [("train", "0,.9,a,60\n.1,.2,a,60\n.5,.6,a,60\n")])
    data = manifest(tmp_path)
    data.check()
    assert "same technique and pitch: 2, first at 0.1 s" in whats(data.notices)


def test_check_audio_finds_what_headers_do_not_tell(tmp_path):
    labelled(tmp_path, [("train", "0,1,a,60\n")] * 4 + [("test", "0,1,a,60\n")])
    samples = np.zeros(8000, np.float32)
    samples[4000] = np.nan
    soundfile.write(tmp_path / "1.wav", samples, 8000, subtype="FLOAT")
    audio(tmp_path / "2.flac", 5)
    content = (tmp_path / "2.flac").read_bytes()
    (tmp_path / "2.flac").write_bytes(content[: len(content) // 2])
    text = (tmp_path / "manifest.csv").read_text()
    (tmp_path / "manifest.csv").write_text(text.replace("2.wav", "2.flac"))
    (tmp_path / "2.wav").unlink()
    shutil.copy(tmp_path / "0.wav", tmp_path / "4.wav")  # a leak: a training recording under another name
    shutil.copy(tmp_path / "0.wav", tmp_path / "3.wav")  # twice in one split: no leak
    data = manifest(tmp_path)
    tracks, problems = data.check()
    assert problems == []
    nan, cut, leak = data.check_audio(tracks)
    assert str(nan).startswith(f"{tmp_path}/1.wav: holds NaN or infinite samples at 0.50 s")
    assert str(cut).startswith(f"{tmp_path}/2.flac: cannot be decoded")
    assert (
        str(leak)
        == f"{tmp_path}/4.wav: is the same recording as {tmp_path}/0.wav in the split 'train' (keep it in one split only)"
    )


# Guzheng_Tech99

RAW = ["chanyin", "boxian", "shanghua", "xiahua", "huazhi", "guazou", "lianmo", "liantuo", "yaozhi", "dianyin"]


def guzheng(root, splits=("train", "validation", "test"), stems=("b", "a.d", "a", "A 1")):
    """Stem ``k`` of a split has ``k + 1`` seconds of audio and one label of technique ``k``."""
    for split in splits:
        (root / "labels" / split).mkdir(parents=True)
        for k, stem in enumerate(stems):
            audio(root / "data" / split / f"{stem}.flac", k + 1, k)
            (root / "labels" / split / f"{stem}.csv").write_text(
                f"onset_time,offset_time,IPT,note\n0.0,{k + 0.9},{RAW[k]},{60 + k}\n"
            )
    return GuzhengTech99(GuzhengTech99.Config(name="guzheng_tech99", root=str(root)))


def test_guzheng_pieces_are_paired_by_name(tmp_path):
    # 'a.d.flac' comes before 'a.flac', but 'a.csv' before 'a.d.csv': pairs by position would mix them up.
    data = guzheng(tmp_path)
    audios, labels = (sorted(path.name for path in (tmp_path / kind / "test").iterdir()) for kind in ("data", "labels"))
    assert [name.removesuffix(".flac") for name in audios] != [name.removesuffix(".csv") for name in labels]
    for split in ("train", "validation", "test"):
        tracks = {track.audio.stem: track for track in data.tracks(split)}
        for k, stem in enumerate(("b", "a.d", "a", "A 1")):
            (note,) = tracks[stem].annotation.notes
            assert (tracks[stem].info.duration, note.offset, note.pitch) == (k + 1, k + 0.9, 60 + k)
    assert data.licence == "CC-BY-NC-ND-4.0"
    assert len({track.id for track in data.check()[0]}) == 12


def test_a_missing_piece_shifts_no_pair_and_is_reported(tmp_path):
    data = guzheng(tmp_path)
    (tmp_path / "data/train/a.flac").unlink()
    (tmp_path / "labels/test/A 1.csv").unlink()
    audio(tmp_path / "data/validation/b.wav")
    tracks, problems = data.check()
    assert all(track.info.duration == track.annotation.notes[0].pitch - 59 for track in tracks)
    assert len(tracks) == 10
    assert sorted(map(str, problems)) == [
        f"{tmp_path}/data/test/A 1.flac: has no label file of the same name (add or rename it)",
        f"{tmp_path}/data/validation/b.wav: has the same name as b.flac (remove one of them)",
        f"{tmp_path}/labels/train/a.csv: has no recording of the same name (add or rename it)",
    ]


def test_guzheng_raw_names_lead_to_the_seven_classes(tmp_path):
    data = guzheng(tmp_path, stems=[f"{k:02d}" for k in range(10)])
    classes = ["vibrato", "plucks", "upward_portamento", "downward_portamento", "glissando", "tremolo", "point_note"]
    assert data.classes["notes"] == tuple(classes)
    found = [track.annotation.notes[0].technique for track in data.tracks("train")]
    assert [classes.index(name) for name in found] == [0, 1, 2, 3, 4, 4, 4, 4, 5, 6]


def test_an_absent_guzheng_folder_says_where_to_get_it(tmp_path):
    data = GuzhengTech99(GuzhengTech99.Config(name="guzheng_tech99", root=str(tmp_path / "none")))
    _, (problem,) = data.check()
    assert problem.where == str(tmp_path / "none")
    assert "ccmusic-database/Guzheng_Tech99" in problem.fix
    data = guzheng(tmp_path / "some", splits=("train",))
    assert whats(data.check()[1]).count("file in it") == 4


# note phrases

COLUMNS = ["path", "source", "instrument", "technique", "midi", "duration_s", "split", "licence"]
LEAD = 0.123


def click(pitch, seconds=2.0):
    """A click after ``LEAD`` seconds of faint noise, then a tone of slow decay whose frequency tells the pitch."""
    time = np.arange(int(seconds * RATE)) / RATE
    tone = 0.3 * np.sin(2 * np.pi * 440 * 2 ** ((pitch - 69) / 12) * time) * np.exp(-2 * time)
    tone[0] = 0.5
    hiss = np.random.default_rng(int(pitch)).normal(0, 1e-4, int(LEAD * RATE))
    return np.concatenate([hiss, tone]).astype(np.float32)


def notes_csv(folder, pitches=None, techniques=("bow", "pluck")):
    """Notes whose pitch tells the split: 60-63 train, 70-73 validation, 80-83 test."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = []
    for split, first in {"train": 60, "validation": 70, "test": 80}.items():
        for technique in techniques:
            for pitch in range(first, first + 4):
                name = f"{technique}-{pitch}.wav"
                soundfile.write(folder / name, click(pitch), RATE)
                licence = "CC0-1.0" if technique == "bow" else "CC-BY-4.0"
                rows.append([name, "mine", "cello", technique, pitch, 2.123, split, licence])
    return write_csv(folder / "notes.csv", rows)


def write_csv(path, rows):
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([COLUMNS, *rows])
    return path


def phrases(path, **options):
    options = {"phrases": {"train": 4, "validation": 2, "test": 2}} | options
    return NotePhrases(NotePhrases.Config(name="note_phrases", notes=str(path), **options))


def folder_bytes(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def test_phrases_are_made_as_asked(tmp_path):
    data = phrases(notes_csv(tmp_path), phrase_seconds=6.0)
    tracks, problems = data.check()
    assert problems == []
    assert Counter(track.split for track in tracks) == {"train": 4, "validation": 2, "test": 2}
    assert {(track.info.duration, track.info.sample_rate, track.info.channels) for track in tracks} == {(6.0, RATE, 1)}
    assert all(5 <= len(track.annotation.notes) <= 20 for track in tracks)
    assert data.classes["notes"] == ("bow", "pluck")
    assert data.licence == "CC-BY-4.0 AND CC0-1.0"
    assert data.check_audio(tracks) == []


def test_equal_configurations_give_equal_bytes_and_other_seeds_do_not(tmp_path, monkeypatch):
    table = notes_csv(tmp_path / "notes")
    made = []
    for name, seed in (("one", 0), ("two", 0), ("three", 1)):
        monkeypatch.setenv("ETUDE_CACHE", str(tmp_path / name))
        assert phrases(table, seed=seed).check()[1] == []
        (folder,) = (tmp_path / name / "note_phrases").iterdir()
        made.append(folder_bytes(folder))
    assert made[0] == made[1]
    assert made[0].keys() == made[2].keys()
    assert made[0]["train/0000.flac"] != made[2]["train/0000.flac"]


def test_phrases_are_rendered_once_and_again_when_the_notes_change(tmp_path, monkeypatch):
    table = notes_csv(tmp_path / "notes")
    cache = tmp_path / "cache" / "note_phrases"
    phrases(table).check()
    monkeypatch.setattr(note_phrases, "write_phrases", None)
    assert phrases(table).check()[1] == []
    monkeypatch.undo()
    monkeypatch.setenv("ETUDE_CACHE", str(tmp_path / "cache"))
    soundfile.write(tmp_path / "notes" / "bow-60.wav", click(60, 1.0), RATE)
    phrases(table).check()
    table.write_text(table.read_text().replace("CC0-1.0", "MIT"))
    assert phrases(table).tracks("train")
    phrases(table, gap=(0.1, 0.2)).check()
    assert len(list(cache.iterdir())) == 4


def test_more_training_phrases_leave_the_other_splits_as_they_were(tmp_path):
    table = notes_csv(tmp_path / "notes")
    few = phrases(table).tracks("test")
    many = phrases(table, phrases={"train": 6, "validation": 2, "test": 2}).tracks("test")
    assert [track.audio.read_bytes() for track in few] == [track.audio.read_bytes() for track in many]


def test_onsets_and_offsets_are_where_the_labels_say(tmp_path):
    data = phrases(notes_csv(tmp_path), gap=(0.05, 0.3), overlap_probability=0.0, gain_db=(0.0, 0.0))
    for track in data.check()[0]:
        samples, _ = soundfile.read(track.audio)
        for note in track.annotation.notes:
            start = round(note.onset * RATE)
            around = np.abs(samples[max(0, start - 700) : start + 700])
            peak = max(0, start - 700) + int(around.argmax())
            assert abs(peak / RATE - note.onset) < 0.010
            end = round(note.offset * RATE)
            assert np.abs(samples[end : end + 200]).max(initial=0) < 1e-3
            assert np.abs(samples[end - 1200 : end - 360]).max() > 0.01


def test_notes_last_and_overlap_as_configured(tmp_path):
    table = notes_csv(tmp_path)
    limits = {"note_seconds": (0.3, 0.5), "gap": (0.1, 0.2), "overlap": (0.05, 0.1)}
    apart = phrases(table, overlap_probability=0.0, **limits)
    joined = phrases(table, overlap_probability=1.0, **limits)
    for data, low, high in ((apart, 0.1, 0.2), (joined, -0.1, -0.05)):
        for track in data.check()[0]:
            notes = track.annotation.notes
            assert all(0.3 - 1e-3 < note.offset - note.onset < 0.5 + 1e-3 for note in notes[:-1])
            steps = [b.onset - a.offset for a, b in pairwise(notes)]
            assert min(steps) > low - 1e-3
            assert max(steps) < high + 1e-3


def test_techniques_are_balanced_and_notes_used_equally(tmp_path):
    table = notes_csv(tmp_path)
    lines = table.read_text().splitlines()
    # One pluck is left per split: without balance, few events would be plucks.
    kept = [line for line in lines if "pluck" not in line or line.split(",")[4][1] == "0"]
    table.write_text("\n".join(kept))
    used = Counter()
    for track in phrases(table, phrases={"train": 20, "validation": 1, "test": 1}).tracks("train"):
        used.update((note.technique, note.pitch) for note in track.annotation.notes)
    bow = [count for (technique, _), count in used.items() if technique == "bow"]
    assert len(bow) == 4
    assert max(bow) - min(bow) <= 1
    assert 0.4 < used["pluck", 60.0] / sum(used.values()) < 0.6


def test_a_phrase_holds_notes_of_its_split_only(tmp_path, monkeypatch):
    loaded = []
    monkeypatch.setattr(note_phrases, "sound", lambda path, rate: (loaded.append(path), sound(path, rate))[1])
    data = phrases(notes_csv(tmp_path))
    for track in data.check()[0]:
        first = {"train": 60, "validation": 70, "test": 80}[track.split]
        assert {note.pitch for note in track.annotation.notes} <= set(range(first, first + 4))
        samples = read_window(track.audio, 0, 10**9, RATE)
        for note in track.annotation.notes:  # the audio itself, not only the label
            alone = [n for n in track.annotation.notes if n is not note and n.onset < note.offset and n.offset > note.onset]
            if not alone:
                part = samples[round(note.onset * RATE) + 300 : round(note.offset * RATE) - 360]
                spectrum = np.abs(np.fft.rfft(part * np.hanning(len(part)), 1 << 16))
                heard = 69 + 12 * np.log2(spectrum.argmax() * RATE / (1 << 16) / 440)
                assert abs(heard - note.pitch) < 0.3
    order = [{"6": 0, "7": 1, "8": 2}[path.stem.split("-")[1][0]] for path in loaded]
    assert order == sorted(order), "the splits are rendered one after the other, each from its own notes"


def test_loud_overlaps_do_not_clip(tmp_path):
    loud = (
        Phrase("train", np.float32([0.0, 3.0, -1.5]), (), "CC0-1.0"),
        Phrase("train", np.float32([0.5, 0.25]), (), "CC0-1.0"),
    )
    write_phrases(tmp_path, iter(loud), RATE)
    np.testing.assert_allclose(soundfile.read(tmp_path / "train/0000.flac")[0], [0, 0.95, -0.475], atol=1e-4)
    np.testing.assert_allclose(soundfile.read(tmp_path / "train/0001.flac")[0], [0.5, 0.25], atol=1e-4)


def test_an_unknown_pitch_stays_unknown(tmp_path):
    table = notes_csv(tmp_path)
    lines = [line.split(",") for line in table.read_text().splitlines()]
    table.write_text("\n".join(",".join([*line[:4], "", *line[5:]] if k else line) for k, line in enumerate(lines)))
    assert {note.pitch for track in phrases(table).tracks("test") for note in track.annotation.notes} == {None}


def test_a_sound_begins_and_ends_at_minus_34_db(tmp_path):
    rate, hop = 24000, 120
    levels = np.repeat(10 ** (np.array([-60, -36, -32, -3, 0, -20, -36, -33, -35, -60]) / 20), hop)
    soundfile.write(tmp_path / "a.wav", np.where(np.arange(len(levels)) % 2, levels, -levels) * 0.2, rate, subtype="FLOAT")
    found = sound(tmp_path / "a.wav", rate)
    assert (found.onset, found.offset) == (2 * hop, 8 * hop)
    assert np.abs(found.samples).max() == 1.0


def test_all_problems_of_the_notes_are_reported_at_once(tmp_path):
    table = notes_csv(tmp_path)
    with table.open("a") as file:
        file.write("gone.wav,mine,cello,bow,200,1,trian,CC0-1.0\nbow-60.wav,mine,cello,,x,1,train,\n")
    tracks, problems = phrases(table, sources=("mine", "yours"), techniques=None).check()
    assert tracks == []
    text = whats(problems)
    assert "no note of the source 'yours'" in text
    assert "notes.csv:26: unknown split 'trian' (did you mean 'train'?)" in text
    assert "notes.csv:26: pitch 200 is not a MIDI number" in text
    assert "notes.csv:26: no such audio file" in text
    assert "notes.csv:27: names no technique" in text
    assert "notes.csv:27: midi is 'x', not a number" in text
    assert len(problems) == 6
    assert not (tmp_path / "cache").exists()


def test_a_technique_that_a_split_lacks_is_a_problem(tmp_path):
    table = notes_csv(tmp_path)
    table.write_text("\n".join(line for line in table.read_text().splitlines() if "pluck-8" not in line))
    _, (problem,) = phrases(table).check()
    assert problem.what == "no note of the technique 'pluck' in the split 'test'"
    assert phrases(table, techniques=("bow",)).tracks("test")
    assert phrases(table, phrases={"train": 1}).tracks("train")


@pytest.mark.parametrize("fault", ["silent", "NaN"])
def test_a_note_that_cannot_be_used_is_a_problem_and_leaves_no_cache(tmp_path, fault):
    table = notes_csv(tmp_path)
    soundfile.write(
        tmp_path / "bow-60.wav", np.full(5000, 0.0 if fault == "silent" else np.nan, np.float32), RATE, subtype="FLOAT"
    )
    _, (problem,) = phrases(table).check()
    assert fault in problem.what
    assert problem.where.endswith("bow-60.wav")
    assert list((tmp_path / "cache" / "note_phrases").iterdir()) == []


@pytest.mark.parametrize(
    "wrong", [{"gap": (0.4, 0.1)}, {"note_seconds": (0.0, 1.0)}, {"overlap_probability": 1.5}, {"seeds": 1}]
)
def test_a_wrong_configuration_is_refused(tmp_path, wrong):
    with pytest.raises(ValidationError, match=next(iter(wrong))):
        phrases(tmp_path / "notes.csv", **wrong)


@pytest.mark.skipif(not (SHARED / "data" / "notes.csv").is_file(), reason="the recorded notes are not here")
@pytest.mark.parametrize("sources", [("rickenbacker4001",), ("sneakybass", "meatbass")])
def test_real_notes_do_not_leak_between_splits(monkeypatch, sources):
    table = SHARED / "data" / "notes.csv"
    with table.open() as file:
        split_of = {table.parent / row["path"]: row["split"] for row in csv.DictReader(file)}
    used = defaultdict(set)

    def spy(path, rate):
        used[split_of[path]].add(path)
        return sound(path, rate)

    monkeypatch.setattr(note_phrases, "sound", spy)
    data = phrases(table, sources=sources, phrases={"train": 2, "validation": 2, "test": 2})
    notes, problems = data.sources()
    assert problems == []
    assert {note.path: note.split for note in notes} == {path: split_of[path] for path in {note.path for note in notes}}

    for phrase in data._phrases(notes):
        assert set(used) == {phrase.split}
        assert len(phrase.notes) >= 5
        used.clear()
