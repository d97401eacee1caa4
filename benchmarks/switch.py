"""Seconds to go from one loaded adapter to another, with 2 and with 32 of them loaded, against peft.

    python benchmarks/switch.py --json

LoRA of rank 8 on queries and values of all 12 blocks of MERT-95M; etude also with ranks 4 to 64 side by side. peft's ways:
``load_adapter`` of a folder and ``set_adapter`` (what its documentation shows), ``hotswap_adapter``, and ``set_adapter`` alone
among loaded ones.
"""

from __future__ import annotations

import itertools
import tempfile
from collections.abc import Callable
from pathlib import Path

import report
from peft import LoraConfig, get_peft_model
from peft.utils.hotswap import hotswap_adapter
from random_adapter import random_adapters
from setup import Workload

from etude.adapters.inference.session import Session
from etude.adapters.model.build import build_backbone

FEW, MANY = 2, 32
RANKS = (4, 8, 16, 64)


def turns(switch: Callable[[str], object], names: list[str]) -> Callable[[], object]:
    """Each call goes to the next of ``names``."""
    order = itertools.cycle(names)
    return lambda: switch(next(order))


def etude(paths: list[Path]) -> float:
    session = Session(*paths, device="cpu")
    keys = {name: session._find(name).key for name in session.adapters}

    def switch(name: str) -> None:
        session.switch(name)
        session._bank.select(keys[name])  # what the next batch would do first

    return report.median_seconds(turns(switch, list(session.adapters)), repeats=500, warmup=20)


def peft(workload: Workload, folder: Path) -> dict[str, float]:
    """Seconds of each of peft's ways."""
    backbone = build_backbone(workload.recipe(0).backbone)
    config = LoraConfig(r=8, lora_alpha=8, target_modules=["q_proj", "v_proj"], init_lora_weights=False)
    model = get_peft_model(backbone.model, config, adapter_name="first")  # type: ignore[arg-type]
    model.add_adapter("second", config)
    model.save_pretrained(str(folder / "peft"))
    folders = [str(folder / "peft" / name) for name in ("first", "second")]
    counter = itertools.count()

    def load(path: str) -> None:
        name = f"loaded{next(counter)}"
        model.load_adapter(path, name)
        model.set_adapter(name)

    seconds = {"peft, set_adapter, 2 loaded": report.median_seconds(turns(model.set_adapter, ["first", "second"]), 20, 4)}
    seconds["peft, load_adapter and set_adapter"] = report.median_seconds(turns(load, folders), 10, 2)
    model.set_adapter("first")
    swap = turns(lambda path: hotswap_adapter(model, path, "first", torch_device="cpu"), folders)
    seconds["peft, hotswap_adapter"] = report.median_seconds(swap, 10, 2)
    return seconds


def main() -> None:
    parser = report.arguments(__doc__)
    parser.add_argument("--geometry", choices=("mert", "whisper-tiny", "tiny"), default="mert")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        workload = Workload(arguments.geometry, folder, 2)
        blocks = build_backbone(workload.recipe(0).backbone).num_blocks
        paths = random_adapters(workload, folder / "same", MANY, blocks)
        ranks = [
            random_adapters(workload, folder / f"rank{r}", 1, blocks, f"method.rank={r}", f"name=rank{r}")[0] for r in RANKS
        ]
        seconds = {f"etude, {FEW} loaded": etude(paths[:FEW]), f"etude, {MANY} loaded": etude(paths)}
        seconds[f"etude, ranks {', '.join(map(str, RANKS))}"] = etude(ranks)
        seconds |= peft(workload, folder)
    few, many = seconds[f"etude, {FEW} loaded"], seconds[f"etude, {MANY} loaded"]
    result = {
        "geometry": arguments.geometry,
        "switch_ms": many * 1e3,
        "many_vs_few": many / few,
        **{f"peft_{name}_ms": seconds[key] * 1e3 for name, key in PEFT.items()},
        **{f"peft_{name}_vs_etude": seconds[key] / many for name, key in PEFT.items()},
    }
    report.finish(result, [{"switching": system, "ms": value * 1e3} for system, value in seconds.items()], arguments.json)


PEFT = {
    "load": "peft, load_adapter and set_adapter",
    "hotswap": "peft, hotswap_adapter",
    "set": "peft, set_adapter, 2 loaded",
}

if __name__ == "__main__":
    main()
