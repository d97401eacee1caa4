"""Seconds to predict many short recordings on a CPU, in one process and in several.

    python benchmarks/predict_jobs.py --json                  # MERT-95M geometry: minutes
    python benchmarks/predict_jobs.py --geometry whisper-tiny

One process computes with all cores, each of several with its share. The time is that of all of it: loading the adapter in every
process, decoding, resampling, backbone with LoRA in the last 3 blocks, heads, events. What is found is compared.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import report
import soundfile
import torch
from random_adapter import random_adapters
from setup import Workload, interleaved, phrase

from etude.adapters.inference.bulk import Prediction, predict_files


def write_recordings(folder: Path, count: int, seconds: float) -> list[Path]:
    """Labelled notes as in the training data, at 44.1 kHz."""
    folder.mkdir()
    generator, paths = np.random.default_rng(0), [folder / f"{index:04d}.flac" for index in range(count)]
    for path in paths:
        soundfile.write(path, phrase(generator, seconds, 44100)[0], 44100)
    return paths


def agreement(ours: list[Prediction], theirs: list[Prediction]) -> float:
    """Share of the recordings in which the same was found."""
    return float(np.mean([one.annotations == other.annotations for one, other in zip(ours, theirs, strict=True)]))


def main() -> None:
    parser = report.arguments(__doc__)
    parser.add_argument("--geometry", choices=("mert", "whisper-tiny", "tiny"), default="mert")
    parser.add_argument("--recordings", type=int, default=150)
    parser.add_argument("--seconds", type=float, default=2.5, help="length of each recording")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    found: dict[int, list[Prediction]] = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        workload = Workload(arguments.geometry, folder, 2)
        adapter = random_adapters(workload, folder, 1, workload.geometry.depths[0])[0]
        paths = write_recordings(folder / "short", arguments.recordings, arguments.seconds)

        def predict(jobs: int) -> None:
            found[jobs] = list(predict_files(adapter, paths, device="cpu", jobs=jobs))

        systems = {"one process": lambda: predict(1), "several processes": lambda: predict(arguments.jobs)}
        seconds = interleaved(systems, arguments.rounds, warmup=1)
    assert not [problem for one in found.values() for prediction in one for problem in prediction.problems]
    result = {
        "geometry": arguments.geometry,
        "recordings": arguments.recordings,
        "seconds_each": arguments.seconds,
        "jobs": arguments.jobs,
        "cores": torch.get_num_threads(),
        "speedup": seconds["one process"] / seconds["several processes"],
        "recordings_per_second": arguments.recordings / seconds["several processes"],
        "same_annotations": agreement(found[1], found[arguments.jobs]),
    }
    print(f"{workload.title}; {arguments.recordings} recordings of {arguments.seconds:g} s\n")
    rows = [{"system": system, "seconds": value} for system, value in seconds.items()]
    rows += [{"system": f"{arguments.jobs} processes are faster by", "seconds": result["speedup"]}]
    report.finish(result, rows, arguments.json)


if __name__ == "__main__":
    main()
