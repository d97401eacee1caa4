"""What pretraining is worth on real recordings: etude-nano against its own random weights, Whisper-tiny and log-mel.

    ETUDE_SHARED=../shared python benchmarks/backbone_table.py             # everything, then the tables
    ETUDE_SHARED=../shared python benchmarks/backbone_table.py --systems nano random --tasks instrument-notes --seeds 1

Each run is one of the packaged recipes in ``TASKS`` with the overrides of ``SYSTEMS``. Seeds, phrases, thresholds and folders
are handled as in ``technique_table.py``; ``--share`` trains on a share of the training data. The log-mel system is
``logistic_control.py`` for phrases and ``note_control.py`` for single notes.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from technique_table import WHISPER, run_all

TASKS = {
    "electric-bass": ("technique", ("event_macro_f1", "event_micro_f1", "frame_macro_f1")),
    "double-bass": ("technique", ("event_macro_f1", "event_micro_f1", "frame_macro_f1")),
    "instrument-notes": ("tags", ("f1_macro", "accuracy", "lrap")),
}
"""Recipe -> head and scores, the one that counts first."""
NANO = "backbone={name: mert, weights: %s, window: %s}"
LORA = "method={name: lora, rank: 8, sites: [attn.q, attn.v], blocks: %b}"
SYSTEMS: dict[str, list[str]] = {
    "log-mel": [],
    "random": [NANO.replace("%s", "random:nano", 1)],
    "random-lora": [NANO.replace("%s", "random:nano", 1), LORA],
    "whisper": [WHISPER],
    "whisper-lora": [WHISPER, LORA],
    "nano": [NANO.replace("%s", "etude-nano", 1)],
    "nano-lora": [NANO.replace("%s", "etude-nano", 1), LORA],
}
NAMES = {
    "log-mel": "log-mel + logistic regression",
    "random": "random weights, heads only",
    "random-lora": "random weights, LoRA",
    "whisper": "Whisper-tiny encoder, heads only",
    "whisper-lora": "Whisper-tiny encoder, LoRA",
    "nano": "etude-nano, heads only",
    "nano-lora": "etude-nano, LoRA",
}
WINDOWS = {"electric-bass": "8.0", "double-bass": "8.0", "instrument-notes": "3.0"}
BLOCKS = {"electric-bass": "last 2", "double-bass": "last 2", "instrument-notes": "[0, 1]"}
"""Those that LoRA adapts: the last ones that the recipe's mix reads."""


def run_one(task: str, system: str, seed: int, share: float, weights: str | None, out: Path) -> None:
    """Train one system and write its test scores to ``out``; ``weights`` take the place of etude-nano's."""
    from etude.adapters.recipe.schema import load_recipe

    started = time.time()
    overrides = [f"name={out.stem}", f"seed={seed}", f"train.share={share}", *SYSTEMS[system]]
    overrides += [f"data.seed={seed}"] if task != "instrument-notes" else []
    fields = {"%s": WINDOWS[task], "%b": BLOCKS[task], "etude-nano": weights or "etude-nano"}
    for field, value in fields.items():
        overrides = [text.replace(field, value) for text in overrides]
    head, names = TASKS[task]
    trained = None
    if system == "log-mel":
        recipe = load_recipe(task, [*overrides, WHISPER.replace("%s", WINDOWS[task])])
        scores = log_mel_scores(task, recipe)
    else:
        from etude.adapters import artifact
        from etude.adapters.training.engine import train

        made = artifact.load(train(load_recipe(task, overrides), out.with_suffix(".run"), out.with_suffix(""), fresh=True))
        scores = made.metrics["test"][head]
        trained = sum(made.manifest.trainable.values())
    chosen = {name: scores[name] for name in names}
    text = json.dumps({"scores": chosen, "trained": trained, "seconds": time.time() - started, "all": scores})
    out.write_text(text)


def log_mel_scores(task: str, recipe) -> dict:  # type: ignore[no-untyped-def,type-arg]
    """Test scores of log-mel and logistic regression."""
    if task == "instrument-notes":
        from note_control import note_scores

        return note_scores(recipe)
    from logistic_control import control_activations

    head, splits, rate = control_activations(recipe)
    head.tune(*splits["validation"], rate)
    return head.score(*splits["test"], rate)


def table(task: str, folder: Path, seeds: int, share: float) -> str:
    """Markdown: mean and standard deviation over the seeds, one row per system."""
    names = TASKS[task][1]
    lines = [f"| system | {' | '.join(name.replace('_', ' ') for name in names)} | trained parameters | minutes |"]
    lines.append("| --- |" + " --- |" * (len(names) + 2))
    for system, name in NAMES.items():
        paths = [folder / run_name(task, system, seed, share) for seed in range(seeds)]
        runs = [json.loads(path.read_text()) for path in paths if path.exists()]
        if not runs:
            continue
        cells = []
        for score in names:
            values = [run["scores"][score] for run in runs]
            spread = statistics.stdev(values) if len(values) > 1 else 0.0
            cells.append(f"{statistics.mean(values):.3f} ± {spread:.3f}")
        trained = "" if runs[0]["trained"] is None else f"{runs[0]['trained']:,}"
        minutes = statistics.mean(run["seconds"] for run in runs) / 60
        lines.append(f"| {name} | {' | '.join(cells)} | {trained} | {minutes:.1f} |")
    return "\n".join(lines)


def run_name(task: str, system: str, seed: int, share: float) -> str:
    """The file that holds a run's scores."""
    return f"{task}-{system}-{seed}{'' if share == 1 else f'-{round(100 * share)}'}.json"


def run_missing(
    tasks: Sequence[str],
    systems: Sequence[str],
    seeds: int,
    shares: Sequence[float],
    out: Path,
    jobs: int,
    weights: str | None = None,
) -> None:
    """Do the runs whose scores are not in ``out`` yet."""
    os.environ.setdefault("ETUDE_SHARED", "../shared")
    out.mkdir(parents=True, exist_ok=True)
    options = ["--weights", weights] if weights else []
    waiting = []
    for seed in range(seeds):
        for task in tasks:
            for system in systems:
                for share in shares:
                    file = out / run_name(task, system, seed, share)
                    if not file.exists():
                        command = [sys.executable, str(Path(__file__)), "--share", str(share), *options]
                        waiting.append([*command, "--run", task, system, str(seed), str(file)])
    run_all(waiting, jobs, time.time())


def main() -> None:
    """Run what is missing, then print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tasks", nargs="+", choices=TASKS, default=list(TASKS))
    parser.add_argument("--systems", nargs="+", choices=SYSTEMS, default=list(SYSTEMS))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--share", type=float, default=1.0, help="of the training data")
    parser.add_argument("--weights", help="a folder to use in the place of etude-nano")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="runs at the same time")
    parser.add_argument("--out", type=Path, default=Path("runs/backbone-table"))
    parser.add_argument("--run", nargs=3, help=argparse.SUPPRESS)
    parser.add_argument("file", nargs="?", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.run:
        task, system, seed = arguments.run
        run_one(task, system, int(seed), arguments.share, arguments.weights, Path(arguments.file))
        return
    run_missing(
        arguments.tasks,
        arguments.systems,
        arguments.seeds,
        (arguments.share,),
        arguments.out,
        arguments.jobs,
        arguments.weights,
    )
    for task in arguments.tasks:
        print(f"\n### {task}, test split, {arguments.seeds} seeds\n")
        print(table(task, arguments.out, arguments.seeds, arguments.share))
    print(f"\n{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}")


if __name__ == "__main__":
    main()
