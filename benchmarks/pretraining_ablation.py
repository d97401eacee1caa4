"""What each augmentation of pretraining is worth, as table III of Zhong et al. (APSIPA 2023), on the recordings here.

    ETUDE_SHARED=../shared python benchmarks/pretraining_ablation.py

Pretrains ``recipes/nano.yaml`` for a fraction of its steps with one augmentation left out at a time, trains heads on each
backbone (three seeds) and prints their test scores. Backbones are pretrained one after the other, ``--jobs`` of them at a time.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from pathlib import Path

from backbone_table import TASKS, run_missing, table
from technique_table import run_all

ADAPT = "from etude.cli.app import main; main()"
VARIANTS: dict[str, list[str]] = {
    "all augmentations": [],
    "without mixup": ["mixup=null"],
    "without effects": ["effects=null"],
    "without mixup and effects": ["mixup=null", "effects=null"],
    "without concatenation": ["concatenation=null"],
}


def main() -> None:
    """Run what is missing, then print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=600, help="of pretraining")
    parser.add_argument("--tasks", nargs="+", choices=TASKS, default=["instrument-notes", "double-bass"])
    parser.add_argument("--seeds", type=int, default=3, help="of the heads")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--out", type=Path, default=Path("runs/pretraining-ablation"))
    arguments = parser.parse_args()
    os.environ.setdefault("ETUDE_SHARED", "../shared")
    arguments.out.mkdir(parents=True, exist_ok=True)
    folders = {name: arguments.out / name.replace(" ", "-") for name in VARIANTS}
    waiting = []
    for name, overrides in VARIANTS.items():
        folder = folders[name]
        if not (folder / "config.json").exists():
            command = [sys.executable, "-c", ADAPT, "pretrain", "nano", f"train.steps={arguments.steps}", *overrides]
            waiting.append([*command, "--run", str(folder.with_suffix(".run")), "--out", str(folder)])
    run_all(waiting, arguments.jobs, time.time())
    for name, folder in folders.items():
        scores = folder.with_suffix(".scores")
        run_missing(arguments.tasks, ("nano",), arguments.seeds, (1.0,), scores, arguments.jobs, str(folder))
        for task in arguments.tasks:
            print(f"\n{name}, {task}\n\n{table(task, scores, arguments.seeds, 1.0)}")


if __name__ == "__main__":
    main()
