"""How far a few labelled notes go, with and without an adapter to start from (``adapt train NOTES --from ADAPTER``).

    adapt train their-notes
    python benchmarks/five_minutes.py their-notes-adapter my-notes

``my-notes`` is a folder with a table ``notes.csv`` whose techniques the adapter knows. Half of the notes of each technique are
to test; of the others 6 (at least three of each), 15, 30, 60 and all are labelled, a fifth of them for validation.
Prints macro F1 on the test notes, the mean over seeds, which draw the notes, and its share of what all labels give without the
adapter. Further arguments override the recipes: ``'train.augment={views: 1}'``.
"""

from __future__ import annotations

import argparse
import csv
import random
import statistics
from itertools import chain, zip_longest
from pathlib import Path

from etude.adapters.artifact import load
from etude.adapters.recipe.schema import Recipe, load_recipe
from etude.adapters.training.continued import continued
from etude.adapters.training.engine import train
from etude.adapters.training.evaluation import evaluate

COUNTS = (6, 15, 30, 60, None)
"""Labelled notes; the last one is all."""
FEWEST = 3
"""Of each technique: two to train on and one for validation."""
SCORE = "f1_macro"


def draw(notes: Path, count: int | None, seed: int, folder: Path) -> int:
    """A table of ``count`` labelled notes and the test notes in ``folder``; returns how many are labelled."""
    with (notes / "notes.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    random.Random(seed).shuffle(rows)
    classes = [[row for row in rows if row["technique"] == name] for name in sorted({row["technique"] for row in rows})]
    pools = [own[len(own) // 2 :] for own in classes]
    labelled = [row for row in chain.from_iterable(zip_longest(*pools)) if row]
    labelled = labelled if count is None else labelled[: max(count, FEWEST * len(classes))]
    places = dict.fromkeys((row["technique"] for row in rows), 0)
    for row in rows:
        row["split"] = ""
    for row in labelled:  # of each technique the third, then each fifth
        row["split"] = "validation" if places[row["technique"]] % 5 == 2 else "train"
        places[row["technique"]] += 1
    for row in chain.from_iterable(own[: len(own) // 2] for own in classes):
        row["split"] = "test"
    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / "notes").exists():
        (folder / "notes").symlink_to(notes.resolve(), target_is_directory=True)
    with (folder / "notes.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows({**row, "path": f"notes/{row['path']}"} for row in rows if row["split"])
    return len(labelled)


def score(recipe: Recipe, folder: Path) -> float:
    """Train ``recipe`` in ``folder``; its test score."""
    found = load(train(recipe, folder / "run", folder / "adapter", fresh=True)).metrics["test"]["tags"][SCORE]
    return float(found)


def main() -> None:
    """Train all, print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("adapter", type=Path)
    parser.add_argument("notes", type=Path)
    parser.add_argument("overrides", nargs="*")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--out", type=Path, default=Path("runs/five-minutes"))
    arguments = parser.parse_args()
    table: dict[int, list[tuple[float, float]]] = {}
    before = []
    for seed in range(arguments.seeds):
        for count in reversed(COUNTS):
            data = arguments.out / f"{arguments.notes.name}-{count or 'all'}-{seed}"
            labelled = draw(arguments.notes, count, seed, data)
            if len(table.get(labelled, ())) > seed:  # there are no more than these
                continue
            if count is None:
                before.append(evaluate(arguments.adapter, data).scores["tags"][SCORE])
            anew = load_recipe(data, arguments.overrides)
            onwards = continued(str(data), arguments.adapter, arguments.overrides)
            row = score(anew, data / "anew"), score(onwards, data / "from")
            table.setdefault(labelled, []).append(row)
            print(f"seed {seed}, {labelled} notes: {row[0]:.3f} {row[1]:.3f}", flush=True)
    whole = statistics.mean(anew for anew, _ in table[max(table)])
    print(f"\n| labelled notes | alone | share | from {arguments.adapter.name} | share |\n| --- | --- | --- | --- | --- |")
    print(f"| 0 | | | {statistics.mean(before):.3f} | {statistics.mean(before) / whole:.0%} |")
    for labelled, rows in sorted(table.items()):
        cells = [f"{statistics.mean(own):.3f} | {statistics.mean(own) / whole:.0%}" for own in zip(*rows, strict=True)]
        print(f"| {labelled} | {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
