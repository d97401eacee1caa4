"""CBFdataset, on small trees laid out as the release is."""

import pytest
from made_datasets import audio, whats
from pydantic import ValidationError
from typer.testing import CliRunner

from etude.adapters.datasets.cbf import Cbf
from etude.adapters.recipe.schema import load_recipe
from etude.adapters.training.engine import train
from etude.cli.app import app

CLASSES = ("vibrato", "tremolo", "trill", "flutter_tongue", "acciaccatura", "portamento", "glissando")
RELEASED = ("Vibrato", "Tremolo", "Trill", "FT", "Acciacatura", "Portamento", "Glissando")
SEPARATE = "0.5,New Point\n0.9,New Point\n1.2,New Point\n1.5,New Point\n"
"""Two events as the authors read them: times begin and end an event by turns."""


def cbf_tree(root, players=range(1, 11), table=SEPARATE):
    for number in players:
        player = root / f"Player{number}"
        for k, name in enumerate(RELEASED):
            audio(player / f"Iso/Iso_{name}.wav", 2, 100 * number + k, channels=2)
            (player / f"Iso/Iso_{name}.csv").write_text("0.1\n0.4\n")
        audio(player / "Piece/Busy_C.wav", 2, 100 * number + 50, channels=2)
        for name in ("FT", "Acciacatura"):
            (player / f"Piece/Busy_C_tech_{name}.csv").write_text(table)
        audio(player / "Piece/Busy.wav", 2, 100 * number + 51, channels=2)
        (player / "Piece/Busy_tech_Trill.csv").write_text("0.25\n0.75\n")
    return root


def cbf(root, **fields):
    return Cbf(Cbf.Config(name="cbf", root=str(root), **fields))


def events(track):
    return [(note.onset, note.offset, note.technique, note.pitch) for note in track.annotation.notes]


@pytest.mark.parametrize("inside", [False, True])
def test_tracks_have_the_events_of_all_their_tables_and_players_are_apart(tmp_path, inside):
    cbf_tree(tmp_path / "CBFdataset" if inside else tmp_path)
    data = cbf(tmp_path)
    assert (data.check()[1], data.notices) == ([], [])
    assert (data.classes, data.licence) == ({"notes": CLASSES}, "CC-BY-4.0")
    players = {split: {track.group for track in data.tracks(split)} for split in ("train", "validation", "test")}
    assert [len(found) for found in players.values()] == [6, 2, 2]
    assert set().union(*players.values()) == {f"Player{number}" for number in range(1, 11)}
    tracks = {track.id: track for track in data.tracks("test")}
    assert len(tracks) == 2 * 9
    assert events(tracks["Player5/Piece/Busy_C"]) == [
        (start, end, technique, None)
        for start, end in ((0.5, 0.9), (1.2, 1.5))
        for technique in ("acciaccatura", "flutter_tongue")
    ]
    assert events(tracks["Player5/Piece/Busy"]) == [(0.25, 0.75, "trill", None)], "a name that another one begins with"
    assert [events(tracks[f"Player5/Iso/Iso_{name}"])[0][2] for name in RELEASED] == list(CLASSES)


TABLES = (
    "0.5,0.9\n1.2,1.5\n",
    "0.5, 0.9\r\n\r\n1.2, 1.5\r\n",
    "0.5\t0.9\n1.2\t1.5\n",
    "\ufeff0.5,1\n0.9,2\n1.2,3\n1.5,4\n",
    "0.5\n0.9\n1.2\n1.5",
)


@pytest.mark.parametrize("table", TABLES)
def test_times_may_be_in_pairs_or_by_turns(tmp_path, table):
    cbf_tree(tmp_path, [5], table)
    data = cbf(tmp_path, players={"test": [5]})
    track = next(track for track in data.tracks("test") if track.audio.stem == "Busy_C")
    assert sorted({(start, end) for start, end, *_ in events(track)}) == [(0.5, 0.9), (1.2, 1.5)]


