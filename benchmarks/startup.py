"""How long a command takes to start: wall time of whole processes, next to libraries it stands on.

    python benchmarks/startup.py [--json]

Medians of 10 rounds after 2 that do not count. A round runs every command once, so that whatever else the machine does
meets all of them alike.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from pathlib import Path

from report import arguments, finish

ROUNDS, WARMUP = 10, 2


def commands() -> dict[str, list[str]]:
    """Command lines by the name of their result; those of peers only where they are installed."""
    folder = Path(sys.executable).parent
    adapt = str(folder / "adapt")
    found = {
        "pass": [sys.executable, "-c", "pass"],
        "help": [adapt, "--help"],
        "recipes_ls": [adapt, "recipes", "ls"],
        "import_etude": [sys.executable, "-c", "import etude"],
        "import_peft": [sys.executable, "-c", "import peft"],
        "import_transformers": [sys.executable, "-c", "import transformers"],
    }
    for peer in ("accelerate", "transformers"):
        if (folder / peer).exists():
            found[f"{peer}_help"] = [str(folder / peer), "--help"]
    return found


def main() -> None:
    options = arguments(__doc__).parse_args()
    chosen = commands()
    seconds: dict[str, list[float]] = {name: [] for name in chosen}
    for _ in range(WARMUP + ROUNDS):
        for name, command in chosen.items():
            started = time.perf_counter()
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
            seconds[name].append(time.perf_counter() - started)
    medians = {name: statistics.median(values[WARMUP:]) for name, values in seconds.items()}
    rows = [
        {
            "command": " ".join((Path(chosen[name][0]).name, *chosen[name][1:])),
            "seconds": median,
            "times python -c pass": median / medians["pass"],
        }
        for name, median in medians.items()
    ]
    finish({f"{name}_s": median for name, median in medians.items()}, rows, options.json)


if __name__ == "__main__":
    main()
