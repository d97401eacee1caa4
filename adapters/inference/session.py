"""A loaded adapter, ready to annotate recordings of any length."""

from __future__ import annotations

import json
from pathlib import Path
from typing import cast

import torch

from etude.adapters import artifact
from etude.adapters.annotations import Annotation, Note
from etude.adapters.audio import probe
from etude.adapters.build import build_backbone, build_model
from etude.adapters.errors import UserError
from etude.adapters.heads import Activations, Head
from etude.adapters.inference.activations import FileStates, frames_of, overlap_frames, track_activations
from etude.adapters.inference.windows import plan
from etude.adapters.training.recipe import parse_recipe

BATCH = 4


class Session:
    """``session(path)`` annotates a recording.

    ``weights`` names the backbone's weights where they differ from the training machine's path; a fingerprint check makes sure
    that they are the same weights. ``device`` is a GPU when omitted and there is one. Raises :class:`UserError` for a damaged
    artifact, another backbone, or a device that this machine lacks.
    """

    def __init__(self, adapter: str | Path, *, weights: str | None = None, device: str | None = None) -> None:
        target = _device(device)
        self.artifact = artifact.load(Path(adapter))
        manifest = self.artifact.manifest
        overrides = [] if weights is None else [f"backbone.weights={json.dumps(weights)}"]
        self.recipe = parse_recipe(self.artifact.recipe, overrides, where=f"{adapter}/recipe.yaml")
        backbone = build_backbone(self.recipe.backbone)
        artifact.check_backbone(self.artifact, backbone)
        self.model = build_model(self.recipe, backbone, manifest.labels, manifest.statistics)
        self.model.load_trainable(self.artifact.tensors)
        for name, head in self.heads.items():
            head.thresholds = manifest.thresholds[name]
        self.model.to(target).eval()

    @property
    def heads(self) -> dict[str, Head]:
        """The heads by name."""
        return cast(dict[str, Head], dict(self.model.heads.items()))

    def activations(self, path: str | Path) -> dict[str, Activations]:
        """Probabilities of every head over the whole recording, by head and output, each ``[frames, classes]``."""
        path = Path(path)
        info, backbone = probe(path), self.model.backbone
        frames = frames_of(backbone, info)
        windows = plan(frames, backbone.frames_per_window, overlap_frames(backbone, self.recipe.train.overlap))
        return track_activations(self.model, windows, frames, FileStates(self.model, path, info, windows), BATCH)

    def __call__(self, path: str | Path) -> Annotation:
        """The annotation of a recording: the events of all heads. Raises :class:`UserError` for unreadable audio."""
        notes: list[Note] = []
        for name, activations in self.activations(path).items():
            notes += self.heads[name].decode(activations, self.model.backbone.frame_rate).notes
        return Annotation(tuple(notes))


def _device(name: str | None) -> torch.device:
    try:
        device = torch.device(name or ("cuda" if torch.cuda.is_available() else "cpu"))
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:  # depends on how torch was built
        reason = str(error).splitlines()[0]
        raise UserError(f"there is no device '{name}': {reason:.100}", where="device", fix="use cpu, or leave it out") from None
    return device
