"""Guzheng_Tech99 as the Hugging Face Hub has it: Arrow and parquet tables with the sound in a column."""

import builtins
import io
import shutil

import pyarrow as pa
import pytest
import soundfile
from made_datasets import whats
from made_guzheng import HUB, SPLITS, guzheng, hub_table, sound, write_arrow, write_hub, write_parquet

from etude.adapters.datasets import guzheng_tech99 as module
from etude.adapters.datasets._parts.hub_tables import _rows
from etude.adapters.datasets._parts.survey import survey

CLASSES = ("vibrato", "plucks", "upward_portamento")
CACHED = "datasets/ccmusic-database___guzheng_tech99/default/1.2.0/0a1b/guzheng_tech99-{}.arrow"
SNAPSHOT = "datasets--ccmusic-database--Guzheng_Tech99/snapshots/0a1b/default/{}-00000-of-00001.parquet"


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("ETUDE_CACHE", str(tmp_path / "cache"))


@pytest.mark.parametrize(
    ("write", "name"),
    [
        (write_arrow, "default/{}/data-00000-of-00001.arrow"),
        (write_arrow, CACHED),
        (lambda path, table: write_arrow(path, table, stream=False), "{}.arrow"),
        (write_parquet, "default/{}/0000.parquet"),
        (write_parquet, "data/{}-00000-of-00001.parquet"),
        (write_parquet, SNAPSHOT),
    ],
)
def test_tables_are_read_wherever_they_lie(tmp_path, write, name):
    data = write_hub(tmp_path / "hub", write, name)
    assert data.check()[1] == []
    for number, split in enumerate(SPLITS):
        tracks = data.tracks(split)
        assert [track.id for track in tracks] == [f"{split}/{split}_{k}" for k in range(3)]
        for k, track in enumerate(tracks):
            assert track.audio.read_bytes() == sound(k + 1, 10 * number + k)
            assert [(n.onset, n.offset, n.technique, n.pitch) for n in track.annotation.notes] == [
                (0, 0.5, CLASSES[k], 60 + k),
                (0.5, k + 1, CLASSES[k], 61 + k),
            ]
    assert data.notices == []


@pytest.mark.parametrize("names", [HUB, None])
@pytest.mark.parametrize("by_field", [True, False])
def test_events_may_be_a_list_or_lists_and_names_may_be_lacking(tmp_path, names, by_field):
    data = write_hub(tmp_path / "hub", names=names, by_field=by_field)
    found = [track.annotation.notes[1].technique for track in data.tracks("test")]
    assert tuple(found) == CLASSES


def test_the_names_of_the_numbers_are_those_of_the_table(tmp_path):
    data = write_hub(tmp_path / "hub", names=["yaozhi", "dianyin", "huazhi/guazou/lianmo/liantuo"])
    found = [track.annotation.notes[0].technique for track in data.tracks("train")]
    assert found == ["tremolo", "point_note", "glissando"]
    table = hub_table("train")
    texts = [[{"onset_time": 0.0, "offset_time": 0.5, "IPT": "xiahua", "note": 60}]] * 3
    write_parquet(tmp_path / "text/train.parquet", table.set_column(2, "label", pa.array(texts)))
    assert guzheng(tmp_path / "text").check()[0][0].annotation.notes[0].technique == "downward_portamento"


def test_other_tables_are_passed_over(tmp_path):
    data = write_hub(tmp_path / "hub")
    other = pa.table({"mel": [[0.0]], "label": [[[0.0]]]})
    for name in ("eval/train/data-00000-of-00001.arrow", "default/train/cache-0a1b.arrow", ".cache/train/x.arrow"):
        write_arrow(tmp_path / "hub" / name, other)
    assert (len(data.check()[0]), data.check()[1]) == (9, [])


def test_tables_are_unpacked_once_and_again_when_they_change(tmp_path, monkeypatch):
    calls = []
    unpack = module.unpack
    monkeypatch.setattr(module, "unpack", lambda *arguments: calls.append(1) or unpack(*arguments))
    for _ in range(2):
        assert len(write_hub(tmp_path / "hub").check()[0]) == 9 if not calls else guzheng(tmp_path / "hub").check()[0]
    assert len(calls) == 1
    write_arrow(tmp_path / "hub/default/test/data-00000-of-00001.arrow", hub_table("test", seconds=2.0))
    assert {track.info.duration for track in guzheng(tmp_path / "hub").tracks("test")} == {2, 3, 4}
    assert len(calls) == 2


