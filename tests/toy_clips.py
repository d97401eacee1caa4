"""Clips of sines and of recorded notes."""

import numpy as np
import soundfile
from numpy.random import default_rng

from etude.adapters.pretraining.clips import Composer
from etude.adapters.pretraining.instruments import Instrument, RenderedNote
from etude.adapters.pretraining.techniques import PLAYERS, TECHNIQUES
from etude.adapters.recipe.pretraining import PretrainRecipe
from etude.adapters.sound.synthesis import Preset

RATE, HOP = 8000, 320
DRUM = 2
INSTRUMENTS = tuple(Instrument(name, (Preset(0),), key) for name, key in (("a", None), ("b", None), ("d", 38)))


class Sines:
    """Stands in for SoundFonts: two instruments, one of them with techniques, and a drum; ``level`` 0 is silence."""

    level, instruments, shares = 1.0, INSTRUMENTS, np.array([0.4, 0.4, 0.2])

    def __init__(self, paths, sample_rate):
        self.sample_rate = sample_rate

    def draw(self, instrument, plain, longest, rng):
        pitch = rng.uniform(40, 90)
        times = np.arange(int(rng.uniform(0.1, longest) * self.sample_rate)) / self.sample_rate
        samples = (self.level * np.sin(2 * np.pi * 440 * 2 ** ((pitch - 69) / 12) * times)).astype(np.float32)
        technique = TECHNIQUES[rng.integers(len(TECHNIQUES))] if instrument.name == "a" else None
        return RenderedNote(samples, None if instrument.key else pitch, technique, PLAYERS["plain"](longest, rng))


def write_notes(folder):
    """Recorded notes of two instruments; the pitch of one is not known."""
    lines = ["path,source,instrument,technique,midi,split,licence"]
    for name, midi in (("lute", "50"), ("viol", "")):
        soundfile.write(folder / f"{name}.wav", default_rng(0).uniform(-0.5, 0.5, RATE // 2), RATE)
        lines.append(f"{name}.wav,own,{name},x,{midi},train,CC0-1.0")
    (folder / "notes.csv").write_text("\n".join(lines) + "\n")
    return str(folder / "notes.csv")


def composer(notes=None, **options):
    """Without effects and mixup unless they are among ``options``."""
    recipe = {
        "task": "pretraining",
        "name": "toy",
        "soundfonts": ({"path": "any.sf2", "title": "any", "licence": "mit"},),
        "shape": {"sample_rate": RATE},
        "clips": {"seconds": 1.2, "parts": (0.3, 0.4, 0.3)},
        "concatenation": {"probability": 0.7, "notes": (2, 4)},
        "recordings": {"notes": notes, "share": 0.4} if notes else None,
        "mixup": None,
        "effects": None,
    }
    return Composer(PretrainRecipe.model_validate(recipe | options))
