"""A pretrained backbone as a folder: configuration, weights and card."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save
from transformers import HubertModel

from etude.adapters.backbones.mert import CONFIG_KEYS
from etude.adapters.pretraining.clips import Composer
from etude.adapters.pretraining.techniques import TECHNIQUES
from etude.adapters.recipe.pretraining import PretrainRecipe
from etude.adapters.storage.atomic import replace_folder
from etude.hub_cards.backbone_card import render_backbone_card


def write_backbone(
    out: Path, recipe: PretrainRecipe, composer: Composer, backbone: HubertModel, history: list[dict[str, Any]]
) -> None:
    """Write ``out``: weights in half precision, and a card with the sources and the losses of ``history``.

    Raises :class:`UserError` when the disk refuses.
    """
    config = {key: getattr(backbone.config, key) for key in CONFIG_KEYS}
    # What transformers itself would get wrong: it would compute in half precision, and miss a mask embedding.
    config = {"model_type": "hubert", "dtype": "float32", "mask_time_prob": 0.0, **config}
    config["sample_rate"] = recipe.shape.sample_rate
    tensors = {name: value.detach().cpu().to(torch.float16).contiguous() for name, value in backbone.state_dict().items()}
    card = render_backbone_card(
        recipe,
        len(composer.instruments),
        TECHNIQUES,
        {(note.source, note.licence) for note in composer.recorded},
        sum(value.numel() for value in tensors.values()),
        history,
    )
    files = {
        "config.json": json.dumps(config, indent=2).encode() + b"\n",
        "model.safetensors": save(tensors, {"format": "pt"}),
        "README.md": card.encode(),
    }
    replace_folder(out, files)
