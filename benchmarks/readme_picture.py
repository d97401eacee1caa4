"""The picture in the README: a double-bass test phrase, what an adapter of the technique table finds in it, and the reference.

ETUDE_SHARED=../shared python benchmarks/readme_picture.py runs/technique-table/double-bass-lora-0 docs/events.png
"""

from __future__ import annotations

import sys
from pathlib import Path

from etude.adapters.build import build_dataset
from etude.adapters.inference.plot import plot_events
from etude.adapters.inference.session import Session

PHRASE = 3


def main(adapter: str, target: str) -> None:
    session = Session(adapter)
    dataset = build_dataset(session.recipe)
    track = dataset.tracks("test")[PHRASE]
    plot_events(
        track.audio,
        session(track.audio),
        Path(target),
        reference=track.annotation,
        labels=dataset.techniques,
        title="Playing techniques found in a double-bass phrase",
    )


if __name__ == "__main__":
    main(*sys.argv[1:])
