"""The tasks of ``next_recording.py``: which classes, and from which sources their notes are.

Notes that are chosen from the shared tables, or played on a SoundFont, are written once: a folder with ``notes.csv``, which the
data sets ``notes`` and ``note_phrases`` read. Notes of one pitch are in one split only.
"""

from __future__ import annotations

import csv
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import permutations
from pathlib import Path
from typing import Literal

import soundfile

from etude.adapters.datasets._parts.recorded_notes import COLUMNS
from etude.adapters.datasets.soundfont_phrases import shipped
from etude.adapters.recipe.schema import Recipe, load_recipe
from etude.adapters.sound.performance import Performance, PlayedNote, Stroke
from etude.adapters.sound.synthesis import FluidSynth, Preset
from etude.adapters.sound.voice import SILENCE

Kind = Literal["notes", "phrases"]
SOUNDFONTS = {
    "FluidR3": Path("/usr/share/sounds/sf2/FluidR3_GM.sf2"),
    "MuseScore": Path("/usr/share/sounds/sf3/MuseScore_General.sf3"),
    "TimGM6mb": shipped(),
}
SAME_SAMPLES = {"FluidR3", "MuseScore"}
"""They share recordings, so that neither is the next one to the other: these pairs are in no mean."""
RATE = 24_000
HELD, SECONDS = 2.0, 3.0
"""How long a key is down, and how long is listened."""
SPLITS = ("train", "validation", "train", "test")
"""Of one pitch after the other."""


@dataclass(frozen=True)
class Recorded:
    """Notes of a shared table: those of ``sources`` and ``instruments`` (all when omitted) that are played in one of
    ``techniques``, which maps what the table calls it to what it is called here."""

    table: str
    sources: tuple[str, ...]
    techniques: Mapping[str, str]
    instruments: tuple[str, ...] | None = None

    def write(self, folder: Path) -> Iterator[dict[str, str]]:
        """Rows of the table; the recordings stay where they are."""
        shared = Path(os.environ["ETUDE_SHARED"], "data").resolve()
        (folder / "shared").symlink_to(shared)
        with (shared / self.table).open(newline="", encoding="utf-8") as file:
            for row in csv.DictReader(file):
                wanted = self.instruments is None or row["instrument"] in self.instruments
                if wanted and row["source"] in self.sources and row["technique"] in self.techniques:
                    yield {**row, "path": f"shared/{row['path']}", "technique": self.techniques[row["technique"]]}


