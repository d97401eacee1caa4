"""Adapters that nobody trained: random tensors on tiny random backbones."""

import torch
import yaml

from etude.adapters import artifact
from etude.adapters.artifact import BackboneRef, Manifest
from etude.adapters.model.build import build_backbone, build_model
from etude.adapters.recipe.schema import parse_recipe

LABELS = {"technique": ("tone", "buzz"), "tags": ("cel", "flu", "a/b", "vio")}
STATISTICS = {"technique": {"pitch_range": [60, 63], "class_weights": [1.0, 2.0]}, "tags": {}}
THRESHOLDS = {"technique": {"technique": [0.5, 0.5], "onset": 0.5}, "tags": {"tags": 0.5}}
METHODS = {
    "lora": {"rank": 4},
    "lora-last": {"rank": 2, "alpha": 4, "blocks": "last 1", "sites": ["attn.q", "ffn.out"]},
    "lora-first": {"rank": 3, "blocks": [0, 1]},
    "dora": {"variant": "dora", "rank": 2},
    "dora-last": {"variant": "dora", "rank": 5, "blocks": "last 1", "sites": ["attn.k", "ffn.in"]},
    "ia3": {"variant": "ia3", "sites": ["attn.k", "attn.v", "ffn.out"]},
    "ia3-last": {"variant": "ia3", "blocks": "last 1", "sites": ["ffn.in", "attn.out"]},
    "additive": {"name": "reprogramming", "form": "additive"},
    "film": {"name": "reprogramming", "form": "film", "width": 3, "block": 1},
    "unet": {"name": "reprogramming", "form": "unet"},
    "generator": {"name": "reprogramming", "form": "generator", "width": 5},
}
ON_SPECTROGRAMS = {"unet", "generator"}
BOTH = ("mert", "whisper")
RATE = 8000


def methods_of(backbone):
    """Those that the backbone can have."""
    return [name for name in METHODS if backbone == "whisper" or name not in ON_SPECTROGRAMS]


def make_adapter(folder, method=None, name=None, backbone="mert", layers="all", overlap=0.3, heads=("technique",), **more):
    """An artifact with random trained tensors, large enough to matter; without ``method``, one of heads only."""
    labels, statistics, thresholds = ({head: known[head] for head in heads} for known in (LABELS, STATISTICS, THRESHOLDS))
    fields = {
        "name": name or folder.name,
        "data": {"name": "manifest", "root": "/nowhere"},
        "backbone": {"name": backbone, "weights": "random:tiny", "window": 1.0, **more},
        "method": {"name": "heads_only"} if method is None else {"name": "lora", **METHODS[method]},
        "mix": {"layers": layers},
        "heads": {head: {"hidden": 16} for head in heads},
        "train": {"overlap": overlap, "dtype": "float32"},
    }
    recipe = parse_recipe(yaml.safe_dump(fields))
    base = build_backbone(recipe.backbone)
    fingerprint = base.fingerprint()
    torch.manual_seed(len(folder.name))
    model = build_model(recipe, base, labels, statistics)
    with torch.no_grad():
        for tensor_name, parameter in model.named_trainable():
            parameter.add_((0.1 if tensor_name.startswith("heads.") else 0.3) * torch.randn(parameter.shape))
    artifact.save(
        folder,
        manifest=Manifest(
            name=recipe.name,
            created="2026-01-02",
            etude_version="0.1.0",
            versions={"torch": "2.6"},
            seed=0,
            backbone=BackboneRef(
                name=backbone,
                id=base.id,
                fingerprint=fingerprint,
                licence=base.licence,
                sample_rate=base.sample_rate,
                frame_rate=base.frame_rate,
                hidden_size=base.hidden_size,
                num_blocks=base.num_blocks,
            ),
            method=recipe.method.name,
            labels=labels,
            thresholds=thresholds,
            statistics=statistics,
            dataset="manifest",
            data_licence="CC0-1.0",
            trainable=model.trainable_counts(),
            metric="technique.event_macro_f1",
        ),
        tensors=model.trainable_state(),
        recipe=recipe.dump(),
        metrics={},
        card="# card\n",
        dtype="float32",
    )
    return folder
