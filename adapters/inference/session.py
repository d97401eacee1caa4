"""A backbone and the adapters on it, ready to annotate recordings of any length."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from etude.adapters import artifact
from etude.adapters.annotations import Annotation
from etude.adapters.artifact import Artifact
from etude.adapters.device import find_device
from etude.adapters.errors import UserError, nearest
from etude.adapters.heads import Activations, Head
from etude.adapters.inference.recordings import Recording, plan_recordings, recording_activations
from etude.adapters.inference.stream import Stream
from etude.adapters.model.bank import AdapterBank
from etude.adapters.model.branches import Branches
from etude.adapters.model.build import build_backbone, trained_recipe
from etude.adapters.model.compiled import compile_blocks
from etude.adapters.model.loaded import LoadedAdapter
from etude.adapters.recipe.trained import TrainedRecipe
from etude.adapters.sound.audio import Samples, Source

ROWS = 4
"""Windows, each under one adapter, that are computed at a time."""
Recorded = str | Path | Samples | NDArray[np.floating]
"""A recording as a session takes it."""
SAID_OTHERWISE = {"weights", "revision", "window"}
"""Fields of a recipe's backbone that may differ where fingerprint and window are the same."""


class Session:
    """``session(recording)`` annotates a recording with the current adapter, the first one until :meth:`switch`.

    All adapters stay beside one backbone; going from one to another writes a few integers. ``weights`` names the backbone's
    weights where they differ from the training machine's path; a fingerprint check makes sure that they are the same weights.
    ``device`` is a GPU when omitted and there is one. ``compile`` compiles the backbone's layers when they are first used: that
    takes a while, switching does not. ``rows`` windows are computed at a time: more are faster on a GPU, fewer take
    less memory.

    With ``unknown``, what is unlike everything in training is called ``unknown``, and has no confidence.

    Any number of threads may call one session: each gets what it would get alone. They share the current adapter, so threads
    that use different ones name them in the call.

    Raises :class:`UserError` for a damaged artifact, another backbone, a device that this machine lacks, or with ``unknown`` an
    adapter that cannot tell.
    """

    def __init__(
        self,
        adapter: str | Path,
        *more: str | Path,
        weights: str | None = None,
        device: str | None = None,
        compile: bool = False,
        rows: int = ROWS,
        unknown: bool = False,
    ) -> None:
        if rows < 1:
            raise UserError(f"{rows} windows at a time are too few", where="rows", fix=f"use 1 or more, {ROWS} by default")
        self.device, self._names_unknown = find_device(device), unknown
        first, *others = (artifact.load(Path(path)) for path in (adapter, *more))
        self.backbone = build_backbone(trained_recipe(first, weights).backbone)
        artifact.check_backbone(first, self.backbone)
        self._owner = first
        self._bank = AdapterBank(self.backbone)
        self._branches = Branches(self.backbone, self._bank, rows, fixed=compile)
        self._adapters: dict[str, LoadedAdapter] = {}
        self.to(self.device)
        if compile:
            compile_blocks(self.backbone)
        self.current: str | None = self._add(first, None)
        """The adapter that is used where none is named."""
        for other in others:
            self._add(other, None)

    @property
    def adapters(self) -> tuple[str, ...]:
        """The names of all adapters, in the order in which they were loaded."""
        return tuple(self._adapters)

    @property
    def artifacts(self) -> dict[str, Artifact]:
        """What each adapter was loaded from, by name."""
        return {name: adapter.artifact for name, adapter in self._adapters.items()}

    def load(self, path: str | Path, name: str | None = None) -> str:
        """Load one more adapter, under its own name if no other is given; returns the name.

        Raises :class:`UserError` for a damaged artifact, a name that is taken, and an adapter that does not belong to this
        backbone or sees audio in other windows.
        """
        return self._add(artifact.load(Path(path)), name)

    def unload(self, name: str) -> None:
        """Take an adapter out of the session. Raises :class:`UserError` for an unknown name."""
        with self._branches.lock:
            self._bank.remove(self._find(name).key)
            self._adapters = {other: adapter for other, adapter in self._adapters.items() if other != name}
            if self.current == name:
                self.current = None

    def switch(self, name: str) -> None:
        """Make an adapter the current one. Raises :class:`UserError` for an unknown name."""
        self.current = self._find(name).name

    def to(self, device: torch.device) -> None:
        """Move the backbone and all adapters."""
        self.device = device
        self.backbone.to(device)
        for adapter in self._adapters.values():
            adapter.to(device)

    def recipe(self, adapter: str | None = None) -> TrainedRecipe:
        """What the recipe that an adapter was trained with says of the model."""
        return self._find(adapter).recipe

    def heads(self, adapter: str | None = None) -> dict[str, Head]:
        """An adapter's heads by name."""
        return self._find(adapter).heads_by_name

    def __call__(self, recording: Recorded, adapter: str | None = None, *, rate: int | None = None) -> Annotation:
        """The annotation of a recording by all heads.

        ``recording`` is a path, or samples ``[samples]`` or ``[samples, channels]`` at ``rate`` Hz. Raises :class:`UserError`
        for unreadable audio.
        """
        return self._annotations([(_source(recording, rate), self._find(adapter))])[0]

    def all(self, recording: Recorded, *, rate: int | None = None) -> dict[str, Annotation]:
        """The annotation of a recording by every adapter; what they have in common is computed once. Raises as a call does."""
        source, adapters = _source(recording, rate), dict(self._adapters)
        return dict(zip(adapters, self._annotations((source, adapter) for adapter in adapters.values()), strict=True))

    def batch(self, recordings: Iterable[tuple[str | Path | Samples, str]]) -> list[Annotation]:
        """The annotations of pairs of recording and adapter; windows of different ones share batches. Raises as a call does."""
        return self._annotations((_source(recording, None), self._find(name)) for recording, name in recordings)

    def stream(self, blocks: Iterable[NDArray[np.floating]], rate: int, adapter: str | None = None) -> Iterator[Annotation]:
        """Follow a recording that is still going on.

        ``blocks`` hold samples, ``[samples]`` or ``[samples, channels]`` at ``rate`` Hz. Gives the annotation of all that was
        heard so far, whenever another window of the backbone is complete, and once more at the end: what a call with the whole
        recording gives, to rounding. Raises :class:`UserError` for an adapter whose heads need more than a window at a time.
        """
        return Stream(self._branches, self.device, self._find(adapter), rate).annotations(blocks)

    def activations(
        self, recording: Recorded, adapter: str | None = None, *, rate: int | None = None
    ) -> dict[str, Activations]:
        """What every head says of each frame of the recording, by head and output, each ``[frames, ...]``."""
        [(_, _, activations)] = self._run([(_source(recording, rate), self._find(adapter))])
        return activations

    def all_activations(self, recording: Recorded, *, rate: int | None = None) -> dict[str, dict[str, Activations]]:
        """What :meth:`activations` gives, by adapter; what they have in common is computed once."""
        jobs = [(_source(recording, rate), adapter) for adapter in dict(self._adapters).values()]
        found = {adapter.name: activations for _, adapter, activations in self._run(jobs)}
        return {adapter.name: found[adapter.name] for _, adapter in jobs}

    def decode(self, activations: Mapping[str, Activations], adapter: str | None = None) -> Annotation:
        """The annotation that :meth:`activations` of a recording lead to."""
        return self._find(adapter).decode(activations, self.backbone.frame_rate)

    def _annotations(self, jobs: Iterable[tuple[Source, LoadedAdapter]]) -> list[Annotation]:
        jobs = list(jobs)
        found = {
            (recording.source, adapter.key): adapter.decode(activations, self.backbone.frame_rate)
            for recording, adapter, activations in self._run(jobs)
        }
        return [found[source, adapter.key] for source, adapter in jobs]

    def _run(
        self, jobs: Sequence[tuple[Source, LoadedAdapter]]
    ) -> Iterator[tuple[Recording, LoadedAdapter, dict[str, Activations]]]:
        return recording_activations(self._branches, self.device, plan_recordings(self.backbone, jobs))

    def _find(self, name: str | None) -> LoadedAdapter:
        if name is None and self.current is None:
            raise UserError("no adapter is chosen", fix=f"switch to one; {nearest('', self._adapters)}")
        wanted = self.current if name is None else name
        if wanted not in self._adapters:
            raise UserError(f"no adapter '{wanted}' is loaded", fix=nearest(str(wanted), self._adapters))
        return self._adapters[wanted]

    def _add(self, loaded: Artifact, name: str | None) -> str:
        name = loaded.manifest.name if name is None else name
        with self._branches.lock:
            if name in self._adapters:
                raise UserError(
                    f"an adapter called '{name}' is loaded already",
                    where=str(loaded.folder),
                    fix="give it another name: session.load(path, name=...)",
                )
            recipe = trained_recipe(loaded)
            self._check_same_backbone(loaded, recipe)
            adapter = LoadedAdapter(name, loaded, recipe, self.backbone).to(self.device)
            if self._names_unknown:
                adapter.name_unknown()
            self._bank.add(adapter.key, adapter.updates)
            self._adapters = {**self._adapters, name: adapter}
        return name

    def _check_same_backbone(self, loaded: Artifact, recipe: TrainedRecipe) -> None:
        """The fingerprint of the session's first adapter was compared with the weights themselves."""
        owner, given, own = self._owner.manifest, recipe.backbone, self.backbone.config
        if loaded.manifest.backbone.fingerprint != owner.backbone.fingerprint:
            reason = f"{loaded.manifest.backbone.id} and {owner.backbone.id} are other weights"
        elif given.window != own.window and (
            given.window is None or given.frames(self.backbone.frame_rate, 0.0) != self.backbone.frames_per_window
        ):
            reason = "their windows (backbone.window) differ"
        elif given.model_dump(exclude=SAID_OTHERWISE) != own.model_dump(exclude=SAID_OTHERWISE):
            reason = "they prepare audio differently (section backbone of their recipes)"
        else:
            return
        raise UserError(
            f"'{loaded.manifest.name}' cannot share a backbone with '{owner.name}': {reason}",
            where=str(loaded.folder),
            fix="give it a session of its own",
        )


def _source(recording: Recorded, rate: int | None) -> Source:
    """Raises :class:`UserError` for an array without a rate, and for a rate of a file, which has its own."""
    if isinstance(recording, np.ndarray):
        if rate is None:
            raise UserError("an array has no sample rate", where="audio", fix="say it: session(array, rate=44100)")
        return Samples(recording, rate)
    if rate is not None:
        raise UserError("a recording with a rate of its own was given another", where="rate", fix="leave it out")
    return recording if isinstance(recording, Samples) else Path(recording)
