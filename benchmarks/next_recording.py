"""What an adapter is worth on the next recording: trained on one source, judged on another, beside controls.

    ETUDE_SHARED=../shared python benchmarks/next_recording.py                      # everything, then the tables
    ETUDE_SHARED=../shared python benchmarks/next_recording.py --only notes --pairs 'double-bass/*' --seeds 1

Pairs are called ``TASK/TRAINED ON/JUDGED ON``. Isolated notes (``notes``) are judged on all notes of the other source, phrases
(``phrases``) on its test split; *itself* is the test split of the source that was trained on. Every system is judged on the
same notes. The adapters are packaged recipes with other data. The controls are logistic regressions on log-mel, on each layer
of etude-nano, or on each of its random weights: on statistics over a note, or over its true duration within a phrase (*borders
given*), and on frames of phrases, decoded like the adapter's. The first figure of a control is that of the layer and the
strength that are best on validation data, the one in parentheses that of those that are best on what is judged.

SoundFonts: TimGM6mb comes with pretty_midi, FluidR3 and MuseScore General with ``apt install fluid-soundfont-gm
musescore-general-soundfont``; they are played by FluidSynth (``etude[pretrain]``). Finished results in ``--out`` are not
repeated. ``--jobs`` runs share the cores, a thread each.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import time
from collections.abc import Iterator, Mapping
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from technique_table import WHISPER, run_all

HEADS = {"notes": "tags", "phrases": "technique"}


def run_one(kind: str, task: str, system: str, seed: int, source: str, others: list[str], file: Path) -> None:
    """Train one system on ``source`` and write its scores there and on ``others`` to ``file``."""
    from next_recording_controls import border_fits, frame_fits, note_fits
    from next_recording_data import TASKS
    from next_recording_table import SCORES

    started, folder, what = time.time(), file.parent, TASKS[task]
    frames = kind == "phrases" and not system.endswith("-borders")
    extra = [f"name={file.stem}", *([WHISPER % "8.0"] if frames and system == "log-mel" else [])]
    recipes = {
        place: what.recipe(kind, place, seed, folder / "sources" / task, *extra, whole=kind == "notes" and place != source)
        for place in (source, *others)
    }
    if system == "adapter":
        fits = [{"scores": adapter_scores(recipes, HEADS[kind], file)}]
    else:
        make = note_fits if kind == "notes" else frame_fits if frames else border_fits
        kept = folder / "features" / f"{kind}-{task}-{seed}"
        fits = list(make(system.removesuffix("-borders"), what.recipes[kind], recipes, kept))
    for fit in fits:
        scores = fit["scores"].items()
        fit["scores"] = {part: {name: own[name] for name in SCORES[kind] if name in own} for part, own in scores}
    file.write_text(json.dumps({"fits": fits, "seconds": time.time() - started}))


def adapter_scores(recipes: Mapping[str, Any], head: str, file: Path) -> dict[str, Any]:
    """Test scores on each source of an adapter that is trained on the first one, unless that was done for other pairs."""
    import etude
    from etude.adapters import artifact

    (_, recipe), *others = recipes.items()
    adapter = file.with_suffix("")
    if not adapter.is_dir():
        etude.train(recipe, file.with_suffix(".run"), adapter, fresh=True)
    scores = {"test": artifact.load(adapter).metrics["test"][head]}
    for other, data in others:
        written = file.with_name(f"{file.stem}-on-{other}.yaml")
        written.write_text(data.dump())
        scores[other] = etude.evaluate(adapter, written).scores[head]
    return scores


def chosen_pairs(kinds: list[str], pattern: str) -> Iterator[tuple[str, str, list[tuple[str, str]]]]:
    """Kind of data and task, and the pairs of these (source to train on, source to judge on) that fit the pattern."""
    from next_recording_data import TASKS

    for kind in kinds:
        for name, task in TASKS.items():
            pairs = [pair for pair in task.pairs if fnmatch("/".join((name, *pair)), pattern)]
            if kind in task.recipes and pairs:
                yield kind, name, pairs


def main() -> None:
    """Run what is missing, then print the tables."""
    from next_recording_data import TASKS
    from next_recording_table import SYSTEMS, Table, judged, results

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=SYSTEMS, action="append", help="one kind of data (may be repeated)")
    parser.add_argument("--pairs", metavar="PATTERN", default="*", help="such as 'electric-bass/*/TimGM6mb'")
    parser.add_argument("--systems", nargs="+", choices=SYSTEMS["phrases"], default=list(SYSTEMS["phrases"]))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="runs at the same time")
    parser.add_argument("--out", type=Path, default=Path("runs/next-recording"))
    parser.add_argument("--run", nargs=7, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.run:
        kind, task, system, seed, source, others, file = arguments.run
        run_one(kind, task, system, int(seed), source, others.split(","), Path(file))
        return
    os.environ.setdefault("ETUDE_SHARED", "../shared")
    arguments.out.mkdir(parents=True, exist_ok=True)
    chosen = list(chosen_pairs(arguments.only or list(SYSTEMS), arguments.pairs))
    waiting = []
    for kind, task, pairs in chosen:
        table = Table(kind, arguments.out, arguments.seeds)
        for place in dict.fromkeys(place for pair in pairs for place in pair):
            TASKS[task].prepare(place, arguments.out / "sources" / task)
        for system in [system for system in SYSTEMS[kind] if system in arguments.systems]:
            for seed in dict.fromkeys(table.seeds_of(system)):
                for source in dict.fromkeys(source for source, _ in pairs):
                    file = table.file(task, system, source, seed)
                    done = judged(results(file)) - {"validation", "test"}
                    wanted = done | {other for first, other in pairs if first == source}
                    if wanted != done:
                        command = [sys.executable, __file__, "--run", kind, task, system, str(seed), source]
                        waiting.append([*command, ",".join(sorted(wanted)), str(file)])
    run_all(waiting, arguments.jobs, time.time())
    for kind, task, pairs in chosen:
        table = Table(kind, arguments.out, arguments.seeds)
        score = "macro F1" if kind == "notes" else "event macro F1"
        print(f"\n### {task}, {kind}, {arguments.seeds} seeds: {score}\n\n{table.main(task, pairs)}")
        if kind == "phrases":
            print(f"\n{table.complete_notes(task, pairs)}")
    print(f"\n{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}")


if __name__ == "__main__":
    main()
