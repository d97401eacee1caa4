"""A small technique head."""

import torch

from etude.adapters.heads.technique import Technique, TechniqueConfig

LABELS = ("bend", "slide", "trill")
STATISTICS = {"pitch_range": [60, 63], "class_weights": [1.0, 2.0, 0.5]}
SWITCHES = [{}, {"pitch": False}, {"onset": False}, {"pitch": False, "onset": False}]


def make_head(labels=LABELS, hidden_size=6, statistics=STATISTICS, **fields):
    torch.manual_seed(0)
    return Technique(TechniqueConfig(**{"hidden": 8, **fields}), labels, hidden_size, statistics).eval()


def states(frames=5, hidden_size=6, batch=2):
    return torch.randn(batch, frames, hidden_size, generator=torch.Generator().manual_seed(1))
