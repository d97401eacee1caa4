"""How scores grow with the training data: etude-nano against its own random weights (Zhong et al., APSIPA 2023, figure 3).

    ETUDE_SHARED=../shared python benchmarks/low_resource.py

Trains heads on 10, 25, 50 and 100 % of the training data, three seeds each, prints the test scores and draws
``docs/low-resource.png``. Runs are those of ``backbone_table.py`` and are shared with it.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
from backbone_table import NAMES, TASKS, run_missing, run_name

SHARES = (0.1, 0.25, 0.5, 1.0)
SYSTEMS = ("random", "nano")
COLOURS = {"random": "#999999", "nano": "#0072b2"}


def values(folder: Path, task: str, system: str, share: float, seeds: int) -> list[float]:
    """The first score of a task, one per seed."""
    paths = [folder / run_name(task, system, seed, share) for seed in range(seeds)]
    return [json.loads(path.read_text())["scores"][TASKS[task][1][0]] for path in paths]


def main() -> None:
    """Run what is missing, print the table, draw the curves."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tasks", nargs="+", choices=TASKS, default=list(TASKS))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--weights", help="a folder to use in the place of etude-nano")
    parser.add_argument("--out", type=Path, default=Path("runs/backbone-table"))
    parser.add_argument("--plot", type=Path, default=Path("docs/low-resource.png"))
    arguments = parser.parse_args()
    run_missing(arguments.tasks, SYSTEMS, arguments.seeds, SHARES, arguments.out, arguments.jobs, arguments.weights)
    print(f"| task, score | weights | {' | '.join(f'{share:.0%}' for share in SHARES)} |")
    print("| --- | --- |" + " --- |" * len(SHARES))
    figure, axes = plt.subplots(1, len(arguments.tasks), figsize=(4.2 * len(arguments.tasks), 3.4), squeeze=False)
    for axis, task in zip(axes[0], arguments.tasks, strict=True):
        score = TASKS[task][1][0].replace("_", " ")
        for system in SYSTEMS:
            runs = [values(arguments.out, task, system, share, arguments.seeds) for share in SHARES]
            means = [statistics.mean(run) for run in runs]
            spreads = [statistics.stdev(run) if len(run) > 1 else 0.0 for run in runs]
            cells = " | ".join(f"{mean:.3f} ± {spread:.3f}" for mean, spread in zip(means, spreads, strict=True))
            print(f"| {task}, {score} | {NAMES[system]} | {cells} |")
            percent = [100 * share for share in SHARES]
            axis.errorbar(percent, means, spreads, marker="o", capsize=3, color=COLOURS[system], label=NAMES[system])
        axis.set(title=task, xlabel="% of the training data", ylabel=f"{score}, test", xscale="log")
        axis.set_xticks(percent, [f"{value:.0f}" for value in percent])
        axis.minorticks_off()
        axis.grid(alpha=0.3)
    figure.legend(*axes[0][0].get_legend_handles_labels(), loc="upper center", ncols=len(SYSTEMS), frameon=False)
    figure.tight_layout(rect=(0, 0, 1, 0.92))
    figure.savefig(arguments.plot, dpi=110)


if __name__ == "__main__":
    main()
