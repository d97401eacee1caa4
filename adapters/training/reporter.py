"""What a user sees of a run: progress, a line per epoch, TensorBoard logs, a history file and plots."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any

from rich.console import Console

from etude.adapters.progress import Bars
from etude.adapters.storage.atomic import replace_file


class Reporter:
    """Writes to the terminal and to the run folder; silent on all processes but the main one."""

    def __init__(self, run: Path, *, enabled: bool) -> None:
        self.run, self.enabled = run, enabled
        self.console = Console(stderr=True, quiet=not enabled)
        self._bars = Bars(self.console)
        self._board: Any = None

    def __enter__(self) -> Reporter:
        self._bars.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None) -> None:
        self._bars.stop()
        if self._board is not None:
            self._board.close()

    @contextmanager
    def task(self, description: str, total: int, done: int = 0) -> Iterator[Callable[[int], None]]:
        """Progress of the block; call the value with the number of items done."""
        task = self._bars.add_task(description, total=total, completed=done)
        try:
            yield lambda count: self._bars.advance(task, count)
        finally:
            self._bars.remove_task(task)

    def say(self, text: str) -> None:
        """One line above the progress bars."""
        self._bars.console.print(text, highlight=False, markup=False, soft_wrap=True)

    def epoch(self, row: dict[str, Any], history: list[dict[str, Any]]) -> None:
        """Report a finished epoch; ``history`` holds all rows including this one."""
        if not self.enabled:
            return
        text = f"epoch {row['epoch']:>3}  loss {row['train_loss']:.4f}"
        if "metric" in row:
            text += f"  {row['metric_name']} {row['metric']:.3f}"
        self.say(text)
        with replace_file(self.run / "history.jsonl") as partial:
            partial.write_text("".join(json.dumps(item) + "\n" for item in history), encoding="utf-8")
        self._log(row)
        if "metric" in row:
            from etude.adapters.inference.plot import plot_training

            plot_training(history, self.run / "training.png")

    def _log(self, row: dict[str, Any]) -> None:
        if self._board is None:
            from torch.utils.tensorboard import SummaryWriter

            self._board = SummaryWriter(str(self.run / "tensorboard"))
        for name, value in row.items():
            if isinstance(value, int | float) and name not in ("epoch", "metric"):
                self._board.add_scalar(name.replace(".", "/"), value, row["epoch"])
        for label, value in row.get("per_class_f1", {}).items():
            self._board.add_scalar(f"class_f1/{label}", value, row["epoch"])
        self._board.flush()