def test_players_are_split_as_the_recipe_says(tmp_path):
    cbf_tree(tmp_path, [1, 2, 3])
    data = cbf(tmp_path, players={"train": [3], "test": [1]})
    assert {(track.group, track.split) for track in data.check()[0]} == {("Player3", "train"), ("Player1", "test")}
    with pytest.raises(ValidationError, match="player 3 is named 2 times; name each in one split"):
        cbf(tmp_path, players={"validation": [3], "test": [3]})
    assert [str(problem.where) for problem in cbf(tmp_path, players={"train": [3, 4]}).check()[1]] == [f"{tmp_path}/Player4"]
    _, (problem,) = cbf(tmp_path / "nowhere").check()
    assert "zenodo.org/records/5744336" in problem.fix


def test_what_does_not_fit_is_left_out_with_a_notice(tmp_path):
    cbf_tree(tmp_path, [5], "0.5\n0.5\n1.9\n2.5\n3\n4\n")
    audio(tmp_path / "Player5/Piece/Lone.wav", 1, 1)
    audio(tmp_path / "Player5/Iso/Iso_Scale.wav", 1, 2)
    (tmp_path / "Player5/Iso/Iso_Scale.csv").write_text("0.1\n0.4\n")
    data = cbf(tmp_path, players={"test": [5]})
    track = next(track for track in data.tracks("test") if track.audio.stem == "Busy_C")
    assert [times[:2] for times in events(track)] == [(1.9, 2.0)] * 2
    player, whole = tmp_path / "Player5", f"first {tmp_path}/Player5/Piece/Busy_C.wav"
    assert [str(notice).partition(" (")[0] for notice in data.notices] == [
        f"{player}/Iso/Iso_Scale.csv: is of a technique that is not known and is left out",
        f"{player}/Piece/Lone.wav: has no table of events beside it and is left out",
        f"{whole}: 4 events in 1 recordings last no time or begin after the end, and are left out",
        f"{whole}: 2 events in 1 recordings outlast it, and are cut",
    ]


def test_faults_of_tables_are_problems(tmp_path):
    cbf_tree(tmp_path, [5])
    piece = tmp_path / "Player5/Piece"
    (piece / "Busy_C_tech_FT.csv").write_text("0.5\nnow\n0.9\n,1\n")
    (piece / "Busy_tech_Trill.csv").write_text("0.5\n0.7\n0.9\n")
    (piece / "Busy_C_tech_Acciacatura.csv").write_bytes(b"\xff\xfe0\x00")
    tracks, problems = cbf(tmp_path, players={"test": [5]}).check()
    assert len(tracks) == 7
    assert whats(problems).splitlines() == [
        f"{piece}/Busy_tech_Trill.csv: holds 3 times, of which the last begins an event without an end"
        " (add the missing time, or remove the line)",
        f"{piece}/Busy_C_tech_Acciacatura.csv: cannot be read: it is no text file"
        " (get CBFdataset.zip from zenodo.org/records/5744336 and unpack it)",
        f"{piece}/Busy_C_tech_FT.csv:2: 'now' is not a time in seconds (correct it)",
        f"{piece}/Busy_C_tech_FT.csv:4: '' is not a time in seconds (correct it)",
    ]


def test_the_recipe_runs(tmp_path):
    cbf_tree(tmp_path / "CBFdataset")
    result = CliRunner().invoke(app, ["data", "check", "cbf", f"data.root={tmp_path}/CBFdataset"])
    assert result.exit_code == 0, result.stderr
    small = ["backbone.weights=random:tiny", "backbone.window=2.0", "train.epochs=1", "train.precision=fp32"]
    recipe = load_recipe("cbf", [f"data.root={tmp_path}/CBFdataset", *small])
    adapter = train(recipe, tmp_path / "run", tmp_path / "adapter")
    assert (adapter / "recipe.yaml").exists()
