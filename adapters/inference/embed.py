"""The frozen states of a backbone over whole recordings, for programs that want features rather than what an adapter finds."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from etude.adapters.artifact import check_backbone, load
from etude.adapters.backbones import INPUT
from etude.adapters.device import find_device
from etude.adapters.errors import UserError
from etude.adapters.inference.session import ROWS
from etude.adapters.model.build import build_backbone, mixed_layers, trained_recipe
from etude.adapters.recipe.reading import read_recipe
from etude.adapters.recipe.trained import parse_trained
from etude.adapters.sound.audio import Source, probe, read_window
from etude.adapters.sound.windows import plan
from etude.adapters.states.framing import audio_batch, frames_of, hop_samples, overlap_frames


@dataclass(frozen=True)
class Embedding:
    """States by layer ``[frames, dim]``, and the times of the frames in seconds ``[frames]``."""

    times: NDArray[np.float64]
    layers: dict[int, NDArray[np.float32]]


class Embedder:
    """``embedder(recording)`` gives the states of a frozen backbone, without any adapter.

    ``source`` is an adapter's folder or a recipe (its file, or the name of a packaged one): its backbone is taken, with its
    windows and their overlap. Layer 0 is the embedding, the last one the output of the last block; those that the recipe mixes
    when omitted. ``weights`` and ``device`` as in :class:`~etude.adapters.inference.session.Session`. Raises :class:`UserError`
    for a source that is neither, other weights than an adapter's, a layer that there is not, and a device that this machine
    lacks.
    """

    def __init__(
        self,
        source: str | Path,
        layers: Sequence[int] | None = None,
        *,
        weights: str | None = None,
        device: str | None = None,
    ) -> None:
        self._device = find_device(device)
        if Path(source).is_dir():
            adapter = load(Path(source))
            recipe = trained_recipe(adapter, weights)
            self.backbone = build_backbone(recipe.backbone)
            check_backbone(adapter, self.backbone)
        else:
            written = read_recipe(source)
            recipe = parse_trained(written.text, written.where, weights, written.folder)
            self.backbone = build_backbone(recipe.backbone)
        self._overlap = recipe.overlap
        last = self.backbone.num_blocks
        self.layers = mixed_layers(recipe, last) if layers is None else tuple(dict.fromkeys(layers))
        if wrong := [layer for layer in self.layers if not 0 <= layer <= last]:
            raise UserError(f"there is no layer {wrong[0]}", where="layers", fix=f"{self.backbone.id} has 0 to {last}")
        self.backbone.to(self._device)

    def __call__(self, recording: str | Path) -> Embedding:
        """All frames of a recording. Raises :class:`UserError` for unreadable audio."""
        pieces = list(self.pieces(Path(recording)))
        layers = {layer: np.concatenate([piece[layer] for piece in pieces]) for layer in self.layers}
        return Embedding(np.arange(len(layers[self.layers[0]])) / self.backbone.frame_rate, layers)

    def mean(self, recording: str | Path) -> dict[int, NDArray[np.float32]]:
        """The mean over all frames, ``[dim]`` by layer; memory does not grow with the recording. Raises as a call does."""
        frames, sums = 0, {layer: np.zeros(self.backbone.hidden_size) for layer in self.layers}
        for piece in self.pieces(Path(recording)):
            frames += len(piece[self.layers[0]])
            for layer, values in piece.items():
                sums[layer] += values.sum(axis=0, dtype=np.float64)
        return {layer: (total / frames).astype(np.float32) for layer, total in sums.items()}

    @torch.inference_mode()
    def pieces(self, recording: Source) -> Iterator[dict[int, NDArray[np.float32]]]:
        """Consecutive frames ``[some, dim]`` by layer: those that each window keeps."""
        backbone, info = self.backbone, probe(recording)
        windows = plan(frames_of(backbone, info), backbone.frames_per_window, overlap_frames(backbone, self._overlap))
        count, rate, hop = backbone.window_samples, backbone.sample_rate, hop_samples(backbone)
        for first in range(0, len(windows), ROWS):
            batch = windows[first : first + ROWS]
            audio, lengths = audio_batch(
                backbone, [read_window(recording, window.start * hop, count, rate, info) for window in batch]
            )
            states = self._states(audio.to(self._device), lengths.to(self._device))
            for row, window in enumerate(batch):
                yield {layer: values[row, window.keep_from : window.keep_to] for layer, values in states.items()}

    def _states(self, audio: torch.Tensor, lengths: torch.Tensor) -> dict[int, NDArray[np.float32]]:
        state, found = self.backbone.prepare(audio, lengths), {}
        for index in range(INPUT, max(self.layers)):
            state = self.backbone.next_state(index, state)
            if index + 1 in self.layers:
                found[index + 1] = self.backbone.readout(state).float().cpu().numpy()
        return {layer: found[layer] for layer in self.layers}
