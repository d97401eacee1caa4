"""No model: 64 filters with random weights, a control for what pretraining is worth."""

from __future__ import annotations

from typing import ClassVar, Literal

import torch
from torch import Tensor, nn

from etude.adapters.backbones import Backbone, BackboneConfig, standardize

HOP = 320


class RandomFiltersConfig(BackboneConfig):
    """``weights`` are ``none``."""

    weights: Literal["none"] = "none"


class RandomFilters(Backbone):
    """State 0 is the log energy behind each filter, ``[batch, frames, 64]``; there are no blocks."""

    Config: ClassVar[type[BackboneConfig]] = RandomFiltersConfig

    def __init__(self, config: RandomFiltersConfig) -> None:
        super().__init__(config)
        self.id, self.revision, self.licence = "none", None, "Apache-2.0"
        self.sample_rate, self.frame_rate = 16_000, 16_000 / HOP
        self.window_samples = config.frames(self.frame_rate, default=5.0) * HOP
        self.hidden_size, self.num_blocks, self.sites = 64, 0, {}
        with torch.random.fork_rng([]):
            torch.manual_seed(0)
            self.model = nn.Conv1d(1, self.hidden_size, HOP, stride=HOP, bias=False)
        self.freeze()

    def prepare(self, audio: Tensor, lengths: Tensor) -> Tensor:
        """Waveforms ``[batch, window_samples]`` -> the same, of zero mean and unit variance."""
        return standardize(audio, lengths)

    def embed(self, prepared: Tensor) -> Tensor:
        """``[batch, samples]`` -> ``[batch, frames, 64]``."""
        energies: Tensor = self.model(prepared[:, None])
        return energies.square().add(1e-6).log().mT

    def block(self, index: int, state: Tensor) -> Tensor:
        """There is none."""
        raise IndexError(index)
