"""What a frozen model says of every window of a window set: computed once into the feature store, read from it ever after."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

import numpy as np
import soundfile
import torch
from accelerate import Accelerator
from accelerate.utils import broadcast_object_list
from numpy.typing import NDArray
from torch import Tensor

from etude.adapters.errors import UserError
from etude.adapters.states.framing import audio_batch
from etude.adapters.states.memory import in_parts_that_fit
from etude.adapters.states.window_set import WindowSet
from etude.adapters.storage.feature_store import FeatureSet, FeatureStore
from etude.adapters.storage.row_file import RowFile

FILL_SIZES = (4, 2, 1)
"""Windows computed at a time: independent of the recipe's batch size, smaller only where memory does not suffice."""
PREFETCH = 2
"""Batches of audio decoded ahead, each in a thread of its own."""

Read = tuple[NDArray[np.generic], list[int]]
"""Rows of one part, and which of them are damaged."""


@dataclass(frozen=True)
class Source:
    """A frozen model, as the store sees it: the states below a method's first block, a teacher's embeddings, ..."""

    compute: Callable[[Tensor, Tensor], Sequence[Tensor]]
    """Waveforms ``[batch, window_samples]`` and their lengths ``[batch]`` -> each part, ``[batch, *shape]``, on any device."""
    parts: Mapping[str, tuple[int, ...]]
    """Names of the parts, each stored in a file of its own, and the shape of one window of each."""
    key: Mapping[str, Any]
    """Everything the values depend on but the audio, the windows and the part (JSON)."""
    about: Mapping[str, Any]
    """The same in plain words, for people."""


