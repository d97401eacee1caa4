"""Share of recorded notes whose pitch is found to half a semitone, octave included, given where they begin and end.

Every note is heard for a second at most, and for a quarter of a second; notes of the packaged recipes' test phrases are heard
in their phrase. ``--every N`` takes every Nth note, which pYIN (librosa) needs; ``--no-pyin`` leaves it out.
"""

from __future__ import annotations

import csv
import os
import time
import warnings
from collections import defaultdict
from pathlib import Path

import numpy as np
import torch
from report import arguments, finish

from etude.adapters.model.build import named_dataset
from etude.adapters.sound.audio import read_window
from etude.adapters.sound.pitch_salience import note_pitch, pitch_salience
from etude.adapters.sound.spans import sound

RATE, FRAME_RATE = 24_000, 50.0
LENGTHS = {"1 s": 1.0, ".25 s": 0.25}
RECIPES = ("double-bass", "electric-bass", "demo")


def salience(samples):  # type: ignore[no-untyped-def]
    """``[samples]`` -> ``[frames, bins]``."""
    frames = max(1, int(len(samples) / RATE * FRAME_RATE))
    return pitch_salience(torch.from_numpy(samples)[None], RATE, frames, FRAME_RATE)[0].numpy()


def pyin(samples):  # type: ignore[no-untyped-def]
    """pYIN's fundamental in MIDI numbers of the voiced frames, not a number elsewhere, ``[frames]``."""
    import librosa

    padded = np.pad(samples, (0, max(0, 4096 - len(samples))))
    limits = {"fmin": 28.0, "fmax": 4300.0, "resolution": 0.2}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        pitch, voiced, _ = librosa.pyin(padded, sr=RATE, frame_length=4096, hop_length=round(RATE / FRAME_RATE), **limits)
    return librosa.hz_to_midi(np.where(voiced, pitch, np.nan))


class Tally:
    """Rows of the table, and the seconds that each system took."""

    def __init__(self, systems):  # type: ignore[no-untyped-def]
        self.systems = systems
        self.errors = defaultdict(lambda: defaultdict(list))  # type: ignore[var-annotated]
        self.seconds = dict.fromkeys(systems, 0.0)
        self.heard = 0.0

    def add(self, name, samples, notes, column):  # type: ignore[no-untyped-def]
        """Hear ``samples``, of which ``notes`` are (name, first frame, frame after the last, MIDI pitch)."""
        self.heard += len(samples) / RATE
        for system, read in self.systems.items():
            started = time.perf_counter()
            frames = read(samples)
            for row, start, stop, midi in notes:
                found = self.pitch(frames[start : max(start + 1, stop)])
                self.errors[f"{name} {row}"][f"{system} {column}"].append(np.nan if found is None else found - midi)
            self.seconds[system] += time.perf_counter() - started

    @staticmethod
    def pitch(frames):  # type: ignore[no-untyped-def]
        """Of the frames of one note; pYIN's is the median of the voiced ones."""
        if frames.ndim == 2:
            found = note_pitch(frames, FRAME_RATE)
            return found and found[0]
        return float(np.nanmedian(frames)) if np.isfinite(frames).any() else None

    def rows(self):  # type: ignore[no-untyped-def]
        """Per cent right by system and length; the middle error of those that are right is how the instrument was tuned."""
        for name, columns in sorted(self.errors.items()):
            first = np.array(next(iter(columns.values())))
            row = {"notes of": name, "number": len(first)}
            for system in self.systems:
                for column in (*LENGTHS, "in phrases"):
                    errors = np.array(columns.get(f"{system} {column}", []))
                    right = np.abs(errors) <= 0.5
                    row[f"{system} {column}"] = round(100 * float(right.mean()), 1) if len(errors) else ""
            near = first[np.abs(first) < 1]
            yield {
                **row,
                "none": int(np.isnan(first).sum()),
                "octave": int((np.abs(np.abs(first) - 12) < 1).sum()),
                "cents": round(100 * float(np.median(near))) if len(near) else "",
            }


def main() -> None:
    """See above."""
    parser = arguments(__doc__)
    parser.add_argument("--every", type=int, default=1)
    parser.add_argument("--no-pyin", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(1)
    tally = Tally({"etude": salience} if options.no_pyin else {"etude": salience, "pYIN": pyin})
    folder = Path(os.environ["ETUDE_SHARED"]) / "data"
    for listing in ("notes.csv", "other-sources.csv"):
        with (folder / listing).open(encoding="utf-8") as file:
            rows = [row for row in csv.DictReader(file) if row["midi"]]
        for row in rows[:: options.every]:
            note = sound(folder / row["path"], RATE)
            for column, seconds in LENGTHS.items():
                cut = note.samples[note.onset : min(note.offset, note.onset + round(seconds * RATE))]
                name = f"{row['instrument']} {row['technique']}"
                tally.add(row["source"], cut, [(name, 0, round(len(cut) / RATE * FRAME_RATE), float(row["midi"]))], column)
    for recipe in RECIPES:
        for track in named_dataset(recipe).tracks("test")[:: options.every]:
            samples = read_window(track.audio, 0, track.info.samples_at(RATE), RATE, track.info)
            spans = [
                (note.technique, round(note.onset * FRAME_RATE), round(note.offset * FRAME_RATE), note.pitch)
                for note in track.annotation.notes
            ]
            tally.add(f"recipe {recipe}:", samples, spans, "in phrases")
    cost = {system: round(60 * seconds / tally.heard, 2) for system, seconds in tally.seconds.items()}
    rows = list(tally.rows())
    finish({"rows": rows, "seconds per minute": cost}, rows, options.json)
    print("; ".join(f"{system}: {seconds:g} s per minute of audio" for system, seconds in cost.items()))


if __name__ == "__main__":
    main()
