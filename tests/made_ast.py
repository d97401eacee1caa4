"""Tiny Audio Spectrogram Transformers, ours and transformers', and what they hear."""

import torch
from transformers import ASTConfig, ASTForAudioClassification

from etude.adapters.backbones.ast import Ast, AstConfig

LABELS = ("Speech", "Violin, fiddle", "Flute", "Drum")
SHAPE = {"hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 40}
PADDING = 4.2677393 / (2 * 4.5689974)  # a zero row of log-mel, normalised


def build(weights="random:tiny", **fields):
    return Ast(AstConfig(name="ast", weights=str(weights), **fields))


def peer(kind=ASTForAudioClassification, **fields):
    """A tiny model of transformers of which no parameter is left at zero or one."""
    model = kind(ASTConfig(**{**SHAPE, "id2label": dict(enumerate(LABELS)), **fields})).eval()
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.2 * torch.randn(parameter.shape, generator=generator)
    return model


def music(samples, seed=0):
    generator = torch.Generator().manual_seed(seed)
    time = torch.arange(samples) / 16_000
    tone = sum(torch.sin(2 * torch.pi * 220 * (seed + 1) * k * time) / k for k in range(1, 6))
    return 0.1 * tone * (1 + torch.sin(3 * time)) + 0.001 * torch.randn(samples, generator=generator)


def theirs(prepared):
    """Ours -> what transformers' model takes; the 8 frames that no patch reads hold anything."""
    return torch.nn.functional.pad(prepared, (0, 8), value=1e3).transpose(1, 2)
