"""What enters the first trainable block, and the states below it that the mix reads, as the feature store keeps them."""

from __future__ import annotations

import hashlib
import inspect
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from etude.adapters.backbones import INPUT, Backbone
from etude.adapters.model.adapted import AdaptedModel
from etude.adapters.sound import audio, augment, descriptors, filters
from etude.adapters.states.window_features import Source


def frozen_states(model: AdaptedModel, fingerprint: str, *, training: bool = False) -> Source:
    """The frozen states of ``model``, one part per stored layer, always computed in single precision.

    Training in any precision, ``adapt eval`` and prediction so read the same states. ``fingerprint`` is the backbone's;
    of ``training`` windows, descriptors that only prediction needs are left out.
    """
    backbone = model.backbone

    def compute(waveforms: Tensor, lengths: Tensor) -> list[Tensor]:
        with torch.autocast(model.device.type, enabled=False):  # without a store, a training step asks for them
            return model.frozen_states(waveforms.to(model.device), lengths.to(model.device), training=training)

    return Source(
        compute=compute,
        parts={_part(stored): shape for stored, shape in model.stored_shapes(training=training).items()},
        key={
            "what": "frozen states",
            "fingerprint": fingerprint,
            "preparation": backbone.preparation(),
            "code": _hash(sources(backbone)),
            "rows": backbone.frames_per_window if model.stores_frames else backbone.tokens_per_window,
        },
        about={"frozen states of": backbone.id},
    )


def _part(stored: int | str) -> str:
    if isinstance(stored, str):
        return stored
    return "input" if stored == INPUT else f"layer-{stored:02d}"


def sources(backbone: Backbone) -> list[Path]:
    """The files of this package that turn a recording into states: a change of them is a change of the states."""
    kinds = {kind for module in backbone.modules() for kind in type(module).__mro__ if kind.__module__.startswith("etude.")}
    own = (audio.__file__, augment.__file__, descriptors.__file__, filters.__file__)
    return sorted({Path(file) for file in (*own, *map(inspect.getfile, kinds))})


def _hash(files: Sequence[Path]) -> str:
    return hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()
