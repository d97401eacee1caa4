"""How the cost of training grows: with the hours of audio, and with the number of adapted blocks.

    python benchmarks/scale.py                              # both, about a quarter of an hour
    python benchmarks/scale.py --only blocks                # MERT-v1-95M's shape: 12, 6, 3, 1 and 0 blocks
    python benchmarks/scale.py --only hours --hours 1 2 4 8 # the encoder of Whisper-tiny, really run
    python benchmarks/scale.py --only hours --hours-from-steps --geometry mert --last 3

Hours are run in a process of their own: frozen states of all windows, then one epoch. A larger size takes over the states of
the smaller one, as a data set that grows does, so its filling time is the sum. ``--hours-from-steps`` measures a few windows
and multiplies; so are always the epochs of the peer. Peak memory is that of the process up to then.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import report
import train_epoch
import train_step
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter
from setup import GEOMETRIES, Geometry, Workload, epoch, fill, peak_mb, seconds_of
from train_step import NAMES

from etude.adapters.inference._parts.figure import OKABE_ITO

COMPUTED, RUN = "computed from measured steps", "run"
EPOCH_WINDOWS = 12
DOCS = Path(__file__).parents[1] / "docs"


def windows_in(hours: float, geometry: Geometry) -> int:
    """Number of whole windows."""
    return round(hours * 3600 / geometry.window)


def run_hours(geometry: str, hours: list[float], last: int, folder: Path) -> list[dict[str, Any]]:
    """Fill and train one epoch of each size, the smallest first, in this process."""
    shape = GEOMETRIES[geometry]
    workload = Workload(geometry, folder, windows_in(hours[-1], shape))
    recipe = workload.recipe(last)
    model = workload.model(recipe)
    rows, filling = [], 0.0
    for size in hours:
        seconds, tracks = 0.0, []
        for track in workload.tracks:
            if seconds < size * 3600:
                tracks.append(track)
                seconds += track.info.duration
        loop = workload.loop(recipe, folder / "store", model, tracks)
        filling += seconds_of(lambda: fill(loop))  # noqa: B023 - called at once
        later = seconds_of(lambda: epoch(loop))  # noqa: B023
        rows.append(_hours_row(seconds / 3600, len(loop.train_windows), filling + later, later, RUN) | {"peak_mb": peak_mb()})
    return rows


def hours_from_steps(hours: list[float], per_window: dict[str, float], geometry: Geometry) -> list[dict[str, Any]]:
    """The same rows from the measured seconds per window, without memory."""
    sizes = [(size, windows_in(size, geometry)) for size in hours]
    first, later = per_window["first"], per_window["later"]
    return [_hours_row(size, count, first * count, later * count, COMPUTED) for size, count in sizes]


def _hours_row(hours: float, windows: int, first: float, later: float, source: str) -> dict[str, Any]:
    return {"hours": round(hours, 3), "windows": windows, "first_epoch_s": first, "later_epoch_s": later, "source": source}


def measure_hours(geometry: str, hours: list[float], last: int, computed: bool) -> tuple[str, list[dict[str, Any]]]:
    """The workload in words, and per number of hours the seconds of the first and of a later epoch, and of the peer's."""
    with tempfile.TemporaryDirectory() as folder:
        workload = Workload(geometry, Path(folder), EPOCH_WINDOWS)
        seconds, title = train_epoch.compare(workload, last, rounds=2), workload.title
    per_window = {name: value / EPOCH_WINDOWS for name, value in seconds.items()}
    if computed:
        rows = hours_from_steps(hours, per_window, GEOMETRIES[geometry])
    else:
        command = [
            sys.executable,
            __file__,
            "--child",
            "--geometry",
            geometry,
            "--last",
            str(last),
            "--hours",
            *map(str, hours),
        ]
        rows = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout.splitlines()[-1])
    return title, [row | {"peer_epoch_s": per_window["peer"] * row["windows"]} for row in rows]