def test_names_that_repeat_or_lack_are_told_apart_and_the_kind_of_sound_is_told_by_its_bytes(tmp_path):
    for split in SPLITS:
        table = hub_table(split)
        first = 10 * SPLITS.index(split)
        rows = [(sound(1, first), "x/1.flac"), (sound(2, first + 1, "WAV"), "1"), (sound(3, first + 2, "OGG"), None)]
        audio = pa.array([{"bytes": content, "path": path} for content, path in rows], table.schema.field("audio").type)
        write_arrow(tmp_path / f"hub/default/{split}/data-00000-of-00001.arrow", table.set_column(0, "audio", audio))
    data = guzheng(tmp_path / "hub")
    assert data.check()[1] == []
    assert sorted(track.audio.name for track in data.tracks("train")) == ["1-1.wav", "1.flac", "2.ogg"]


@pytest.mark.parametrize("write", [write_arrow, write_parquet])
def test_no_more_than_a_recording_at_a_time_is_in_memory(tmp_path, write):
    sounds = [{"bytes": sound(20, k), "path": f"{k}.flac"} for k in range(30)]
    rows = pa.array(sounds, hub_table("train").schema.field("audio").type)
    label = [{"onset_time": [0.0], "offset_time": [0.5], "IPT": [0], "note": [60]}] * 30
    table = pa.table({"audio": rows, "label": pa.array(label)})
    path = tmp_path / f"train{'.arrow' if write is write_arrow else '.parquet'}"
    write(path, table)
    del rows, table
    before = pa.default_memory_pool().bytes_allocated()
    peaks = []
    for _ in _rows(path, HUB):
        peaks.append(pa.default_memory_pool().bytes_allocated() - before)
    assert len(peaks) == 30
    assert max(peaks) < path.stat().st_size / 3


def break_table(root, how):
    path = root / "default/test/data-00000-of-00001.arrow"
    content = path.read_bytes()
    if how == "cut":
        path.write_bytes(content[: len(content) // 2])
    elif how == "pointer":
        path.write_bytes(b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 62600000\n")
    elif how == "column":
        write_arrow(path, hub_table("test").drop_columns(["label"]))
    else:
        table = hub_table("test")
        kind = table.schema.field("audio").type
        write_arrow(path, table.set_column(0, "audio", pa.array([{"bytes": None, "path": "a.flac"}] * 3, kind)))
    return path


@pytest.mark.parametrize(
    ("how", "what"),
    [
        ("cut", "is no table of annotated recordings: "),
        ("pointer", "is a Git LFS pointer, not the data (get the data set again)"),
        ("column", "is no table of annotated recordings: "),
        ("sound", "holds no sound in row 1 (get the data set again)"),
    ],
)
def test_damaged_tables_are_told_in_one_line_and_leave_nothing_in_the_cache(tmp_path, how, what):
    write_hub(tmp_path / "hub")
    path = break_table(tmp_path / "hub", how)
    tracks, problems = guzheng(tmp_path / "hub").check()
    (line,) = whats(problems).splitlines()
    assert line.startswith(f"{path}: {what}")
    assert tracks == []
    assert not [found for found in (tmp_path / "cache").rglob("*") if found.is_file()]


def test_without_pyarrow_the_extra_is_named(tmp_path, monkeypatch):
    write_hub(tmp_path / "hub")
    real = builtins.__import__

    def lacking(name, *arguments, **fields):
        if name.split(".")[0] == "pyarrow":
            raise ImportError(name)
        return real(name, *arguments, **fields)

    monkeypatch.setattr(builtins, "__import__", lacking)
    _, (problem,) = guzheng(tmp_path / "hub").check()
    assert problem.what == "reading it needs pyarrow"
    assert problem.fix == 'pip install "etude[arrow]"'


def test_what_is_unpacked_decodes(tmp_path):
    data = write_hub(tmp_path / "hub")
    assert survey(data.check()[0]).problems == []
    samples, rate = soundfile.read(io.BytesIO(data.tracks("train")[2].audio.read_bytes()))
    assert (len(samples), rate) == (24000, 8000)
    shutil.rmtree(tmp_path / "cache")
    assert len(guzheng(tmp_path / "hub").check()[0]) == 9
