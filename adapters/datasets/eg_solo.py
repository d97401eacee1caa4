"""EG-Solo: 76 clips (40 min) of electric guitar solos over backing tracks, with 9 playing techniques.

Huang, Yu & Su, "Note and Playing Technique Transcription of Electric Guitar Solos in Real-World Music Performance", ICASSP
2023. The labels are MIDI files (bryanyu1997.github.io/EG-Solo_demo); the recordings are on YouTube, and whoever has them puts
them beside the labels, or into another folder of ``root``, under the same names. They come from three videos: a folder for each
keeps these, and so the players, apart in the splits, of which none is published; folders called train, validation and test are
taken at their word.

How the files tell the techniques is not written down anywhere. Read are tracks that are called as a technique is (``labels``),
or a track whose name holds "tech" and whose pitches stand for techniques (``keys``); tracks of phrases are passed over.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from pydantic import Field

from etude.adapters.config import Location
from etude.adapters.datasets import Dataset, DatasetConfig, Track
from etude.adapters.datasets._parts.pairing import files_in, groups, paired
from etude.adapters.datasets._parts.published_notes import PublishedNotes
from etude.adapters.datasets._parts.splits import divided
from etude.adapters.errors import Problem, UserError
from etude.adapters.formats import Entry, Reading, format_of

LABELS = {
    "normal": "normal",
    "slide": "slide",
    "bend": "bend",
    "vibrato": "vibrato",
    "trill": "vibrato",
    "mute": "mute",
    "pull": "pull_off",
    "pull-off": "pull_off",
    "harmonic": "harmonic",
    "hammer": "hammer_on",
    "hammer-on": "hammer_on",
    "tap": "tap",
}
"""Names that the authors use -> class."""
MIDI = (".mid", ".midi")
PHRASES, TECHNIQUES = "phrase", "tech"
"""In the names of tracks that hold no notes."""
SOURCE = "get the labels from bryanyu1997.github.io/EG-Solo_demo, and the recordings from the videos named there"


class EgSoloConfig(DatasetConfig):
    """EG-Solo on disk."""

    root: Location
    """The folder of labels and recordings."""
    labels: dict[str, str] = Field(LABELS, min_length=1)
    """Track name in lower case -> class; classes in label order."""
    keys: dict[int, str] | None = Field(None, min_length=1)
    """MIDI number -> class, where techniques are the pitches of a track of their own: a note has the technique that sounds
    longest while it does, and the first class of ``labels`` where none sounds."""
    group: str | None = None
    """Regular expression that finds the player in the path of a recording; when omitted, the outermost folder in which the
    recordings differ."""
    seed: int = Field(0, ge=0, lt=2**32)
    """Of the split."""


class EgSolo(Dataset):
    """Pairs labels and recordings by their names."""

    Config = EgSoloConfig
    config: EgSoloConfig
    licence = "unknown"

    @property
    def classes(self) -> Mapping[str, tuple[str, ...]]:
        """The 9 techniques, or those of ``labels`` and ``keys``."""
        return {"notes": tuple(dict.fromkeys([*self.config.labels.values(), *(self.config.keys or {}).values()]))}

    def scan(self) -> tuple[list[Track], list[Problem]]:
        """Every usable track and every problem; a recording without labels is a notice, and so are labels without one."""
        root = Path(self.config.root)
        try:
            audio, files = files_in(root)
            midi = [
                path for path in files if path.suffix.lower() in (format_of("midi").suffix, *format_of("midi").other_suffixes)
            ]
            pairs, notices = paired(root, audio, midi)
            players = groups(root, list(pairs), self.config.group)
        except UserError as error:
            return [], list(error.problems)
        if not pairs:
            return [], [Problem("holds no recording with a MIDI file of its name", str(root), SOURCE)]
        if lone := sorted(set(midi).difference(pairs.values())):
            notices.append(Problem(f"{len(lone)} of {len(midi)} MIDI files have no recording", str(lone[0]), SOURCE))
        notes = PublishedNotes({**self.config.labels, **{name: name for name in self.classes["notes"]}})
        for path, labels in pairs.items():
            id = path.relative_to(root).with_suffix("").as_posix()
            notes.add(id, path, "train", self._entries(labels, notes.problems), players[path])
        self.notices += notices + notes.notices()
        if notes.tracks and not any(note.technique for track in notes.tracks for note in track.annotation.notes):
            what = "no track is called as a technique is"
            notes.problems.append(Problem(what, str(root), "set data.labels, or data.keys if pitches stand for techniques"))
        return divided(notes.tracks, self.config.seed), notes.problems

    def _entries(self, file: Path, problems: list[Problem]) -> Iterator[Entry]:
        try:
            found = format_of("midi").read(file, Reading()).entries
        except UserError as error:
            problems += [replace(problem, where=problem.where or str(file)) for problem in error.problems]
            return
        tracks = [(entry.cells["technique"].strip().lower(), entry) for entry in found]
        heard = [(name, entry) for name, entry in tracks if PHRASES not in name]
        said = [entry for name, entry in heard if TECHNIQUES in name]
        if self.config.keys is not None and not said:
            fix = "leave out data.keys, or rename the track whose pitches stand for techniques"
            problems.append(Problem(f"has no track with '{TECHNIQUES}' in its name", str(file), fix))
        for name, entry in heard:
            if self.config.keys is None:
                yield Entry({**entry.cells, "technique": name}, f"{file}{entry.place}")
            elif TECHNIQUES not in name:
                yield Entry({**entry.cells, "technique": self._sounding(entry, said)}, f"{file}{entry.place}")

    def _sounding(self, note: Entry, said: Sequence[Entry]) -> str:
        """The technique that ``said`` gives to a note."""
        keys, plain = self.config.keys or {}, next(iter(self.config.labels.values()))
        start, end = (float(note.cells[column]) for column in ("onset_time", "offset_time"))
        longest, best = 0.0, plain
        for entry in said:
            overlap = min(end, float(entry.cells["offset_time"])) - max(start, float(entry.cells["onset_time"]))
            if overlap > longest:
                longest, best = overlap, keys.get(round(float(entry.cells["pitch"])), f"key {entry.cells['pitch']}")
        return best
