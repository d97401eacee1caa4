"""Seconds per optimizer step: etude with stored states against peft, full fine-tuning, a probe, and the floor.

    python benchmarks/train_step.py                         # MERT-v1-95M's shape, random weights
    python benchmarks/train_step.py --heads mertech         # with three heads, which cost all systems the same
    python benchmarks/train_step.py --geometry whisper-tiny
    python benchmarks/train_step.py --geometry tiny         # does the script work?

All systems of a comparison take turns, one step each; a peer's step includes the decoding of its batch. ``factor`` is a
system's seconds over etude's. In the JSON object ``X_vs_PEER`` is that factor, and ``X_vs_floor`` etude's seconds over the
floor's. Peak memory is that of a process of its own.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import report
from setup import GEOMETRIES, HEADS, Workload, fill, forget_peak, interleaved, peak_mb, step

WINDOWS = 6
REQUIRED = {"last3_vs_peft": 6.0, "last3_vs_frozen_cnn": 3.5, "last1_vs_peft": 20.0, "last1_vs_frozen_cnn": 10.0}
REQUIRED |= {"heads_vs_backbone": 40.0}
"""Of MERT."""
PEAK_MB = 4000.0
NAMES = {
    "etude": "etude",
    "no_store": "etude, nothing stored",
    "floor": "floor: adapted blocks and heads only",
    "peft": "plain peft",
    "frozen_cnn": "peft, CNN frozen",
    "full": "full fine-tuning, CNN frozen",
    "backbone": "frozen backbone at every step",
}

Rows = list[dict[str, Any]]


def compare(workload: Workload, blocks: int, rounds: int, full: bool) -> dict[str, float]:
    """Seconds per step by system, LoRA in the last ``blocks`` blocks (0: heads only)."""
    import peers  # not above: processes in which only etude trains have their memory measured

    recipe = workload.recipe(blocks)
    model = workload.model(recipe)
    rivals = {}
    if blocks:
        rivals["peft"] = peers.plain_peft(workload, blocks)
        if workload.geometry.backbone == "mert":
            rivals["frozen_cnn"] = peers.peft_cnn_frozen(workload, blocks)
            assert peers.graph_reaches_cnn(rivals["peft"])
            assert not peers.graph_reaches_cnn(rivals["frozen_cnn"])
    else:
        rivals["backbone"] = peers.frozen_backbone(workload)
    if full:
        rivals["full"] = peers.full_fine_tuning(workload)
    for name, peer in rivals.items():
        peers.check(peer, model, same_size=name != "full")
    stored, unstored = workload.loop(recipe, workload.folder / "store", model), workload.loop(recipe, None)
    fill(stored)
    systems: dict[str, Callable[[], object]] = {
        "etude": partial(step, stored),
        "no_store": partial(step, unstored),
        "floor": peers.floor(workload, blocks),
    }
    systems |= {name: peer.step for name, peer in rivals.items()}
    return interleaved(systems, rounds)


def peak(geometry: str, checkpointing: bool) -> dict[str, float]:
    """What :func:`print_peak` measures, in a process of its own."""
    command = [sys.executable, __file__, "--geometry", geometry, "--peak", *(["--checkpointing"] if checkpointing else [])]
    return dict(json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout.splitlines()[-1]))


def print_peak(workload: Workload, checkpointing: bool) -> None:
    """Largest memory in MB with LoRA in all blocks: while the states are computed, and in three steps after that."""
    recipe = workload.recipe(100, f"train.gradient_checkpointing={str(checkpointing).lower()}")
    loop = workload.loop(recipe, workload.folder / "store")
    fill(loop)
    filling = peak_mb()
    forget_peak()
    for _ in range(3):
        step(loop)
    print(json.dumps({"fill": filling, "steps": peak_mb()}))


def main() -> None:
    parser = report.arguments(__doc__)
    parser.add_argument("--geometry", choices=GEOMETRIES, default="mert")
    parser.add_argument("--heads", choices=HEADS, default="probe")
    parser.add_argument("--rounds", type=int, default=7, help="timed steps of each system, after two that do not count")
    parser.add_argument("--peak", action="store_true", help="only measure the memory, LoRA in all blocks")
    parser.add_argument("--checkpointing", action="store_true", help="with gradient checkpointing (for --peak)")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        workload = Workload(arguments.geometry, Path(folder), WINDOWS, arguments.heads)
        if arguments.peak:
            print_peak(workload, arguments.checkpointing)
            return
        result, rows = measure(workload, arguments.geometry, arguments.rounds)
    print(f"{workload.title}\n")
    report.finish(result, rows, arguments.json)


def trained(blocks: int) -> str:
    """In words."""
    return f"LoRA in the last {blocks}, heads" if blocks else "heads only"


def measure(workload: Workload, geometry: str, rounds: int) -> tuple[dict[str, Any], Rows]:
    """The figures, and a table of them."""
    result: dict[str, Any] = {"geometry": geometry, "workload": workload.title}
    rows: Rows = []
    required = REQUIRED if geometry == "mert" else {}
    for blocks in (*workload.geometry.depths, 0):
        prefix = f"last{blocks}" if blocks else "heads"
        seconds = compare(workload, blocks, rounds, full=blocks == workload.geometry.depths[0])
        for system, value in seconds.items():
            factor, key = value / seconds["etude"], f"{prefix}_vs_{system}"
            result[f"{prefix}_{system}_s"] = round(value, 5)
            if system != "etude":
                # The floor is the one that etude is slower than.
                result[key] = round(1 / factor if system == "floor" else factor, 3)
            rows.append(
                {
                    "trained": trained(blocks),
                    "system": NAMES[system],
                    "per step": f"{value:.4f} s",
                    "factor": f"{factor:.2f}",
                    "required": f">= {required[key]:g}" if key in required else "",
                    "": ("met" if factor >= required[key] else "NOT MET") if key in required else "",
                }
            )
    plain, checkpointed = peak(geometry, False), peak(geometry, True)
    memory = {"peak_mb_fill": plain["fill"], "peak_mb_lora_all": plain["steps"]}
    memory["peak_mb_lora_all_checkpointing"] = checkpointed["steps"]
    names = ("etude, computing the frozen states", "etude", "etude, gradient checkpointing")
    for (key, value), name in zip(memory.items(), names, strict=True):
        result[key] = round(value)
        row = {"trained": "LoRA in all blocks, heads", "system": name, "per step": f"{value:.0f} MB", "factor": ""}
        rows.append(row | {"required": f"<= {PEAK_MB:.0f} MB", "": "met" if value <= PEAK_MB else "NOT MET"})
    return result, rows


if __name__ == "__main__":
    main()
