"""What each way of adapting is worth for its parameters: instruments of single recorded notes, test macro F1 over three seeds.

    ETUDE_SHARED=../shared python benchmarks/reprogramming_table.py
    ETUDE_SHARED=../shared python benchmarks/reprogramming_table.py --systems whisper-probe whisper-unet --seeds 1

The systems are those of Chen & Lerch (MMM 2023) on what runs here: a linear head, a CNN or U-Net without any backbone, CNN or
U-Net in front of it, an added input, LoRA. Every run is ``recipes/instrument-notes.yaml`` on the 15 instruments of the
Philharmonia with the overrides of ``SETTINGS`` and ``SYSTEMS``, on a share of the training notes: a method in front of a
backbone runs the whole of it forth and back in every step. Learning rates were chosen on validation notes, by the two linear
heads (1e-2) and Whisper with LoRA (3e-3). Prints the table and draws ``docs/reprogramming.png``. Finished runs in ``--out``
are kept.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import time
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
from technique_table import WHISPER as WHISPER_OF
from technique_table import run_all

NONE = "backbone={name: log_mel, window: 1.0}"
WHISPER = WHISPER_OF % "1.0"
NANO = "backbone={name: mert, weights: etude-nano, window: 1.0}"
LORA = ["method={name: lora, rank: 8, sites: [attn.q, attn.v], blocks: all}", "train.lr=3e-3"]
SETTINGS = [
    "data.sources=[philharmonia]",
    "heads={tags: {activation: softmax, label_smoothing: 0.05, norm: true, hidden: 0}}",
    "mix.layers=all",
    *("train.batch_size=16", "train.evaluate_every=10", "train.overlap=0", "train.lr=1e-2"),
]


def form(name: str) -> str:
    """The override for a form of reprogramming."""
    return f"method={{name: reprogramming, form: {name}}}"


SYSTEMS: dict[str, tuple[str, list[str]]] = {
    "probe": ("log-mel, linear head", [NONE]),
    "cnn": ("log-mel, CNN", [NONE, form("cnn")]),
    "unet": ("log-mel, U-Net", [NONE, form("unet")]),
    "whisper-probe": ("Whisper-tiny, linear head", [WHISPER]),
    "whisper-additive": ("Whisper-tiny, additive", [WHISPER, form("additive")]),
    "whisper-cnn": ("Whisper-tiny, CNN", [WHISPER, form("cnn")]),
    "whisper-unet": ("Whisper-tiny, U-Net", [WHISPER, form("unet")]),
    "whisper-lora": ("Whisper-tiny, LoRA", [WHISPER, *LORA]),
    "nano-probe": ("etude-nano, linear head", [NANO]),
    "nano-additive": ("etude-nano, additive", [NANO, form("additive")]),
    "nano-lora": ("etude-nano, LoRA", [NANO, *LORA]),
}
COLOURS = {"log-mel": "#999999", "Whisper-tiny": "#d55e00", "etude-nano": "#0072b2"}


def run_one(system: str, seed: int, share: float, epochs: int, out: Path) -> None:
    """Train one system and write its test scores to ``out``."""
    from etude.adapters import artifact
    from etude.adapters.recipe.schema import load_recipe
    from etude.adapters.training.engine import train

    started = time.time()
    overrides = [f"name={out.stem}", f"seed={seed}", f"train.share={share}", f"train.epochs={epochs}", *SETTINGS]
    recipe = load_recipe("instrument-notes", [*overrides, *SYSTEMS[system][1]])
    made = artifact.load(train(recipe, out.with_suffix(".run"), out.with_suffix(""), fresh=True))
    trained = sum(made.manifest.trainable.values())
    scores = {name: made.metrics["test"]["tags"][name] for name in ("f1_macro", "accuracy", "map")}
    out.write_text(json.dumps({"scores": scores, "trained": trained, "seconds": time.time() - started}))


def main() -> None:
    """Run what is missing, print the table, draw the plot."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--systems", nargs="+", choices=SYSTEMS, default=list(SYSTEMS))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--share", type=float, default=0.2, help="of the training notes")
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--out", type=Path, default=Path("runs/reprogramming-table"))
    parser.add_argument("--plot", type=Path, default=Path("docs/reprogramming.png"))
    parser.add_argument("--run", nargs=2, help=argparse.SUPPRESS)
    parser.add_argument("file", nargs="?", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    os.environ.setdefault("ETUDE_SHARED", "../shared")
    if arguments.run:
        run_one(arguments.run[0], int(arguments.run[1]), arguments.share, arguments.epochs, Path(arguments.file))
        return
    arguments.out.mkdir(parents=True, exist_ok=True)
    files = {
        (system, seed): arguments.out / f"{system}-{seed}-{round(100 * arguments.share)}-{arguments.epochs}.json"
        for seed in range(arguments.seeds)
        for system in arguments.systems
    }
    options = ["--share", str(arguments.share), "--epochs", str(arguments.epochs)]
    waiting = [
        [sys.executable, str(Path(__file__)), *options, "--run", system, str(seed), str(file)]
        for (system, seed), file in files.items()
        if not file.exists()
    ]
    run_all(waiting, arguments.jobs, time.time())
    results = {
        system: [json.loads(files[system, seed].read_text()) for seed in range(arguments.seeds)] for system in arguments.systems
    }
    print_table(results)
    draw(results, arguments.plot)


def summary(runs: list[dict], score: str) -> tuple[float, float]:  # type: ignore[type-arg]
    """Mean and standard deviation of a score."""
    values = [run["scores"][score] for run in runs]
    return statistics.mean(values), statistics.stdev(values) if len(values) > 1 else 0.0


def print_table(results: dict[str, list[dict]]) -> None:  # type: ignore[type-arg]
    """Markdown, one row per system."""
    print("| system | F1 macro | accuracy | mAP | trained parameters | minutes |\n| --- |" + " --- |" * 5)
    for system, runs in results.items():
        cells = ["{:.3f} ± {:.3f}".format(*summary(runs, score)) for score in ("f1_macro", "accuracy", "map")]
        minutes = statistics.mean(run["seconds"] for run in runs) / 60
        print(f"| {SYSTEMS[system][0]} | {' | '.join(cells)} | {runs[0]['trained']:,} | {minutes:.1f} |")


def draw(results: dict[str, list[dict]], path: Path) -> None:  # type: ignore[type-arg]
    """Macro F1 against trained parameters."""
    figure, axis = plt.subplots(figsize=(7.0, 4.2))
    for system, runs in results.items():
        name = SYSTEMS[system][0]
        base, _, way = name.partition(", ")
        mean, spread = summary(runs, "f1_macro")
        axis.errorbar(runs[0]["trained"], mean, spread, marker="o", capsize=3, color=COLOURS[base])
        left = way in ("CNN", "additive")  # these have a neighbour on their right
        offset, side = ((-5, 3), "right") if left else ((5, 3), "left")
        point = (runs[0]["trained"], mean)
        axis.annotate(way, point, offset, textcoords="offset points", ha=side, fontsize=8, color=COLOURS[base])
    for base, colour in COLOURS.items():
        axis.plot([], [], marker="o", linestyle="", color=colour, label=base)
    axis.set(xscale="log", xlabel="trained parameters", ylabel="F1 macro, test notes")
    ticks = (2_000, 5_000, 10_000, 20_000, 50_000)
    axis.set_xticks(ticks, [f"{tick:,}" for tick in ticks])
    axis.minorticks_off()
    axis.margins(x=0.15)
    axis.grid(alpha=0.3)
    axis.legend(frameon=False, loc="lower right")
    figure.tight_layout()
    figure.savefig(path, dpi=110)


if __name__ == "__main__":
    main()
