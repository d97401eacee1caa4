"""Seconds per epoch of training, with the audio decoding: etude with stored states, without, and peft with the CNN frozen.

    python benchmarks/train_epoch.py                        # MERT-v1-95M's shape, random weights
    python benchmarks/train_epoch.py --geometry whisper-tiny

The first epoch with a store computes all frozen states, writes them and trains; later ones read them. The systems take turns,
one epoch each, and every turn starts with an empty store. Validation, the same for all, is left out. In the JSON object,
``first_epoch_vs_no_store`` is a ratio of seconds (at most 1.1), the others say how many times faster a later epoch is.
"""

from __future__ import annotations

import shutil
import statistics
import tempfile
from pathlib import Path
from typing import Any

import report
from setup import GEOMETRIES, Workload, epoch, fill, seconds_of
from train_step import trained

WINDOWS = {"mert": 12, "whisper-tiny": 40, "tiny": 12}
FIRST_EPOCH = 1.1
"""How much longer than an epoch without a store the first one with a store may take."""
NAMES = {
    "no_store": "etude, nothing stored",
    "first": "etude, first epoch: states computed and stored",
    "later": "etude, later epochs: states read",
    "peer": "peft, CNN frozen",
}


def compare(workload: Workload, blocks: int, rounds: int) -> dict[str, float]:
    """Median seconds per epoch by system, LoRA in the last ``blocks`` blocks (0: heads only)."""
    import peers  # not above: processes in which only etude trains have their memory measured

    recipe, store = workload.recipe(blocks), workload.folder / "store"
    model = workload.model(recipe)
    peer = peers.peft_cnn_frozen(workload, blocks) if blocks else peers.frozen_backbone(workload)
    peers.check(peer, model)
    unstored, turns = workload.loop(recipe, None), []
    for _ in range(1 + rounds):
        shutil.rmtree(store, ignore_errors=True)
        stored = workload.loop(recipe, store, model)
        filling = seconds_of(lambda: fill(stored))  # noqa: B023 - called at once
        turns.append(
            {
                "no_store": seconds_of(lambda: epoch(unstored)),
                "first": filling + seconds_of(lambda: epoch(stored)),  # noqa: B023
                "later": seconds_of(lambda: epoch(stored)),  # noqa: B023
                "peer": seconds_of(peer.epoch),
            }
        )
    return {name: statistics.median(turn[name] for turn in turns[1:]) for name in turns[0]}


def measure(workload: Workload, geometry: str, rounds: int) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """The figures, and a table of them."""
    result: dict[str, Any] = {"geometry": geometry, "workload": workload.title}
    rows = []
    for blocks in (workload.geometry.depths[0], 0):
        seconds, prefix = compare(workload, blocks, rounds), "" if blocks else "heads_"
        peer = "frozen_cnn" if blocks else "backbone"
        result |= {f"{prefix}{peer if name == 'peer' else name}_epoch_s": round(value, 4) for name, value in seconds.items()}
        first = seconds["first"] / seconds["no_store"]
        result[f"{prefix}first_epoch_vs_no_store"] = round(first, 3)
        result[f"{prefix}later_epoch_vs_no_store"] = round(seconds["no_store"] / seconds["later"], 2)
        result[f"{prefix}later_epoch_vs_{peer}"] = round(seconds["peer"] / seconds["later"], 2)
        for name, value in seconds.items():
            rows.append(
                {
                    "trained": trained(blocks),
                    "system": "frozen backbone at every step" if name == "peer" and not blocks else NAMES[name],
                    "s/epoch": round(value, 3),
                    "of an epoch without a store": round(value / seconds["no_store"], 3),
                    "required": f"<= {FIRST_EPOCH}" if name == "first" else "",
                    "": ("met" if first <= FIRST_EPOCH else "NOT MET") if name == "first" else "",
                }
            )
    return result, rows


def main() -> None:
    parser = report.arguments(__doc__)
    parser.add_argument("--geometry", choices=GEOMETRIES, default="mert")
    parser.add_argument("--windows", type=int, help="windows in the data set")
    parser.add_argument("--rounds", type=int, default=3, help="timed epochs of each system, after one that does not count")
    arguments = parser.parse_args()
    windows = arguments.windows or WINDOWS[arguments.geometry]
    with tempfile.TemporaryDirectory() as folder:
        workload = Workload(arguments.geometry, Path(folder), windows)
        result, rows = measure(workload, arguments.geometry, arguments.rounds)
    print(f"{workload.title}; {windows} windows\n")
    report.finish({**result, "windows": windows}, rows, arguments.json)


if __name__ == "__main__":
    main()
