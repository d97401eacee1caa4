"""What every benchmark script shares: its arguments, the median of repeated runs, and how results are printed."""

from __future__ import annotations

import argparse
import json as json_format
import os
import platform
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch

from etude.adapters.training.precision import device_name


def arguments(doc: str | None) -> argparse.ArgumentParser:
    """A parser that shows the script's docstring ``doc`` and knows ``--json``; scripts add their own arguments."""
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="print the result as one JSON object on the last line")
    return parser


def median_seconds(function: Callable[[], object], repeats: int, warmup: int) -> float:
    """Median wall time of ``repeats`` calls in seconds, after ``warmup`` calls that do not count."""
    seconds = []
    for _ in range(warmup + repeats):
        started = time.perf_counter()
        function()
        seconds.append(time.perf_counter() - started)
    return statistics.median(seconds[warmup:])


def machine() -> str:
    """One line: ``AMD EPYC (AVX2), 2 cores, torch 2.13.0+cpu, threads 1, Python 3.11.2``."""
    cpu, python = device_name(torch.device("cpu")), platform.python_version()
    return f"{cpu}, {os.cpu_count()} cores, torch {torch.__version__}, threads {torch.get_num_threads()}, Python {python}"


def table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Aligned Markdown, one column per key of the first row; numbers to the right, floats with four digits."""
    columns = list(rows[0])
    cells = [columns] + [[_text(row.get(column, "")) for column in columns] for row in rows]
    numeric = [all(isinstance(row.get(column, 0), int | float) for row in rows) for column in columns]
    widths = [max(3, *map(len, column)) for column in zip(*cells, strict=True)]
    lines = [
        [cell.rjust(width) if number else cell.ljust(width) for cell, width, number in zip(line, widths, numeric, strict=True)]
        for line in cells
    ]
    rule = ["-" * (width - 1) + (":" if number else "-") for width, number in zip(widths, numeric, strict=True)]
    return "\n".join(f"| {' | '.join(line)} |" for line in (lines[0], rule, *lines[1:]))


def finish(result: Mapping[str, Any], rows: Sequence[Mapping[str, Any]], json: bool) -> None:
    """Print ``rows`` as a table, the machine and, when ``json``, ``result`` as the last line."""
    print(f"{table(rows)}\n\n{machine()}")
    if json:
        print(json_format.dumps(result))


def _text(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
