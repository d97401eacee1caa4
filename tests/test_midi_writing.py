"""MIDI files, read back with mido and pretty_midi: pitches, bends, channels, programs, and times in very long files."""

from pathlib import Path

import mido
import pretty_midi
import pytest

from etude.adapters.annotations import Annotation
from etude.adapters.annotations.notes import Note
from etude.adapters.formats import export
from etude.adapters.formats._parts.general_midi import program_of


def write(tmp_path: Path, *notes: Note) -> Path:
    path = tmp_path / "a.mid"
    export(Annotation(notes=notes), path, "midi", duration=notes[-1].offset, source=Path("take.wav"))
    return path


def heard(path: Path) -> list[tuple[str, float, float, float, int | None]]:
    """What a synthesizer plays: track name, start and end in seconds, pitch with its bend, program; by start.

    Channels keep their state across tracks; messages at one time come as they are in the file.
    """
    file = mido.MidiFile(path, charset="utf-8")
    events = []
    for index, track in enumerate(file.tracks):
        tick, name = 0, ""
        for message in track:
            tick += message.time
            name = message.name if message.type == "track_name" else name
            events.append((tick, index, message, name))
    bends, ranges, programs, rpn = dict.fromkeys(range(16), 0), dict.fromkeys(range(16), 2.0), {}, {}
    open_notes, played = {}, []
    second = 2 * file.ticks_per_beat
    for tick, _, message, name in sorted(events, key=lambda event: event[:1]):
        if message.type == "pitchwheel":
            assert not [key for key in open_notes if key[0] == message.channel], "a sounding note is bent"
            bends[message.channel] = message.pitch
        elif message.type == "control_change":
            rpn[message.channel, message.control] = message.value
            if message.control == 6 and (rpn[message.channel, 101], rpn[message.channel, 100]) == (0, 0):
                ranges[message.channel] = message.value
        elif message.type == "program_change":
            programs[message.channel] = message.program
        elif message.type == "note_on":
            key = message.channel, message.note
            assert key not in open_notes, "a pitch sounds twice on a channel"
            pitch = message.note + bends[message.channel] / 8192 * ranges[message.channel]
            open_notes[key] = name, tick / second, pitch, programs.get(message.channel)
        elif message.type == "note_off":
            name, start, pitch, program = open_notes.pop((message.channel, message.note))
            played.append((name, start, tick / second, pitch, program))
    assert not open_notes
    return sorted(played, key=lambda note: note[1:4])


def expect(path: Path, notes: tuple[Note, ...], tolerance: float = 0.001) -> None:
    expected = sorted(notes, key=lambda note: (note.onset, note.offset, note.pitch))
    for (name, start, end, pitch, _), note in zip(heard(path), expected, strict=True):
        assert name == (note.technique or "note")
        assert (start, end) == pytest.approx((note.onset, note.offset), abs=tolerance)
        assert pitch == pytest.approx(note.pitch, abs=1e-3)


def test_pitches_between_semitones_are_bent_and_those_after_them_are_not(tmp_path: Path) -> None:
    notes = (Note(0, 1, 60.3, "a"), Note(1, 2, 61, "a"), Note(2, 3, 60.501, "a"), Note(2.5, 4, 64.999, "a"))
    expect(write(tmp_path, *notes), notes)
    wheels = [m for track in mido.MidiFile(tmp_path / "a.mid").tracks for m in track if m.type == "pitchwheel"]
    assert [round(m.pitch / 4096, 2) for m in wheels] == [0.3, 0.0, -0.5, 0.0]


def test_whole_semitones_need_no_bend_and_one_channel(tmp_path: Path) -> None:
    path = write(tmp_path, Note(0, 2, 60, "a"), Note(1, 2, 64, "a"), Note(2, 3, 60, "a"))
    messages = [message for track in mido.MidiFile(path).tracks for message in track if not message.is_meta]
    assert {message.type for message in messages} == {"note_on", "note_off"}
    assert len({message.channel for message in messages}) == 1


