"""Which precision to multiply in: half precision only where it was measured to be faster.

Hardware says what it can compute in bf16, not how fast: a CPU without such units emulates it, tens of times slower than fp32.
"""

from __future__ import annotations

import json
import platform
import re
import time
from contextlib import suppress
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from etude.adapters.errors import UserError
from etude.adapters.storage.atomic import replace_file
from etude.adapters.storage.cache import cache_root

FASTER = 1.25
"""How many times faster bf16 must be: less is not worth its rounding."""
HOPELESS = 0.25
"""Slower than this for a few frames, bf16 is emulated."""
WIDTH, INNER, HEADS, FRAMES = 768, 3072, 12, 450
"""A layer of a base-size transformer over 6 s at 75 Hz (9 s at 50 Hz)."""
REPETITIONS, BUDGET_SECONDS = 4, 0.4


def autocast_dtype(precision: Literal["auto", "fp32", "bf16", "fp16"], device: torch.device) -> torch.dtype | None:
    """The type to autocast to on ``device``; None for no autocast.

    ``auto`` is bf16 where it is at least 1.25 times as fast as fp32, else fp32. That is measured once per device, torch version
    and number of threads, and kept in ``precision.json`` in the cache folder. Raises :class:`UserError` for fp16 on a CPU.
    """
    if precision == "fp16":
        if device.type == "cpu":
            raise UserError("fp16 needs a GPU", where="train.precision", fix="use bf16 or fp32")
        return torch.float16
    if precision == "auto":
        return torch.bfloat16 if _speedup(device) >= FASTER else None
    return torch.bfloat16 if precision == "bf16" else None


def device_name(device: torch.device) -> str:
    """Model of the GPU, or of the CPU with the vector instructions that torch uses on it: ``AMD EPYC (AVX2)``."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    name = platform.processor() or platform.machine()
    with suppress(OSError):
        if found := re.search(r"^model name\s*: *(.+)$", Path("/proc/cpuinfo").read_text(errors="replace"), re.MULTILINE):
            name = found[1]
    return f"{name} ({torch.backends.cpu.get_cpu_capability() if device.type == 'cpu' else device.type})"


def probe(device: torch.device) -> float:
    """How many times faster than fp32 a transformer layer runs under bf16 autocast, forward and back to its input.

    0 for a device that refuses bf16. Takes at most about a second.
    """
    speedup = _measure(device, 16)
    # Where bf16 is emulated, all frames would take many seconds.
    return speedup if speedup < HOPELESS else _measure(device, FRAMES)


def _measure(device: torch.device, frames: int) -> float:
    # One window does not keep a GPU busy: the time of launching kernels would be measured.
    batch = 1 if device.type == "cpu" else 8
    states = torch.full((batch, frames, WIDTH), 0.1, device=device, requires_grad=True)
    up = torch.full((INNER, WIDTH), 0.01, device=device)
    down = torch.full((WIDTH, INNER), 0.01, device=device)
    best = dict.fromkeys((False, True), float("inf"))
    started = time.perf_counter()
    for _ in range(REPETITIONS):
        for half in best:
            try:
                best[half] = min(best[half], _seconds(states, up, down, half=half))
            except (RuntimeError, TypeError):
                if not half:
                    raise
                return 0.0
        if time.perf_counter() - started > BUDGET_SECONDS:
            break
    return best[False] / best[True]


def _seconds(states: Tensor, up: Tensor, down: Tensor, *, half: bool) -> float:
    started = time.perf_counter()
    with torch.autocast(states.device.type, torch.bfloat16, enabled=half):
        hidden = F.linear(F.gelu(F.linear(states, up)), down)
        heads = hidden.view(*states.shape[:2], HEADS, WIDTH // HEADS).transpose(1, 2)
        output = F.scaled_dot_product_attention(heads, heads, heads)
    (gradient,) = torch.autograd.grad(output.float().sum(), states)
    gradient.sum().item()  # waits for the device
    return time.perf_counter() - started


def _speedup(device: torch.device) -> float:
    """:func:`probe`, remembered in the cache folder; measured again each time when that folder cannot be written to."""
    path = cache_root() / "precision.json"
    key = f"{device_name(device)}, torch {torch.__version__}, threads {torch.get_num_threads()}"
    known = _read(path)
    if key not in known:
        known[key] = probe(device)
        with suppress(OSError, UserError):
            path.parent.mkdir(parents=True, exist_ok=True)
            with replace_file(path) as partial:
                partial.write_text(json.dumps(known, indent=2))
    return known[key]


def _read(path: Path) -> dict[str, float]:
    try:
        found = json.loads(path.read_text())
    except (OSError, ValueError):
        return {}
    return {key: value for key, value in found.items() if isinstance(value, float)} if isinstance(found, dict) else {}
