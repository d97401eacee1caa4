"""Adapters with random tensors: as large as trained ones, made in a moment."""

from __future__ import annotations

from pathlib import Path

import torch
from setup import Workload

from etude.adapters.training.finish import write_artifact


def random_adapters(workload: Workload, folder: Path, count: int, blocks: int, *overrides: str) -> list[Path]:
    """``count`` adapters of the workload's recipe, with LoRA in the last ``blocks`` blocks, in ``folder``."""
    model = workload.model(workload.recipe(blocks, *overrides))
    fingerprint, rate = model.backbone.fingerprint(), model.backbone.frame_rate
    scores = {name: head.score([], [], rate) for name, head in model.heads.items()}  # type: ignore[operator]
    paths = []
    for index in range(count):
        generator = torch.Generator().manual_seed(index)
        with torch.no_grad():
            for name, parameter in model.named_trainable():
                if "lora" in name:
                    parameter.copy_(0.02 * torch.randn(parameter.shape, generator=generator))
        path = folder / f"adapter{blocks}-{index}"
        recipe = workload.recipe(blocks, f"name={path.name}", *overrides)
        data = workload.dataset.config.name, workload.dataset.licence
        write_artifact(path, recipe, *data, model, fingerprint, {"validation": scores})
        paths.append(path)
    return paths
