"""Per cent of single notes that ``adapt predict --unknown`` calls unknown: of the same instrument elsewhere, and of others.

The head ``tags`` (``size: panel``) learns techniques of Karoryfer's double basses or of the Rickenbacker 4001, a note a clip.
Notes of other instruments are those of other-sources.csv (tonejs) and of General MIDI programs in FluidR3.
"""

from __future__ import annotations

import csv
import os
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from report import arguments, finish

import etude
from etude.adapters.recipe.schema import parse_recipe
from etude.adapters.sound.audio import probe, read_window
from etude.adapters.sound.performance import Performance, PlayedNote, Stroke
from etude.adapters.sound.synthesis import FluidSynth, Preset

RATE = 24_000
FONT = Path("/usr/share/sounds/sf2/FluidR3_GM.sf2")
TRAINED = {
    "Karoryfer double bass": "sources: [meatbass, sneakybass], techniques: [arco, pizzicato]",
    "Rickenbacker 4001": "sources: [rickenbacker4001], techniques: [fingered, picked, slap-long]",
}
PROGRAMS = {"piano": (0, 28, 84), "guitar": (24, 40, 76), "bass": (33, 28, 55), "trumpet": (56, 55, 82), "flute": (73, 60, 92)}
"""General MIDI program, lowest and highest pitch."""
RECIPE = """
name: unknown
data: {{name: notes, notes: "{notes}", label: technique, {chosen}}}
backbone: {{name: mert, weights: etude-nano, window: 3.0}}
method: {{name: heads_only}}
heads: {{tags: {{activation: softmax, size: panel, clip_seconds: 30}}}}
train: {{augment: rooms, metric: tags.f1_macro}}
"""


def recorded(table, wanted):  # type: ignore[no-untyped-def]
    """The notes in ``table`` whose rows are ``wanted``."""
    with table.open(encoding="utf-8") as file:
        paths = [table.parent / row["path"] for row in csv.DictReader(file) if wanted(row)]
    infos = [probe(path) for path in paths]
    return [read_window(path, 0, info.samples_at(RATE), RATE, info) for path, info in zip(paths, infos, strict=True)]


def heard(folder):  # type: ignore[no-untyped-def]
    """Name -> notes, each ``[samples]``."""
    techniques, player = ("arco-normal", "pizz-normal"), FluidSynth([FONT], RATE)
    found = {
        "double bass (Philharmonia)": recorded(
            folder / "notes.csv",
            lambda row: (
                (row["source"], row["instrument"]) == ("philharmonia", "double bass") and row["technique"] in techniques
            ),
        )
    }
    for name in ("flute", "trumpet", "guitar"):
        found[f"{name} (tonejs)"] = recorded(folder / "other-sources.csv", lambda row, name=name: row["instrument"] == name)
    for name, (program, low, high) in PROGRAMS.items():
        notes = [
            PlayedNote(Performance((Stroke(0.0, 2.0),)), pitch, force)
            for pitch in range(low, high + 1, 3)
            for force in (60, 100)
        ]
        found[f"{name} (General MIDI)"] = [player.render(Preset(program), [note], 3.0) for note in notes]
    found["white noise"] = [np.random.default_rng(i).normal(0, 0.1, RATE).astype(np.float32) for i in range(10)]
    return found


def main() -> None:
    """See above."""
    options = arguments(__doc__).parse_args()
    folder = Path(os.environ["ETUDE_SHARED"]) / "data"
    notes = heard(folder)
    rows = [{"notes of": name, "number": len(own)} for name, own in notes.items()]
    for trained, chosen in TRAINED.items():
        with TemporaryDirectory() as scratch:
            recipe = parse_recipe(RECIPE.format(notes=folder / "notes.csv", chosen=chosen))
            session = etude.Session(etude.train(recipe, Path(scratch) / "run", Path(scratch) / "adapter"), unknown=True)
        for row, own in zip(rows, notes.values(), strict=True):
            unknown = [session(note, rate=RATE).tags[0].name == "unknown" for note in own]
            row[trained] = round(100 * float(np.mean(unknown)), 1)
    finish({"rows": rows}, rows, options.json)


if __name__ == "__main__":
    main()
