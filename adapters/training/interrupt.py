"""Ctrl-C during training: finish the step, save, then leave; a second Ctrl-C leaves at once."""

from __future__ import annotations

import signal
import threading
from types import FrameType, TracebackType
from typing import Any

import torch
from accelerate import Accelerator


class Interruption:
    """While entered, SIGINT only sets a flag that the training loop reads between steps."""

    def __init__(self, accelerator: Accelerator) -> None:
        self.accelerator = accelerator
        self._flag = False
        self._previous: Any = None

    def __enter__(self) -> Interruption:
        if threading.current_thread() is threading.main_thread():
            self._previous = signal.signal(signal.SIGINT, self._handle)
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None) -> None:
        if self._previous is not None:
            signal.signal(signal.SIGINT, self._previous)
        if self._flag and isinstance(value, RuntimeError) and self.accelerator.num_processes > 1:
            raise KeyboardInterrupt from None  # another process, interrupted as well, was the first to leave

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self._flag:
            raise KeyboardInterrupt
        self._flag = True

    def requested(self) -> bool:
        """Whether any process was interrupted; all processes get the same answer, so they stop at the same step."""
        if self.accelerator.num_processes == 1:
            return self._flag
        flag = torch.tensor([float(self._flag)], device=self.accelerator.device)
        return bool(self.accelerator.reduce(flag, "sum").item() > 0)

    def check(self) -> None:
        """Leave now, where there is nothing to save."""
        if self._flag:
            raise KeyboardInterrupt
