"""Tiny models of every method, with something to hear and to learn."""

import numpy as np
import torch
from excerpts import excerpt_of

from etude.adapters import registry
from etude.adapters.annotations import Annotation
from etude.adapters.annotations.notes import Note
from etude.adapters.heads import FrameGrid
from etude.adapters.heads.technique import Technique, TechniqueConfig
from etude.adapters.model.adapted import AdaptedModel

METHODS = {
    "heads_only": ("heads_only", {}),
    "lora": ("lora", {}),
    "lora-last": ("lora", {"blocks": "last 1", "sites": ("attn.out", "ffn.in"), "dropout": 0.5}),
    "lora-first": ("lora", {"blocks": (0,)}),
    "dora": ("lora", {"variant": "dora", "rank": 4}),
    "ia3": ("lora", {"variant": "ia3", "sites": ("attn.k", "ffn.out"), "blocks": "last 1"}),
}
LABELS = ("tone", "buzz")
STATISTICS = {"pitch_range": [60, 63], "class_weights": [1.0, 2.0]}


def make_backbone(name, weights="random:tiny"):
    kind = registry.find("backbones", name)
    return kind(kind.Config(name=name, weights=weights, window=0.4))


def make_method(method):
    name, fields = METHODS[method]
    kind = registry.find("methods", name)
    return kind(kind.Config(name=name, **fields))


def make_model(backbone, method="heads_only", layers=None, **head):
    torch.manual_seed(0)
    technique = Technique(TechniqueConfig(**{"hidden": 8, "dropout": 0.0, **head}), LABELS, backbone.hidden_size, STATISTICS)
    return AdaptedModel(backbone, make_method(method), {"technique": technique}, layers).eval()


def audio(backbone):
    generator = torch.Generator().manual_seed(1)
    return torch.randn(2, backbone.window_samples, generator=generator), torch.full((2,), backbone.window_samples)


def targets(model):
    """A note in each of two windows, with every output positive and negative somewhere."""
    frames = model.backbone.frames_per_window
    grid = FrameGrid(0, frames, model.backbone.frame_rate, frames)
    head = model.heads["technique"]
    items = [head.targets(excerpt_of(Annotation(notes=(Note(0.1, 0.2 + 0.1 * i, 60 + i, LABELS[i]),)), grid)) for i in range(2)]
    return {name: torch.from_numpy(np.stack([item[name] for item in items])) for name in items[0]}


def loss_of(model, stored):
    terms = model.heads["technique"].loss(model(stored).logits["technique"], targets(model))
    return sum(terms.values())


def perturb(model):
    """Move every trained tensor off its start, where LoRA's A has no gradient because its B is zero."""
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for _, parameter in model.named_trainable():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator))
