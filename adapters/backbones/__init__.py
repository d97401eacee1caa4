"""The contract of a backbone: a frozen foundation model cut into an embedding and a stack of blocks.

Each file in this folder implements one family. State ``0`` is the output of :meth:`Backbone.embed`, state ``i + 1`` the output
of block ``i`` (the last one after the final norm, where the model has one), as in transformers' ``hidden_states``. States are
``[batch, tokens, hidden]``; :meth:`Backbone.readout` makes frames of tokens where they are not the same.
"""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from functools import cached_property
from itertools import chain
from typing import Any, ClassVar, Self

import torch
from pydantic import Field
from torch import Tensor, nn

from etude.adapters.config import Location, StrictModel
from etude.adapters.errors import UserError
from etude.adapters.sound.descriptors import describe

INPUT = -1
"""The index of what :meth:`Backbone.prepare` gives, among the states: the one before state 0."""


class BackboneConfig(StrictModel):
    """Fields every backbone has."""

    example: ClassVar[Mapping[str, Any]] = {"weights": "random:tiny"}

    name: str
    """That of its file."""
    weights: Location
    """Hub name, local folder, or ``random:SIZE`` (seeded random weights of a named size)."""
    revision: str | None = None
    """Hub revision; a commit hash makes a run repeatable for ever."""
    window: float | None = Field(None, gt=0.2)
    """Seconds of audio per forward pass; the family's usual length when omitted."""

    def frames(self, frame_rate: float, default: float) -> int:
        """Frames in :attr:`window`, or in ``default`` seconds, at ``frame_rate`` Hz.

        Raises :class:`UserError`, naming the nearest valid length, when they are not a whole number.
        """
        seconds = default if self.window is None else self.window
        exact = seconds * frame_rate
        if abs(exact - round(exact)) > 1e-3:
            raise UserError(
                f"a window of {seconds:g} s is {exact:.2f} frames at {frame_rate:g} Hz, not a whole number",
                where="backbone.window",
                fix=f"use {round(round(exact) / frame_rate, 6):.10g}",
            )
        return round(exact)


def standardize(audio: Tensor, lengths: Tensor) -> Tensor:
    """Zero mean and unit variance over the real samples of each waveform, exact zeros in the padding.

    ``audio`` ``[batch, samples]``, ``lengths`` ``[batch]`` in samples. ``(x - mean) / sqrt(var + 1e-7)`` as in transformers'
    feature extractors; silence and length 0 give zeros.
    """
    real = torch.arange(audio.shape[-1], device=audio.device) < lengths.to(audio.device)[:, None]
    count = real.sum(-1, keepdim=True).clamp(min=1)
    centred = audio.where(real, 0.0) - audio.where(real, 0.0).sum(-1, keepdim=True) / count
    centred = centred.where(real, 0.0)
    return centred / (centred.square().sum(-1, keepdim=True) / count + 1e-7).sqrt()


