"""Frozen states on disk: everything below the first trainable block is computed once per window and run.

One file in half precision in the run folder, written once and read by slices, so memory does not grow with the data set.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from accelerate import Accelerator
from torch import Tensor

from etude.adapters.errors import UserError
from etude.adapters.model import AdaptedModel
from etude.adapters.training.interrupt import Interruption
from etude.adapters.training.window_set import WindowSet

FILL_BATCH = 4
"""Fixed, so that a window's states do not depend on the recipe's batch size or on an interruption."""


class FrozenStates:
    """The frozen states of a window set, each ``[stored layers, frames, hidden]``: from a file, or computed when asked for.

    They are computed when the file would exceed ``limit_gb``, or leave less than a tenth of the disk free.
    """

    def __init__(self, path: Path, model: AdaptedModel, windows: WindowSet, limit_gb: float) -> None:
        self.model, self.windows, self.path = model, windows, path
        self.shape = (len(model.stored_layers), model.backbone.frames_per_window, model.backbone.hidden_size)
        disk = shutil.disk_usage(path.parent)
        self.bytes = len(windows) * int(np.prod(self.shape)) * 2
        self.on_disk = self.bytes <= min(limit_gb * 1e9, disk.free - disk.total / 10)

    def fill(self, accelerator: Accelerator, advance: Callable[[int], None], interruption: Interruption) -> None:
        """Compute all states, each process its share; ``advance`` is told the number of windows done.

        Raises :class:`UserError` when the disk is full or refuses.
        """
        if not self.on_disk:
            return
        try:
            self._fill(accelerator, advance, interruption)
        except OSError as error:
            self.remove()
            fix = "free some space, or compute the states at every step with train.store_gb=0"
            raise UserError(f"cannot be written: {error.strerror}", where=str(self.path), fix=fix) from None

    def _fill(self, accelerator: Accelerator, advance: Callable[[int], None], interruption: Interruption) -> None:
        if accelerator.is_main_process:
            with self.path.open("wb") as file:
                file.truncate(self.bytes)
        accelerator.wait_for_everyone()
        batches = [range(i, min(i + FILL_BATCH, len(self.windows))) for i in range(0, len(self.windows), FILL_BATCH)]
        for batch in batches[accelerator.process_index :: accelerator.num_processes]:
            interruption.check()
            states = self._compute(batch).half().cpu().numpy()
            # Not through a memory map: there, a full disk kills the process with a bus error.
            with self.path.open("r+b") as file:
                file.seek(batch.start * states[0].nbytes)
                file.write(states.tobytes())
            advance(len(batch))
        accelerator.wait_for_everyone()

    def _compute(self, positions: Sequence[int]) -> Tensor:
        audio, lengths = self.windows.audio(positions)
        device = self.model.device
        return self.model.frozen_states(audio.to(device), lengths.to(device))

    def __call__(self, positions: Sequence[int]) -> Tensor:
        """States ``[batch, stored layers, frames, hidden]``."""
        if not self.on_disk:
            return self._compute(positions)
        # Mapped anew each time: pages of an old mapping would count as this process's memory.
        mapped = np.memmap(self.path, np.float16, "r", shape=(len(self.windows), *self.shape))
        return torch.from_numpy(mapped[list(positions)])

    def remove(self) -> None:
        """Delete the file."""
        self.path.unlink(missing_ok=True)
