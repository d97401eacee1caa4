"""Playing techniques of two real basses: log-mel + logistic regression, heads on the frozen encoder, and LoRA.

    ETUDE_SHARED=../shared python benchmarks/technique_table.py            # everything, then the table
    ETUDE_SHARED=../shared python benchmarks/technique_table.py --only electric-bass --seeds 1

Every run is one of the packaged recipes ``electric-bass`` and ``double-bass`` on the Whisper encoder, with the overrides of
``SYSTEMS``; the seed draws the phrases as well as the initial weights. Thresholds are tuned on validation phrases, but those
of ``onset-published`` are .5, and its epoch is the one with the best frame micro F1, as in MERTech. Scores are of test phrases.
Finished runs in ``--out`` are not repeated, so an interrupted table continues. ``--jobs`` runs share the cores, a thread each.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from pathlib import Path

WHISPER = "backbone={name: whisper, weights: '${ETUDE_SHARED}/weights/whisper-tiny-encoder', window: %s, normalize: true}"
INSTRUMENTS = ("electric-bass", "double-bass")
SYSTEMS: dict[str, list[str]] = {
    "control": [],
    "technique": ["heads.technique.pitch=false", "heads.technique.onset=false", "heads.technique.decoder=null"],
    "pitch": ["heads.technique.onset=false", "heads.technique.decoder=null"],
    "onset": [],
    "onset-long": ["train.epochs=40"],
    "onset-published": [
        "heads.technique.decoder=onset_confirmed",
        "heads.technique.thresholds=0.5",
        "train.metric=technique.frame_micro_f1",
    ],
    "lora": ["method={name: lora, rank: 8, sites: [attn.q, attn.v], blocks: last 2}"],
}
NAMES = {
    "control": "log-mel + logistic regression",
    "technique": "heads only: technique",
    "pitch": "heads only: + pitch",
    "onset": "heads only: + onset",
    "onset-long": "heads only: + onset, 40 epochs",
    "onset-published": "heads only: + onset, thresholds and epoch as MERTech",
    "lora": "LoRA in the last 2 blocks, all heads",
}
DECODERS = {"rising_edges": "rising edges", "onset_confirmed": "onset-confirmed", "fusion": "onset fusion"}
SCORES = ("frame_micro_f1", "frame_macro_f1", "event_micro_f1", "event_macro_f1")


def run_one(instrument: str, system: str, seed: int, out: Path) -> None:
    """Train one system and write its test scores with every decoder that it can use to ``out``."""
    from etude.adapters.recipe.schema import load_recipe

    started = time.time()
    overrides = [f"name={out.stem}", f"seed={seed}", f"data.seed={seed}", WHISPER % "8.0", *SYSTEMS[system]]
    recipe = load_recipe(instrument, overrides)
    if system == "control":
        from logistic_control import control_activations

        head, splits, rate = control_activations(recipe)
        trained = None
    else:
        from etude.adapters import artifact
        from etude.adapters.model.build import build_trained
        from etude.adapters.training.engine import train

        model = build_trained(artifact.load(train(recipe, out.with_suffix(".run"), out.with_suffix(""), fresh=True)))
        head, rate, trained = model.heads["technique"], model.backbone.frame_rate, sum(model.trainable_counts().values())
        splits = trained_activations(model, recipe)
    scores = {}
    for decoder in DECODERS if head.config.onset else ("rising_edges",):
        head.decoder = decoder
        head.tune(*splits["validation"], rate)
        result = head.score(*splits["test"], rate)
        scores[decoder] = {name: result[name] for name in SCORES} | {"per_class": result["per_class"]}
    seconds = time.time() - started
    out.write_text(json.dumps({"scores": scores, "trained": trained, "seconds": seconds, "techniques": head.labels}))


def trained_activations(model, recipe):  # type: ignore[no-untyped-def]
    """References and activations of the validation and test phrases, whose frozen states training has left in the store."""
    from accelerate import Accelerator

    from etude.adapters.model.build import build_dataset
    from etude.adapters.states.frozen_states import frozen_states
    from etude.adapters.states.window_features import WindowFeatures
    from etude.adapters.states.window_set import WindowSet
    from etude.adapters.storage.feature_store import FeatureStore
    from etude.adapters.training.evaluation import collect_activations

    dataset, splits, accelerator = build_dataset(recipe), {}, Accelerator()
    source = frozen_states(model, model.backbone.fingerprint())
    for split in ("validation", "test"):
        tracks = dataset.tracks(split)
        states = WindowFeatures(source, WindowSet(tracks, model.backbone, recipe.train.overlap), FeatureStore())
        states.fill(accelerator, lambda count: None, lambda: None)
        found = collect_activations(model, states, accelerator, recipe.train.batch_size, lambda count: None)
        splits[split] = [track.annotation for track in tracks], [item["technique"] for item in found]
    return splits


def table(instrument: str, folder: Path, seeds: int) -> str:
    """Markdown: mean and standard deviation over the seeds, one row per system and decoder."""
    lines = [
        "| system | events by | frame F1 micro | macro | event F1 micro | macro | trained parameters | minutes |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for system, name in NAMES.items():
        paths = [folder / f"{instrument}-{system}-{seed}.json" for seed in range(seeds)]
        runs = [json.loads(path.read_text()) for path in paths if path.exists()]
        if not runs:
            continue
        minutes = statistics.mean(run["seconds"] for run in runs) / 60
        trained = "" if runs[0]["trained"] is None else f"{runs[0]['trained']:,}"
        for decoder in runs[0]["scores"]:
            cells = []
            for score in SCORES:
                values = [run["scores"][decoder][score] for run in runs]
                spread = statistics.stdev(values) if len(values) > 1 else 0.0
                cells.append(f"{statistics.mean(values):.3f} ± {spread:.3f}")
            lines.append(f"| {name} | {DECODERS[decoder]} | {' | '.join(cells)} | {trained} | {minutes:.1f} |")
    return "\n".join(lines)


def main() -> None:
    """Run what is missing, then print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=INSTRUMENTS, action="append", help="one instrument (may be repeated)")
    parser.add_argument("--systems", nargs="+", choices=SYSTEMS, default=list(SYSTEMS))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="runs at the same time")
    parser.add_argument("--out", type=Path, default=Path("runs/technique-table"))
    parser.add_argument("--run", nargs=4, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.run:
        instrument, system, seed, out = arguments.run
        run_one(instrument, system, int(seed), Path(out))
        return
    os.environ.setdefault("ETUDE_SHARED", "../shared")
    arguments.out.mkdir(parents=True, exist_ok=True)
    instruments = arguments.only or INSTRUMENTS
    waiting = []
    for seed in range(arguments.seeds):
        for system in arguments.systems:
            for instrument in instruments:  # next to each other: two jobs then seldom wait for the same frozen states
                out = arguments.out / f"{instrument}-{system}-{seed}.json"
                if not out.exists():
                    waiting.append([sys.executable, __file__, "--run", instrument, system, str(seed), str(out)])
    run_all(waiting, arguments.jobs, time.time())
    for instrument in instruments:
        print(
            f"\n### {instrument}, test phrases, {arguments.seeds} seeds\n\n{table(instrument, arguments.out, arguments.seeds)}"
        )
    print(f"\n{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}")


def run_all(waiting: list[list[str]], jobs: int, started: float) -> None:
    """Run the commands, ``jobs`` at a time, one thread each."""
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    running: list[tuple[list[str], subprocess.Popen[bytes]]] = []
    while waiting or running:
        while waiting and len(running) < jobs:
            command = waiting.pop(0)
            log = Path(command[-1]).with_suffix(".log").open("wb")
            running.append((command, subprocess.Popen(command, env=environment, stdout=log, stderr=log)))
        time.sleep(0.5)
        for command, process in [item for item in running if item[1].poll() is not None]:
            running.remove((command, process))
            name = Path(command[-1]).stem
            if process.returncode:
                raise SystemExit(f"{name} failed; see {Path(command[-1]).with_suffix('.log')}")
            print(f"{(time.time() - started) / 60:5.1f} min  {name} done, {len(waiting)} waiting", file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