class WindowFeatures:
    """Rows of ``source`` for ``windows``, part by part.

    Without a ``store``, or where it has no room, they are computed whenever they are asked for. ``say`` tells the user what
    went wrong with the store, and what follows.
    """

    def __init__(
        self,
        source: Source,
        windows: WindowSet,
        store: FeatureStore | None,
        *,
        dtype: str = "float16",
        say: Callable[[str], None] = lambda text: None,
    ) -> None:
        self.source, self.windows, self.store, self.dtype, self.say = source, windows, store, dtype, say
        self._parts: list[RowFile] = []
        self._reader = ThreadPoolExecutor(1)
        self._ahead: tuple[list[int], Future[list[Read]]] | None = None
        self._warned = False

    def fill(self, accelerator: Accelerator, advance: Callable[[int], None], check: Callable[[], None]) -> None:
        """Compute what the store lacks, each process its share; ``advance`` is told the number of rows done.

        ``check`` is called between batches and may raise to leave; what is computed by then stays. Raises :class:`UserError`
        when the store cannot be written.
        """
        if self.store is None or not len(self.windows):
            return
        features = self.store.describe(self._key(), self.windows.row_ids(), self.source.parts, self.dtype)
        parts = [features.part(name) for name in self.source.parts]
        try:
            if self._complete(parts):
                advance(self.windows.rows)
            else:
                with self._hold(features, parts, accelerator, check) as room:
                    if not broadcast_object_list([room])[0]:
                        self._refuse(sum(part.bytes for part in parts))
                        return
                    self._fill(parts, accelerator, advance, check)
            for part in parts:
                part.open()
        except OSError as error:
            fix = "free some space, set ETUDE_CACHE to a folder elsewhere, or pass --no-cache"
            raise UserError(f"cannot be written: {error.strerror or error}", where=str(features.folder), fix=fix) from None
        self._parts = parts

    def _complete(self, parts: Sequence[RowFile]) -> bool:
        complete = not any(part.truncated() or len(part.missing()) for part in parts)
        return bool(broadcast_object_list([complete])[0])

    @contextlib.contextmanager
    def _hold(
        self, features: FeatureSet, parts: Sequence[RowFile], accelerator: Accelerator, check: Callable[[], None]
    ) -> Iterator[bool]:
        """Let the main process prepare the files and hold their lock while all processes compute."""
        if not accelerator.is_main_process:
            yield False  # only the main process knows
            return
        assert self.store is not None
        waiting = False

        def wait() -> None:
            nonlocal waiting
            if not waiting:
                self.say("waiting for another run that computes the same frozen states")
            waiting = True
            check()

        if cut := [part for part in parts if part.truncated()]:
            self.say(f"warning: {cut[0].rows} was cut short; what it lacks is computed again")
        with self.store.filling(features, self._about(), wait) as room:
            yield room

    def _fill(
        self, parts: Sequence[RowFile], accelerator: Accelerator, advance: Callable[[int], None], check: Callable[[], None]
    ) -> None:
        accelerator.wait_for_everyone()
        lacking = [set(part.missing().tolist()) for part in parts]
        accelerator.wait_for_everyone()
        rows = sorted(set[int]().union(*lacking))
        advance(self.windows.rows - len(rows))
        batches = [rows[i : i + FILL_SIZES[0]] for i in range(0, len(rows), FILL_SIZES[0])]
        own = batches[accelerator.process_index :: accelerator.num_processes]

        def work(size: int) -> None:
            for batch, waveforms in zip(own.copy(), self._decoded(own.copy()), strict=True):
                check()
                pieces = zip(*(torch.split(tensor, size) for tensor in waveforms), strict=True)
                computed = [[self._stored(part) for part in self.source.compute(*piece)] for piece in pieces]
                of_part = map(np.concatenate, zip(*computed, strict=True))
                for part, values, missing in zip(parts, of_part, lacking, strict=True):
                    entries = [entry for entry, row in enumerate(batch) if row in missing]
                    part.write([batch[entry] for entry in entries], values[entries])
                own.pop(0)
                advance(len(batch))

        in_parts_that_fit(work, FILL_SIZES)
        accelerator.wait_for_everyone()

    def _decoded(self, batches: Sequence[Sequence[int]]) -> Iterator[tuple[Tensor, Tensor]]:
        """The audio of each batch, decoded ahead while the one before is computed."""
        with ThreadPoolExecutor(PREFETCH) as pool:
            waiting = [pool.submit(self.windows.waveforms, batch) for batch in batches[:PREFETCH]]
            for index in range(len(batches)):
                if index + PREFETCH < len(batches):
                    waiting.append(pool.submit(self.windows.waveforms, batches[index + PREFETCH]))
                # Made into tensors here: torch would start a second set of threads in the pool's.
                yield audio_batch(self.windows.backbone, waiting.pop(0).result())

    def _stored(self, values: Tensor) -> NDArray[np.generic]:
        dtype: torch.dtype = getattr(torch, self.dtype)
        lowest, highest = torch.aminmax(values)
        if not (lowest >= torch.finfo(dtype).min and highest <= torch.finfo(dtype).max):
            fix = "set train.store_dtype=float32" if torch.isfinite(values).all() else "check the recording and the weights"
            raise UserError(f"the frozen states hold values that {self.dtype} cannot", where="train.store_dtype", fix=fix)
        return values.to(dtype).cpu().numpy()

    def __call__(self, rows: Sequence[int]) -> list[Tensor]:
        """Values of rows of the window set, each part ``[batch, *shape]``, in single precision."""
        if not self._parts:
            return list(self.source.compute(*self.windows.audio(rows)))
        ahead, self._ahead = self._ahead, None
        found = ahead[1].result() if ahead else []  # waited for in any case: one file cannot be read from two places at once
        if not ahead or ahead[0] != list(rows):
            found = self._read(rows)
        result = [torch.from_numpy(values).float() for values, _ in found]
        for entry in sorted({entry for _, damaged in found for entry in damaged}):
            for part, values in zip(result, self._repair(rows[entry]), strict=True):
                part[entry] = values
        return result

    def read_ahead(self, rows: Sequence[int]) -> None:
        """Begin to read the rows of the next call, which are known."""
        if self._parts:
            self._ahead = list(rows), self._reader.submit(self._read, list(rows))

    def _read(self, rows: Sequence[int]) -> list[Read]:
        return [part.read(rows) for part in self._parts]

    def _repair(self, row: int) -> list[Tensor]:
        """Compute a damaged row again, and put it back where the store can be written."""
        if not self._warned:
            self.say(f"warning: {self._parts[0].rows.parent} is damaged; the windows concerned are computed again")
            self._warned = True
        values = [self._stored(part)[0] for part in self.source.compute(*self.windows.audio([row]))]
        for part, value in zip(self._parts, values, strict=True):
            with contextlib.suppress(OSError):  # the values are used, kept or not
                part.create()
                part.write([row], value[None])
        return [torch.from_numpy(value) for value in values]

    def _refuse(self, needed: int) -> None:
        assert self.store is not None
        self.say(
            f"warning: the frozen states of {len(self.windows)} windows need {needed / 1e9:.2f} GB, more than the disk or "
            f"ETUDE_CACHE_GB={self.store.limit / 1e9:g} allows; they are computed at every step. Fewer mix.layers need less."
        )

    def _key(self) -> dict[str, Any]:
        augment = self.windows.augment
        return {
            **self.source.key,
            "libraries": {name: version(name) for name in ("torch", "transformers", "soxr", "soundfile")},
            "libsndfile": soundfile.__libsndfile_version__,
            "augment": None if augment is None else augment.model_dump(mode="json", exclude={"views"}),
        }

    def _about(self) -> dict[str, Any]:
        backbone, views = self.windows.backbone, {"views": self.windows.views} if self.windows.augment else {}
        hours = len(self.windows) * backbone.window_samples / backbone.sample_rate / 3600
        return {**self.source.about, "windows": len(self.windows), **views, "hours": round(hours, 3)}
