"""Small heads for tags, with their targets and probabilities."""

import numpy as np
import torch
from excerpts import excerpt_of

from etude.adapters.annotations import Annotation, Layer
from etude.adapters.annotations.tags import Tag
from etude.adapters.heads import FrameGrid
from etude.adapters.heads.tags import Tags, TagsConfig

LABELS = ("cel", "cla", "flu")
RATE = 50.0


def make_head(labels=LABELS, hidden_size=6, **fields):
    torch.manual_seed(0)
    return Tags(TagsConfig(**fields), labels, hidden_size, {})


def tagged(*tags):
    return Annotation(tags=map(Tag, tags))


def partially(tags, unlabelled):
    return Annotation(tags=Layer(tuple(map(Tag, tags)), unjudged=tuple(unlabelled)))


def names(layer):
    return [tag.name for tag in layer]


def targets(head, annotations, frames=5, real=None):
    grid = FrameGrid(0, frames, RATE, frames if real is None else real)
    rows = [head.targets(excerpt_of(item, grid)) for item in annotations]
    return {key: torch.stack([torch.from_numpy(row[key]) for row in rows]) for key in rows[0]}


def probabilities(*rows):
    return [{"tags": np.array([row], np.float32)} for row in rows]


def statistics_by_hand(features):
    """``[frames, hidden]`` -> mean, deviation and maximum, normalised to mean 0 and variance 1 as one vector."""
    pooled = np.concatenate([features.mean(axis=0), np.sqrt(features.var(axis=0) + 1e-5), features.max(axis=0)])
    return (pooled - pooled.mean()) / np.sqrt(pooled.var() + 1e-5)