@dataclass(frozen=True)
class Sampled:
    """Notes played on the programs of a SoundFont, which are counted from 0."""

    soundfont: Path
    label: Literal["instrument", "technique"]
    programs: Mapping[int, tuple[str, int, int]]
    """Program -> class, lowest and highest pitch."""
    step: int
    """Semitones from one pitch to the next."""
    velocities: tuple[int, ...]

    def write(self, folder: Path) -> Iterator[dict[str, str]]:
        """Render the notes, and give their rows; keys without a sample have none."""
        synthesiser, held = FluidSynth([str(self.soundfont)], RATE), Performance((Stroke(0.0, HELD),))
        for program, (name, lowest, highest) in self.programs.items():
            for pitch in range(lowest, highest + 1, self.step):
                for velocity in self.velocities:
                    samples = synthesiser.render(Preset(program), [PlayedNote(held, pitch, velocity)], SECONDS)
                    if abs(samples).max() < SILENCE:
                        continue
                    path = f"{program:03d}-{pitch:03d}-{velocity:03d}.flac"
                    soundfile.write(folder / path, samples, RATE, subtype="PCM_16")
                    split = SPLITS[pitch // self.step % len(SPLITS)]
                    yield {"path": path, "source": self.soundfont.stem, self.label: name, "midi": str(pitch), "split": split}


@dataclass(frozen=True)
class Task:
    """What is told apart, the packaged recipe by kind of data, and the pairs: trained on one source, judged on the other."""

    recipes: Mapping[Kind, str]
    classes: tuple[str, ...]
    sources: Mapping[str, Recorded | Sampled | Path]
    pairs: tuple[tuple[str, str], ...]
    label: Literal["instrument", "technique"] = "technique"

    def recipe(self, kind: Kind, source: str, seed: int, folder: Path, *extra: str, whole: bool = False) -> Recipe:
        """The packaged recipe on a source whose notes are in ``folder``, all of them as test split if they are ``whole``.

        ``extra`` are further overrides.
        """
        place = self.sources[source]
        overrides = [f"seed={seed}", *extra, *([f"data.seed={seed}"] if kind == "phrases" else [])]
        if isinstance(place, Path):
            overrides.append(f"data.soundfont={place}")
        else:
            overrides.append(f"data.notes={(folder / source / 'notes.csv').resolve()}")
            classes = json.dumps(self.classes)
            if kind == "phrases":
                overrides += ["data.sources=null", f"data.techniques={classes}"]
            else:
                overrides += [f"data.label={self.label}", f"data.classes={classes}", *(["data.split=test"] if whole else [])]
        return load_recipe(self.recipes[kind], overrides)

    def prepare(self, source: str, folder: Path) -> None:
        """Write the notes of a source to ``folder`` unless they are there."""
        place, made = self.sources[source], folder / source
        if isinstance(place, Path) or made.exists():
            return
        partial = made.with_name(f".{source}")
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        with (partial / "notes.csv").open("w", newline="", encoding="utf-8") as file:
            table = csv.DictWriter(file, COLUMNS, restval="", extrasaction="ignore")
            table.writeheader()
            table.writerows(place.write(partial))
        partial.rename(made)


INSTRUMENTS = {
    70: ("bassoon", 34, 70),
    42: ("cello", 36, 72),
    71: ("clarinet", 50, 86),
    43: ("double bass", 28, 60),
    73: ("flute", 60, 92),
    60: ("french horn", 38, 72),
    24: ("guitar", 40, 76),
    65: ("saxophone", 49, 80),
    57: ("trombone", 40, 72),
}
BASSES = {33: ("fingered", 28, 55), 34: ("picked", 28, 55), 36: ("slap", 28, 55), 37: ("slap", 28, 55)}
NINE = tuple(name for name, *_ in INSTRUMENTS.values())
PLAIN = {"normal": "normal", "arco-normal": "normal"}

TASKS = {
    "electric-bass": Task(
        {"notes": "instrument-notes", "phrases": "electric-bass"},
        ("fingered", "picked", "slap"),
        {
            "Rickenbacker": Recorded(
                "notes.csv", ("rickenbacker4001",), {"fingered": "fingered", "picked": "picked", "slap-long": "slap"}
            ),
            **{name: Sampled(path, "technique", BASSES, 1, (45, 70, 95, 120)) for name, path in SOUNDFONTS.items()},
        },
        tuple(permutations(("Rickenbacker", *SOUNDFONTS), 2)),
    ),
    "double-bass": Task(
        {"notes": "instrument-notes", "phrases": "double-bass"},
        ("arco", "pizzicato"),
        {
            "Karoryfer": Recorded("notes.csv", ("meatbass", "sneakybass"), {"arco": "arco", "pizzicato": "pizzicato"}),
            "Philharmonia": Recorded(
                "notes.csv", ("philharmonia",), {"arco-normal": "arco", "pizz-normal": "pizzicato"}, ("double bass",)
            ),
        },
        tuple(permutations(("Karoryfer", "Philharmonia"), 2)),
    ),
    "instruments": Task(
        {"notes": "instrument-notes"},
        NINE,
        {
            "Philharmonia": Recorded("notes.csv", ("philharmonia",), PLAIN, NINE),
            "tonejs": Recorded("other-sources.csv", ("tonejs",), {"": ""}, NINE),
            **{name: Sampled(path, "instrument", INSTRUMENTS, 3, (60, 100)) for name, path in SOUNDFONTS.items()},
        },
        tuple(("Philharmonia", other) for other in ("tonejs", *SOUNDFONTS)),
        "instrument",
    ),
    "koto": Task(
        {"phrases": "demo"},
        (),
        {name: SOUNDFONTS[name] for name in ("TimGM6mb", "FluidR3")},
        tuple(permutations(("TimGM6mb", "FluidR3"), 2)),
    ),
}
