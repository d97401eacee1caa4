"""Guzheng_Tech99, on small trees laid out as the release is."""

from made_datasets import audio, whats

from etude.adapters.datasets.guzheng_tech99 import GuzhengTech99

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
