"""GTZAN, on small trees laid out as its copies are."""

import zlib

import numpy as np
import pytest
import soundfile

from etude.adapters.annotations.tags import Tag
from etude.adapters.datasets.gtzan import GENRES, Gtzan

LISTED = {
    "train_filtered.txt": ["blues/blues.00029.wav", "rock/rock.00000.wav", "jazz/jazz.00054.wav"],
    "valid_filtered.txt": ["hiphop/hiphop.00001.wav"],
    "test_filtered.txt": ["blues/blues.00012.wav", "metal/metal.00003.wav"],
}


def audio(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, np.random.default_rng(zlib.crc32(path.name.encode())).uniform(-0.5, 0.5, 2205), 22050)


def tree(root, folder="genres", suffix=".wav", lists=None):
    for name, lines in LISTED.items():
        for line in lines:
            audio((root / folder / line).with_suffix(suffix))
        (lists or root).mkdir(exist_ok=True)
        ((lists or root) / name).write_text("\n".join(lines) + "\n")
    return root


def gtzan(root, **fields):
    return Gtzan(Gtzan.Config(name="gtzan", root=str(root), **fields))


def told(dataset):
    return [str(problem) for problem in dataset.check()[1]]


@pytest.mark.parametrize("folder", ["genres", "genres_original"])
@pytest.mark.parametrize("suffix", [".wav", ".au"])
def test_tracks(tmp_path, folder, suffix):
    data = gtzan(tree(tmp_path, folder, suffix))
    assert told(data) == []
    assert data.notices == []
    assert (data.classes, data.licence) == ({"tags": GENRES}, "unknown")
    assert (len(GENRES), list(GENRES)) == (10, sorted(GENRES))
    assert {track.id: (track.annotation.tags.records, track.split) for track in data.check()[0]} == {
        "blues/blues.00029": ((Tag("blues"),), "train"),
        "rock/rock.00000": ((Tag("rock"),), "train"),
        "jazz/jazz.00054": ((Tag("jazz"),), "train"),
        "hiphop/hiphop.00001": ((Tag("hiphop"),), "validation"),
        "blues/blues.00012": ((Tag("blues"),), "test"),
        "metal/metal.00003": ((Tag("metal"),), "test"),
    }
    first = data.tracks("train")[0]
    assert first.audio == tmp_path / folder / f"blues/blues.00029{suffix}"
    assert (first.info.sample_rate, first.info.frames) == (22050, 2205)
    assert not any(track.annotation.tags.unjudged for track in data.check()[0])


def test_unlisted_recordings_are_left_out_and_lists_may_be_elsewhere(tmp_path):
    root = tree(tmp_path / "gtzan", lists=tmp_path / "lists")
    audio(root / "genres/blues/blues.00099.wav")
    data = gtzan(root, splits=str(tmp_path / "lists"))
    assert told(data) == []
    assert len(data.check()[0]) == 6


@pytest.mark.parametrize("how", ["missing", "not audio"])
def test_the_recording_that_is_known_to_be_broken_is_a_notice(tmp_path, how):
    broken = tree(tmp_path) / "genres/jazz/jazz.00054.wav"
    broken.unlink() if how == "missing" else broken.write_bytes(b"\0" * 1000)
    data = gtzan(tmp_path)
    assert told(data) == []
    assert [track.id for track in data.tracks("train")] == ["blues/blues.00029", "rock/rock.00000"]
    assert list(map(str, data.notices)) == [f"{broken}: cannot be read, as is known of it, and is left out"]


def test_missing_and_broken_recordings(tmp_path):
    genres = tree(tmp_path) / "genres"
    (genres / "blues/blues.00012.wav").unlink()
    (genres / "metal/metal.00003.wav").unlink()
    (genres / "rock/rock.00000.wav").write_bytes(b"\0" * 1000)
    problems = told(gtzan(tmp_path))
    assert len(problems) == 2
    assert problems[0].startswith(f"{genres / 'rock/rock.00000.wav'}: cannot be read as audio")
    missing = "2 of the 2 recordings in test_filtered.txt are missing, first blues/blues.00012"
    assert problems[1].startswith(f"{genres}: {missing} (get GTZAN")


def test_wrong_lists(tmp_path):
    tree(tmp_path)
    lines = ["hiphop/hiphop.00001.wav", "", "blues/blues.00029.au", "hip-hop/hip-hop.00001.wav", "rock.00001.wav"]
    (tmp_path / "valid_filtered.txt").write_text("\n".join(lines), encoding="utf-8-sig")
    (tmp_path / "test_filtered.txt").write_text("metal/metal.00003.wav\nmetal/metal.00003.wav\n")
    lists = {name: tmp_path / name for name in LISTED}
    assert told(gtzan(tmp_path)) == [
        f"{lists['valid_filtered.txt']}:3: blues/blues.00029 is listed already in {lists['train_filtered.txt']}:1 "
        "(keep it in one place: what is trained on must not be tested on)",
        f"{lists['valid_filtered.txt']}:4: unknown genre 'hip-hop' (did you mean 'hiphop'?)",
        f"{lists['valid_filtered.txt']}:5: 'rock.00001.wav' is not of the form blues/blues.00029.wav "
        "(get the lists from github.com/jongpillee/music_dataset_split, folder GTZAN_split)",
        f"{lists['test_filtered.txt']}:2: metal/metal.00003 is listed already in {lists['test_filtered.txt']}:1 "
        "(keep it in one place: what is trained on must not be tested on)",
    ]


def test_missing_lists_say_where_they_are_published(tmp_path):
    tree(tmp_path)
    (tmp_path / "train_filtered.txt").unlink()
    (tmp_path / "valid_filtered.txt").write_bytes(b"\xff\xfe\x00")
    (tmp_path / "test_filtered.txt").write_text("\n")
    source = "(get the lists from github.com/jongpillee/music_dataset_split, folder GTZAN_split)"
    assert told(gtzan(tmp_path)) == [
        f"{tmp_path / 'train_filtered.txt'}: cannot be read: No such file or directory {source}",
        f"{tmp_path / 'valid_filtered.txt'}: is not a text file {source}",
        f"{tmp_path / 'test_filtered.txt'}: lists no recording {source}",
    ]
    assert told(gtzan(tmp_path / "nowhere"))[0].startswith(f"{tmp_path / 'nowhere/genres'}: no such folder (get GTZAN")


def test_any_lines_are_reported_and_none_leaves_the_folder(tmp_path):
    tree(tmp_path)
    audio(tmp_path / "outside.wav")
    wild = ["..", "../outside.wav", "blues/../../outside.wav", "/etc/passwd", "blues/", ".", "blues/\0", "\\", "blues\\a.wav"]
    (tmp_path / "test_filtered.txt").write_text("\n".join([*wild, "metal/metal.00003.wav"]))
    data = gtzan(tmp_path)
    assert [track.id for track in data.check()[0] if track.split == "test"] == ["metal/metal.00003"]
    assert sum("is not of the form" in line for line in told(data)) == len(wild) == len(told(data))
