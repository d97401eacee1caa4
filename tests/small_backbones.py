"""Backbones of random weights, a checkpoint as MERT's are, and a sound for them."""

import json

import torch
from safetensors.torch import save_file

from etude.adapters import registry
from etude.adapters.backbones import mert


def build(name, weights="random:tiny", **fields):
    family = registry.find("backbones", name)
    return family(family.Config(name=name, weights=str(weights), **fields))


def tone(samples, rate, pitch=220.0):
    time = torch.arange(samples) / rate
    return 0.3 * torch.sin(2 * torch.pi * pitch * time) * torch.exp(-time) + 0.05 + 0.01 * torch.cos(40_000 * time**2)


def mock_mert(folder, model, old, prefix=""):
    """A checkpoint as on the Hub: foreign model type, remote code and extra fields; ``old`` names and pickle, or new ones."""
    tensors = {f"{prefix}{name}": value.clone() for name, value in model.state_dict().items()}
    if old:
        renamed = {"parametrizations.weight.original0": "weight_g", "parametrizations.weight.original1": "weight_v"}
        for new_name, old_name in renamed.items():
            tensors = {name.replace(new_name, old_name): value for name, value in tensors.items()}
        assert sum("weight_g" in name or "weight_v" in name for name in tensors) == 2
        torch.save(tensors, folder / "pytorch_model.bin")
    else:
        save_file(tensors, folder / "model.safetensors")
    config = {key: getattr(model.config, key) for key in mert.CONFIG_KEYS}
    extras = {
        "model_type": "mert_model",
        "auto_map": {"AutoConfig": "configuration_MERT.MERTConfig", "AutoModel": "modeling_MERT.MERTModel"},
        "attention_relax": -1.0,
        "deepnorm": False,
        "feature_extractor_cqt": False,
        "feature_extractor_cqt_bins": 336,
        "sample_rate": 24000,
        "hidden_dropout": 0.1,
        "layerdrop": 0.05,
        "mask_time_prob": 0.05,
    }
    (folder / "config.json").write_text(json.dumps(config | extras))
    (folder / "modeling_MERT.py").write_text("raise RuntimeError('remote code was run')")
    return folder
