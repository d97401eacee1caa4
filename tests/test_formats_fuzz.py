"""No file makes a reader raise: what is wrong in it becomes a list of problems."""

import random
import re
import struct
import time
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from etude.adapters.annotations import Annotation
from etude.adapters.annotations.notes import Note
from etude.adapters.annotations.tags import Tag
from etude.adapters.errors import Problem
from etude.adapters.formats import export, read_annotation

CASES = Path(__file__).parent / "fixtures" / "annotations"
OWN = Annotation(notes=[Note(0.5, 1, 60.5, "a", "violin", 0.5), Note(0.75, 2, 40, "颤音")], tags=[Tag("b", 0.5)])
TOKENS = (b"nan", b"inf", b"-1", b"1e999", b"9" * 30, b"", b"\0", b"0", b'"', b"<", b"&a;", b"[" * 50, b"\xff", b"\t", b"\n")
FILES = 10
"""Mutated files of an example, which costs as much as a few of them."""
NUMBER = re.compile(rb"-?\d+(?:\.\d+)?")


def mutated(content, dice):
    """``content`` after an accident."""
    index, token = dice.randrange(len(content) + 1), dice.choice(TOKENS)
    lines = content.splitlines(keepends=True)
    line = lines.pop(dice.randrange(len(lines))) if lines else b""
    other = dice.randrange(len(lines) + 1)
    number = dice.choice(list(NUMBER.finditer(content)) or [None])
    return dice.choice(
        (
            content[:index] + bytes([dice.randrange(256)]) + content[index + 1 :],
            content[:index],
            content[:index] + token + content[index:],
            content[: number.start()] + token + content[number.end() :] if number else token,
            b"".join(lines),
            b"".join([*lines[:other], line, *lines[other:]]),
            b"".join([*lines[:other], line, line, *lines[other:]]),
        )
    )


def check(path):
    read = read_annotation(path)
    assert all(isinstance(problem, Problem) and problem.where.startswith(str(path)) for problem in read.problems)
    assert all(problem.what and "\n" not in str(problem) for problem in (*read.problems, *read.notices))
    assert all(note.problem() is None for note in read.annotation.notes)
    return read


@pytest.fixture(scope="module")
def places(tmp_path_factory):
    """A function from the name of a case to it, and to a file that takes its place."""
    folder = tmp_path_factory.mktemp("mutated")
    export(OWN, folder / "own.json", "json", duration=3.0, source=Path("a.wav"))

    def get(name):
        return (folder if name == "own.json" else CASES) / name, folder / f"mutated{Path(name).suffix}"

    return get


@pytest.mark.parametrize("name", sorted({path.name for path in CASES.iterdir()} | {"own.json"}))
@given(seed=st.integers(0, 2**64))
@settings(max_examples=2000 // FILES, deadline=None, suppress_health_check=list(HealthCheck), database=None)
def test_no_mutated_file_raises(name, places, seed):
    original, path = places(name)
    dice, untouched = random.Random(seed), original.read_bytes()
    for _ in range(FILES):
        content = untouched
        for _ in range(dice.randint(1, 4)):
            content = mutated(content, dice)
        path.write_bytes(content)
        check(path)


LAUGHS = b'<!DOCTYPE a [<!ENTITY a "ha">' + b"".join(b'<!ENTITY %c "%s">' % (98 + i, b"&%c;" % (97 + i) * 10) for i in range(9))
MIDI_HEADER = struct.pack(">4sIHHh", b"MThd", 6, 1, 1, 480)
PATHOLOGICAL = {
    "a billion laughs.eaf": b'<?xml version="1.0"?>' + LAUGHS + b"]><ANNOTATION_DOCUMENT>&j;</ANNOTATION_DOCUMENT>",
    "the same in UTF-16.svl": (
        '<?xml version="1.0" encoding="UTF-16"?>'
        + LAUGHS.decode().replace("DOCTYPE a", "DOCTYPE sonic-visualiser")
        + "]><sv>&j;</sv>"
    ).encode("utf-16"),
    "an encoding that is none.eaf": b'<?xml version="1.0" encoding="klingon"?><ANNOTATION_DOCUMENT/>',
    "annotations that refer to each other.eaf": (
        b'<ANNOTATION_DOCUMENT><TIER TIER_ID="a">'
        b'<ANNOTATION><REF_ANNOTATION ANNOTATION_ID="a1" ANNOTATION_REF="a2"/></ANNOTATION>'
        b'<ANNOTATION><REF_ANNOTATION ANNOTATION_ID="a2" ANNOTATION_REF="a1"/></ANNOTATION></TIER></ANNOTATION_DOCUMENT>'
    ),
    "deep.eaf": b"<ANNOTATION_DOCUMENT>" + b"<a>" * 100_000,
    "deep.json": b'{"notes":' + b"[" * 100_000,
    "deep.jams": b'{"annotations":' + b'{"a":' * 100_000,
    "a number of many digits.json": b'{"notes": [{"onset": ' + b"9" * 5000 + b', "offset": 1}]}',
    "a number beyond floats.json": b'{"notes": [{"onset": 1' + b"0" * 400 + b', "offset": 1}]}',
    "numbers beyond floats.jams": b'{"annotations": [{"namespace": "note_midi", "data": [{"time": 1' + b"0" * 400 + b"}]}]}",
    "a billion tiers.TextGrid": b'"ooTextFile"\n"TextGrid"\n0 1\n<exists>\n1000000000\n',
    "a billion intervals.TextGrid": b'"ooTextFile"\n"TextGrid"\n0 1\n<exists>\n1\n"IntervalTier" "a" 0 1 1000000000\n',
    "endless text.TextGrid": b'"ooTextFile"\n"TextGrid"\n0 1\n<exists>\n1\n"IntervalTier" "' + b'a""' * 50_000,
    "long delays.mid": MIDI_HEADER + struct.pack(">4sI", b"MTrk", 4 * 9) + b"\xff\xff\xff\x7f\x90\x40\x40\x00\x00" * 4,
    "a long track.mid": MIDI_HEADER + struct.pack(">4sI", b"MTrk", 2**32 - 1) + b"\0\x90\x40\x40",
    "no resolution.mid": struct.pack(">4sIHHh", b"MThd", 6, 1, 0, 0),
    "frames of film.mid": struct.pack(">4sIHHh", b"MThd", 6, 1, 0, -6360),
    "wide.csv": b",".join(b"c%d" % index for index in range(50_000)) + b"\n",
    "one long cell.csv": b'onset_time,offset_time,technique\n0,1,"' + b"a" * 200_000 + b'"\n',
    "zeros.csv": bytes(100_000),
}


@pytest.mark.parametrize("name", PATHOLOGICAL)
def test_what_is_made_to_break_readers_is_a_problem_at_once(tmp_path, name):
    path = tmp_path / name
    path.write_bytes(PATHOLOGICAL[name])
    began = time.process_time()
    assert check(path).problems
    assert time.process_time() - began < 2