def measure_blocks(geometry: str, rounds: int) -> tuple[str, dict[int, dict[str, float]]]:
    """The workload in words, and seconds per step by number of adapted blocks and system."""
    with tempfile.TemporaryDirectory() as folder:
        workload = Workload(geometry, Path(folder), train_step.WINDOWS)
        count = workload.model(workload.recipe(0)).backbone.num_blocks
        depths = sorted({count, count // 2, count // 4, 1, 0}, reverse=True)
        return workload.title, {depth: train_step.compare(workload, depth, rounds, full=False) for depth in depths}


def plot_hours(rows: list[dict[str, Any]], title: str, peer: str, path: Path) -> None:
    """Seconds per epoch and, where measured, peak memory over the hours of audio."""
    hours, source, with_memory = [row["hours"] for row in rows], rows[0]["source"], "peak_mb" in rows[0]
    figure = Figure(figsize=(10 if with_memory else 6, 4.5), layout="constrained")
    figure.suptitle(title, fontsize=10)
    panels = figure.subplots(1, 1 + with_memory, squeeze=False)[0]
    lines = {
        "peer_epoch_s": (f"{peer} ({COMPUTED})", "s--"),
        "first_epoch_s": (f"etude, first epoch ({source})", "o-" if source == RUN else "o--"),
        "later_epoch_s": (f"etude, later epochs ({source})", "o-" if source == RUN else "o--"),
    }
    for (key, (label, style)), colour in zip(lines.items(), (OKABE_ITO[1], OKABE_ITO[0], OKABE_ITO[2]), strict=True):
        panels[0].plot(hours, [row[key] for row in rows], style, color=colour, label=label)
    log_seconds(panels[0], "seconds per epoch")
    if with_memory:
        panels[1].plot(hours, [row["peak_mb"] for row in rows], "o-", color=OKABE_ITO[0])
        panels[1].set(ylim=(0, 1.3 * rows[-1]["peak_mb"]), ylabel="peak memory of etude in MB")
    for panel in panels:
        panel.set(xscale="log", xlabel="hours of audio")
        panel.set_xticks(hours, [f"{hour:g}" for hour in hours])
        panel.xaxis.set_minor_formatter(NullFormatter())
        panel.grid(alpha=0.3)
    figure.legend(loc="outside lower center", fontsize=8)
    figure.savefig(path, dpi=150)


def plot_blocks(blocks: dict[int, dict[str, float]], title: str, path: Path) -> None:
    """Seconds per step over the number of adapted blocks."""
    figure = Figure(figsize=(7, 4.5), layout="constrained")
    axis = figure.subplots()
    places = {depth: place for place, depth in enumerate(blocks)}
    styles = {"peft": "s-", "frozen_cnn": "^-", "backbone": "D", "no_store": "o--", "etude": "o-", "floor": ".:"}
    for (system, style), colour in zip(styles.items(), OKABE_ITO, strict=False):
        points = [(places[depth], seconds[system]) for depth, seconds in blocks.items() if system in seconds]
        if points:
            axis.plot(*zip(*points, strict=True), style, color=colour, label=NAMES[system])
    axis.set_xticks(list(places.values()), [str(depth) if depth else "0 (heads only)" for depth in places])
    axis.set_xlabel("adapted blocks, counted from the last")
    axis.set_title(title, fontsize=10)
    axis.grid(alpha=0.3)
    log_seconds(axis, "seconds per step")
    figure.legend(loc="outside lower center", ncols=3, fontsize=8)
    figure.savefig(path, dpi=150)


def log_seconds(axis: Axes, label: str) -> None:
    """A logarithmic y axis with plain numbers."""
    axis.set(yscale="log", ylabel=label)
    axis.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axis.yaxis.set_major_formatter("{x:g}")
    axis.yaxis.set_minor_formatter(NullFormatter())


def main() -> None:
    parser = report.arguments(__doc__)
    parser.add_argument("--only", choices=("hours", "blocks"))
    parser.add_argument("--hours", nargs="+", type=float, default=[1.0, 2.0, 4.0, 8.0])
    parser.add_argument("--hours-from-steps", action="store_true", help="measure a few windows and multiply")
    parser.add_argument("--last", type=int, default=0, help="last blocks with LoRA while the hours grow; 0: heads only")
    parser.add_argument("--geometry", choices=GEOMETRIES, help="instead of whisper-tiny for hours and mert for blocks")
    parser.add_argument("--rounds", type=int, default=3, help="timed steps of each system for each number of blocks")
    parser.add_argument("--plots", type=Path, default=DOCS, help="folder of the pictures")
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    hours, geometry, last = sorted(arguments.hours), arguments.geometry or "whisper-tiny", arguments.last
    if arguments.child:
        with tempfile.TemporaryDirectory() as folder:
            print(json.dumps(run_hours(geometry, hours, last, Path(folder))))
        return
    result: dict[str, Any] = {}
    rows: list[dict[str, Any]] = []
    if arguments.only != "blocks":
        title, sizes = measure_hours(geometry, hours, last, arguments.hours_from_steps)
        peer = "peft, CNN frozen" if last else "frozen backbone at every step"
        plot_hours(sizes, f"{title}; {train_step.trained(last)}", peer, arguments.plots / "cost-hours.png")
        result |= {"hours_workload": title, "hours_trained": train_step.trained(last), "hours_peer": peer, "hours": sizes}
        result |= {f"peak_mb_{row['hours']:g}h": row["peak_mb"] for row in sizes if "peak_mb" in row}
        rows += hours_table(sizes, peer)
        print(f"hours: {title}; {train_step.trained(last)}")
    if arguments.only != "hours":
        title, blocks = measure_blocks(arguments.geometry or "mert", arguments.rounds)
        plot_blocks(blocks, title, arguments.plots / "cost-blocks.png")
        result |= {"blocks_workload": title, "blocks": blocks}
        rows += [
            {"": train_step.trained(depth), "system": NAMES[name], "seconds": value, "per": "step", "how": RUN, "peak MB": ""}
            for depth, seconds in blocks.items()
            for name, value in seconds.items()
        ]
        print(f"blocks: {title}")
    print()
    report.finish(result, rows, arguments.json)


def hours_table(sizes: list[dict[str, Any]], peer: str) -> list[dict[str, Any]]:
    """Rows to print."""
    rows = []
    for size in sizes:
        ours = {"per": "epoch", "how": size["source"], "peak MB": size.get("peak_mb", "")}
        theirs = {"per": "epoch", "how": COMPUTED, "peak MB": ""}
        label = f"{size['hours']:g} h"
        rows.append({"": label, "system": "etude, first epoch", "seconds": size["first_epoch_s"], **ours})
        rows.append({"": label, "system": "etude, later epochs", "seconds": size["later_epoch_s"], **ours})
        rows.append({"": label, "system": peer, "seconds": size["peer_epoch_s"], **theirs})
    return rows


if __name__ == "__main__":
    main()
