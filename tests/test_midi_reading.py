"""Standard MIDI files as sequencers write them: tempo, bends, programs, names of tracks."""

import mido

from etude.adapters.formats import read_annotation


def notes_in(path):
    read = read_annotation(path)
    assert not read.problems
    return [(n.onset, n.offset, n.pitch, n.technique) for n in read.annotation.notes]


def midi_file(path, *tracks, resolution=480):
    """Tracks of (ticks since the last, message)."""
    song = mido.MidiFile(ticks_per_beat=resolution)
    for events in tracks:
        song.tracks.append(mido.MidiTrack([event.copy(time=ticks) for ticks, event in events]))
    song.save(path)
    return path


def on(note, channel=0):
    return mido.Message("note_on", note=note, velocity=80, channel=channel)


def off(note, channel=0):
    return mido.Message("note_on", note=note, velocity=0, channel=channel)


def test_a_tempo_change_in_any_track_moves_what_follows(tmp_path):
    slow = mido.MetaMessage("set_tempo", tempo=1_000_000)
    path = midi_file(tmp_path / "a.mid", [(0, on(60)), (480, off(60)), (0, on(62)), (480, off(62))], [(480, slow)])
    assert notes_in(path) == [(0, 0.5, 60, None), (0.5, 1.5, 62, None)]


def test_a_bend_that_stays_is_pitch_and_one_that_moves_is_an_ornament(tmp_path):
    def bend(semitones, reach=2):
        return mido.Message("pitchwheel", pitch=round(8192 * semitones / reach))

    wide = [(0, mido.Message("control_change", control=c, value=v)) for c, v in ((101, 0), (100, 0), (6, 12))]
    steady = [(0, bend(0.5)), (0, on(60)), (480, off(60)), (0, bend(0)), (0, on(62)), (480, off(62))]
    vibrato = [(0, bend(0.5)), (0, on(60)), (240, bend(0)), (240, off(60))]
    path = tmp_path / "a.mid"
    assert [note[2] for note in notes_in(midi_file(path, steady))] == [60.5, 62]
    assert [note[2] for note in notes_in(midi_file(path, vibrato))] == [60]
    far = [*wide, (0, bend(3, 12)), (0, on(60)), (480, off(60))]
    assert [note[2] for note in notes_in(midi_file(path, far))] == [63]


def test_names_programs_and_drums(tmp_path):
    def track(name, program, channel, *more):
        head = [(0, mido.MetaMessage("track_name", name=name)), *((0, event) for event in more)]
        head.append((0, mido.Message("program_change", program=program, channel=channel)))
        return [*head, (0, on(60, channel)), (480, off(60, channel))]

    named = mido.MetaMessage("instrument_name", name="guzheng")
    tracks = [
        track("bowed", 40, 0),
        track("piano", 0, 1),
        track("hit", 40, 9),
        track("颤音".encode().decode("latin-1"), 107, 2, named),
    ]
    notes = read_annotation(midi_file(tmp_path / "a.mid", *tracks)).annotation.notes
    assert {(note.technique, note.instrument) for note in notes} == {
        ("bowed", "Violin"),
        ("piano", None),
        ("hit", None),
        ("颤音", "guzheng"),
    }


def test_notes_that_never_end_are_noticed(tmp_path):
    path = midi_file(tmp_path / "a.mid", [(0, on(60)), (0, on(62)), (480, off(60))])
    read = read_annotation(path)
    assert len(read.annotation.notes) == 1
    assert [notice.what for notice in read.notices] == ["has 1 notes that never end, left out"]