class Backbone(nn.Module, ABC):
    """A frozen model. Parameters never require gradients and the model never leaves ``eval()``: no dropout, layerdrop,
    SpecAugment or batch-norm drift."""

    Config: ClassVar[type[BackboneConfig]]

    id: str
    """Hub name, folder or ``random:SIZE`` as given in the recipe."""
    revision: str | None
    licence: str
    sample_rate: int
    frame_rate: float
    hidden_size: int
    num_blocks: int
    window_samples: int
    """Samples of real audio per window; ``frames_per_window / frame_rate`` seconds exactly."""
    sites: dict[str, str]
    """Canonical site (``blocks.07.attn.q``) -> module path inside :attr:`model`."""
    model: nn.Module
    """The transformers model that holds the weights."""
    special_tokens: int = 0
    """How many tokens at the start of a state stand for no place in the input."""
    source_labels: tuple[str, ...] = ()
    """Names of the classes of :meth:`classify`, in their order."""

    def __init__(self, config: BackboneConfig) -> None:
        super().__init__()
        self.config = config
        self._added: set[int] = set()

    def freeze(self) -> None:
        """Freeze all parameters and switch to ``eval()``; subclasses call it last in ``__init__``."""
        self.requires_grad_(False)
        self.eval()

    def train(self, mode: bool = True) -> Self:
        """Stay in ``eval()`` whatever a surrounding module asks; a method then switches its own modules itself."""
        return super().train(False)

    def preparation(self) -> dict[str, Any]:
        """All but the weights that a window's states depend on: the family, its options, and the window in samples and Hz."""
        options = self.config.model_dump(mode="json", exclude={"weights", "revision", "window"})
        return {**options, "window_samples": self.window_samples, "sample_rate": self.sample_rate}

    @property
    def frames_per_window(self) -> int:
        """Frames that one window gives."""
        return round(self.window_samples / self.sample_rate * self.frame_rate)

    @property
    def tokens_per_window(self) -> int:
        """Rows of a state; frames, unless a subclass cuts the input otherwise."""
        return self.frames_per_window

    @cached_property
    def prepared_shape(self) -> tuple[int, ...]:
        """Shape of one prepared window: ``(samples,)`` of a waveform, ``(bands, frames)`` of a spectrogram."""
        device = next(chain(self.model.parameters(), self.model.buffers())).device
        window = torch.zeros(1, self.window_samples, device=device)
        return tuple(self.prepare(window, torch.tensor([self.window_samples])).shape[1:])

    def describe(self, names: Iterable[str], audio: Tensor) -> dict[str, Tensor]:
        """Descriptors of windows by name, ``[batch, window_samples]`` -> ``[batch, frames, width]`` each, a frame for each of
        the model's."""
        return describe(names, audio, self.sample_rate, self.frames_per_window, self.frame_rate)

    def readout(self, state: Tensor) -> Tensor:
        """A state ``[batch, tokens, hidden]`` -> ``[batch, frames, hidden]``, which layer mix and heads read."""
        return state

    def trained_readout(self) -> nn.Module | None:
        """A new, untrained module that takes the place of :meth:`readout`, behind the layer mix; ``None`` for none."""
        return None

    def classify(self, pooled: Tensor) -> Tensor:
        """What :meth:`readout` made of the last state, ``[batch, frames, hidden]`` -> logits of the classes that the model was
        trained for, ``[batch, frames, source classes]``. Raises :class:`UserError` where it has none."""
        raise UserError(f"{self.id} has no classes of its own", where="backbone.name", fix="map from a classifier such as ast")

    @abstractmethod
    def prepare(self, audio: Tensor, lengths: Tensor) -> Tensor:
        """Waveforms ``[batch, window_samples]`` at :attr:`sample_rate` and their real lengths ``[batch]`` in samples (the rest
        is padding) -> what :meth:`embed` takes: normalised waveform or log-mel. Differentiable."""

    @abstractmethod
    def embed(self, prepared: Tensor) -> Tensor:
        """Convolutions or patches and positions -> state 0, ``[batch, tokens, hidden]``."""

    @abstractmethod
    def block(self, index: int, state: Tensor) -> Tensor:
        """State ``index`` -> state ``index + 1``, both ``[batch, tokens, hidden]``."""

    def next_state(self, index: int, state: Tensor) -> Tensor:
        """State ``index`` -> state ``index + 1``, from :data:`INPUT` on."""
        return self.embed(state) if index == INPUT else self.block(index, state)

    def forward(self, prepared: Tensor) -> list[Tensor]:
        """All ``num_blocks + 1`` states, each ``[batch, tokens, hidden]``."""
        states = [self.embed(prepared)]
        for index in range(self.num_blocks):
            states.append(self.block(index, states[-1]))
        return states

    def exclude_from_fingerprint(self, parameters: Iterable[nn.Parameter]) -> None:
        """Tell which parameters inside :attr:`model` a method has added, so that :meth:`fingerprint` leaves them out."""
        self._added |= {id(parameter) for parameter in parameters}

    def fingerprint(self) -> str:
        """SHA-256 over all parameters *and* buffers of the base model.

        It ignores names, because libraries rename modules between releases, and whatever a method has added.
        """
        digests = []
        for tensor in (*self.model.parameters(), *self.model.buffers()):
            if id(tensor) in self._added:
                continue
            digest = hashlib.sha256(f"{tensor.dtype}{tuple(tensor.shape)}".encode())
            digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
            digests.append(digest.hexdigest())
        return hashlib.sha256("".join(sorted(digests)).encode()).hexdigest()
