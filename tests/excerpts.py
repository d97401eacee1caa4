"""Excerpts of recordings that do not exist, for heads that never listen."""

from pathlib import Path

from etude.adapters.datasets import Track
from etude.adapters.heads import Excerpt
from etude.adapters.sound.audio import AudioInfo


def excerpt_of(annotation, grid, sample_rate=16000, *, soft=False):
    """What a head is told of ``grid``; there is no audio behind it."""
    info = AudioInfo(round((grid.start + grid.real) / grid.rate * sample_rate) or 1, sample_rate, 1)
    return Excerpt(Track("made", Path("made.wav"), info, "train", annotation, soft=soft), grid, annotation, sample_rate)
