"""The picture in the README: a double-bass test phrase, what an adapter of the technique table finds in it, and the reference.

ETUDE_SHARED=../shared python benchmarks/readme_picture.py runs/technique-table/double-bass-lora-0 docs/events.png
"""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

from etude.adapters.annotations import Annotation
from etude.adapters.inference.plot import plot_events
from etude.adapters.inference.session import Session
from etude.adapters.model.build import build_dataset
from etude.adapters.recipe.trained import data_recipe

PHRASE = 9


def main(adapter: str, target: str) -> None:
    session = Session(adapter)
    [trained] = session.artifacts.values()
    dataset = build_dataset(data_recipe(trained.recipe, adapter))
    track = dataset.tracks("test")[PHRASE]
    # Test notes have pitches that never occur in training, so the pitch branch cannot know them: leave its guesses out.
    found = Annotation(notes=[replace(note, pitch=None) for note in session(track.audio).notes])
    plot_events(
        track.audio,
        found,
        Path(target),
        reference=track.annotation,
        labels=dataset.classes["notes"],
        title="Playing techniques found in a double-bass phrase",
    )


if __name__ == "__main__":
    main(*sys.argv[1:])
