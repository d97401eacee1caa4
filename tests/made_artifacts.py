"""Artifacts that no training left: a few tensors, and everything that belongs to them."""

import numpy as np
import torch

from etude.adapters.artifact import BackboneRef, Manifest, save

TENSORS = {
    "blocks.07.attn.q.lora_A": torch.linspace(-2, 2, 24).reshape(4, 6),
    "blocks.07.attn.q.lora_B": torch.zeros(6, 4).t(),
    "mix.weights": torch.tensor(0.3),
    "heads.technique.lowest": torch.tensor([28]),
}
RECIPE = "# how to run it\nname: flute\nbackbone: {name: mert}\n"
METRICS = {"validation": {"technique": {"frame_micro_f1": np.float32(0.5), "event_macro_f1": float("nan")}}}


def manifest(**changes):
    fields = {
        "name": "flute",
        "created": "2026-01-02",
        "etude_version": "0.1.0",
        "versions": {"torch": "2.6", "python": "3.11"},
        "seed": 3,
        "backbone": BackboneRef(
            name="mert",
            id="m-a-p/MERT-v1-95M",
            revision="abc",
            fingerprint="ab12" * 16,
            licence="CC-BY-NC-4.0",
            sample_rate=24000,
            frame_rate=75.0,
            hidden_size=768,
            num_blocks=12,
        ),
        "method": "lora",
        "labels": {"technique": ("vibrato", "trill")},
        "thresholds": {"technique": {"frame": np.array([0.5, 0.25])}},
        "statistics": {"technique": {"lowest": np.int64(28)}},
        "dataset": "phrases",
        "data_licence": "CC-BY-4.0",
        "trainable": {"backbone": 48, "mix": 1, "heads": 1},
        "scores": {"technique.frame_micro_f1": 0.5, "technique.event_macro_f1": float("nan")},
        "metric": "technique.frame_macro_f1",
    }
    return Manifest(**{**fields, **changes})


def store(folder, tensors=TENSORS, dtype="float32", home=None, **changes):
    rest = {"recipe": RECIPE, "metrics": METRICS, "card": "# card\n"}
    save(folder, manifest=manifest(**changes), tensors=tensors, dtype=dtype, home=home, **rest)
    return folder