def test_notes_that_sound_together_keep_their_own_bends_and_ends(tmp_path: Path) -> None:
    notes = (
        Note(0, 3, 60.25, "a"),
        Note(0.5, 2, 60.25, "a"),
        Note(1, 4, 67.75, "a"),
        Note(1, 2, 60, "b"),
        Note(2, 3, 60, "b"),
    )
    expect(write(tmp_path, *notes), notes)
    song = pretty_midi.PrettyMIDI(str(tmp_path / "a.mid"))
    assert sorted(len(track.notes) for track in song.instruments if track.name == "b") == [2]


def test_more_tracks_than_channels_share_them_in_turn(tmp_path: Path) -> None:
    notes = tuple(Note(index / 2, index / 2 + 0.6, 60 + index / 10, f"{index:02d}", "violin") for index in range(40))
    path = write(tmp_path, *notes)
    expect(path, notes)
    assert {program for *_, program in heard(path)} == {40}
    assert 9 not in {message.channel for track in mido.MidiFile(path).tracks for message in track if not message.is_meta}


def test_beyond_fifteen_at_a_time_nothing_is_lost(tmp_path: Path) -> None:
    notes = tuple(Note(0.01 * index, 1 + 0.01 * index, 60 + index + 0.01 * index, f"{index:02d}") for index in range(20))
    played = heard(write(tmp_path, *notes))
    assert [round(pitch) for *_, pitch, _ in played] == [60 + index for index in range(20)]
    assert [pitch for *_, pitch, _ in played[:15]] == pytest.approx([note.pitch for note in notes[:15]], abs=1e-3)


def test_twelve_hours_stay_within_the_ticks_of_pretty_midi(tmp_path: Path) -> None:
    hours = 12 * 3600.0
    notes = (Note(0.5, 1, 60, "a"), Note(hours / 3, hours / 3 + 0.25, 62, "a"), Note(hours - 1, hours, 64, "a"))
    song = pretty_midi.PrettyMIDI(str(write(tmp_path, *notes)))
    ((track,), read) = song.instruments, song.instruments[0].notes
    assert track.name == "a"
    for note, own in zip(read, notes, strict=True):
        assert (note.start, note.end) == pytest.approx((own.onset, own.offset), abs=0.0045)


def test_times_of_ordinary_files_are_exact_to_half_a_tick(tmp_path: Path) -> None:
    notes = tuple(Note(7 * index + 0.1234, 7 * index + 3.4567, 60, "a") for index in range(100))
    expect(write(tmp_path, *notes), notes, tolerance=0.00053)


@pytest.mark.parametrize(
    ("instrument", "program"),
    [
        ("Violin", 40),
        ("cello", 42),
        ("double_bass", 43),
        ("Acoustic Guitar (steel)", 25),
        ("guitar", 24),
        ("piano", 0),
        ("French horn", 60),
        ("guzheng", 107),
        ("saxophone", 65),
        ("my own thing", None),
        ("古筝", None),
        ("", None),
    ],
)
def test_instruments_by_their_general_midi_names(instrument: str, program: int | None) -> None:
    assert program_of(instrument) == program


def test_tracks_say_technique_and_instrument(tmp_path: Path) -> None:
    notes = (Note(0, 1, 60, "颤音", "古筝"), Note(1, 2, 60, "trill", "Flute"), Note(2, 3, 60, None, "Flute"), Note(3, 4, 60))
    tracks = mido.MidiFile(write(tmp_path, *notes), charset="utf-8").tracks[1:]
    said = {
        (
            next(m.name for m in track if m.type == "track_name"),
            next((m.name for m in track if m.type == "instrument_name"), None),
            next((m.program for m in track if m.type == "program_change"), None),
        )
        for track in tracks
    }
    # the last, whose instrument nobody knows, follows on a channel of its own
    assert said == {("颤音", "古筝", None), ("trill", "Flute", 73), ("note", "Flute", 73), ("note", None, None)}
