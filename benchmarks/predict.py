"""Seconds to annotate a recording, against the bare backbone, and four adapters against one.

    python benchmarks/predict.py --json                      # MERT-95M geometry, 10 minutes of audio: a quarter of an hour
    python benchmarks/predict.py --geometry whisper-tiny     # minutes
    python benchmarks/predict.py --compile                   # with torch.compile beside it

The recording is 44.1-kHz stereo FLAC. *Bare backbone* is transformers' model over the very same windows, decoded and resampled
beforehand, in batches as large as etude's, with no head and nothing kept. *Whole* is all of it: decoding, resampling, backbone
with LoRA in the last 3 blocks, mix, heads, joining the windows, events. Four adapters annotate ``--short`` minutes. *peft, one
after the other* is peft's model with each of the four adapters set in turn, over the same windows, without heads.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import report
import soundfile
import torch
from random_adapter import random_adapters
from setup import Workload, phrase, seconds_of

from etude.adapters.backbones import Backbone
from etude.adapters.inference.bulk import predict_files
from etude.adapters.inference.session import ROWS, Session
from etude.adapters.model.build import build_backbone
from etude.adapters.sound.audio import probe, read_window
from etude.adapters.sound.windows import plan
from etude.adapters.states.framing import audio_batch, frames_of, hop_samples, overlap_frames

OVERLAP = 1.0
ADAPTERS = 4


def write_recording(path: Path, seconds: float) -> None:
    """Labelled notes as in the training data, in stereo at 44.1 kHz."""
    left, _ = phrase(np.random.default_rng(0), seconds, 44100)
    soundfile.write(path, np.stack([left, 0.5 * left], axis=1), 44100)


def batches(backbone: Backbone, path: Path) -> list[torch.Tensor]:
    """All windows of a recording as the backbone takes them, ``[ROWS, ...]`` each."""
    info, hop = probe(path), hop_samples(backbone)
    windows = plan(frames_of(backbone, info), backbone.frames_per_window, overlap_frames(backbone, OVERLAP))
    audio = [read_window(path, w.start * hop, backbone.window_samples, backbone.sample_rate, info) for w in windows]
    with torch.inference_mode():
        return [backbone.prepare(*audio_batch(backbone, audio[i : i + ROWS])) for i in range(0, len(audio), ROWS)]


@torch.inference_mode()
def bare(model: torch.nn.Module, prepared: list[torch.Tensor]) -> None:
    for batch in prepared:
        model(batch, output_hidden_states=True)


def one_after_the_other(model: torch.nn.Module, names: list[str], prepared: list[torch.Tensor]) -> None:
    for name in names:
        model.set_adapter(name)  # type: ignore[operator]
        bare(model, prepared)


def peft_model(backbone: Backbone, blocks: int) -> tuple[torch.nn.Module, list[str]]:
    """Four LoRA adapters (rank 8, queries and values, last ``blocks`` blocks) the way peft keeps them."""
    from peft import LoraConfig, get_peft_model

    last = range(backbone.num_blocks - blocks, backbone.num_blocks)
    targets = [
        path
        for site, path in backbone.sites.items()
        if site.split(".", 2)[2] in ("attn.q", "attn.v") and int(site.split(".")[1]) in last
    ]
    config = LoraConfig(r=8, lora_alpha=8, target_modules=targets, init_lora_weights=False)
    model = get_peft_model(backbone.model, config, adapter_name="0")  # type: ignore[arg-type]
    for index in range(1, ADAPTERS):
        model.add_adapter(str(index), config)
    return model.eval(), [str(index) for index in range(ADAPTERS)]


def main() -> None:
    parser = report.arguments(__doc__)
    parser.add_argument("--geometry", choices=("mert", "whisper-tiny", "tiny"), default="mert")
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--short", type=float, default=2.0, help="minutes for the comparisons with four adapters")
    parser.add_argument("--compile", action="store_true")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        workload = Workload(arguments.geometry, folder, 2)
        blocks = workload.geometry.depths[0]
        adapters = random_adapters(workload, folder, ADAPTERS, blocks, f"train.overlap={OVERLAP}")
        long, short = folder / "long.flac", folder / "short.flac"
        write_recording(long, arguments.minutes * 60)
        write_recording(short, arguments.short * 60)
        backbone = build_backbone(workload.recipe(0).backbone)
        session = Session(adapters[0], device="cpu")
        several = Session(*adapters, device="cpu")
        first = several.adapters[0]
        prepared, few = batches(backbone, long), batches(backbone, short)
        bare(backbone.model, few[:2])
        session(short)  # warm
        seconds = {"bare backbone, once": seconds_of(lambda: bare(backbone.model, prepared))}
        seconds["etude, whole"] = seconds_of(lambda: list(predict_files(session, [long])))
        seconds["bare backbone, short"] = seconds_of(lambda: bare(backbone.model, few))
        seconds["one adapter, short"] = seconds_of(lambda: several(short, first))
        seconds["four adapters, short"] = seconds_of(lambda: several.all(short))
        if arguments.compile:
            compiled = Session(adapters[0], device="cpu", compile=True)
            seconds["compiling, first windows"] = seconds_of(lambda: compiled(short))
            seconds["compiled, short"] = seconds_of(lambda: compiled(short))
        peft, names = peft_model(backbone, blocks)
        seconds["peft, one after the other, short"] = seconds_of(lambda: one_after_the_other(peft, names, few))
    result = {
        "geometry": arguments.geometry,
        "minutes": arguments.minutes,
        "whole_vs_bare": seconds["etude, whole"] / seconds["bare backbone, once"],
        "four_vs_one": seconds["four adapters, short"] / seconds["one adapter, short"],
        "four_vs_peft": seconds["four adapters, short"] / seconds["peft, one after the other, short"],
        "seconds_per_minute": seconds["etude, whole"] / arguments.minutes,
        **({"compiled_vs_eager": seconds["compiled, short"] / seconds["one adapter, short"]} if arguments.compile else {}),
    }
    print(f"{workload.title}; LoRA in the last {blocks} blocks; {arguments.minutes:g} minutes, short {arguments.short:g}\n")
    rows = [{"system": system, "seconds": value} for system, value in seconds.items()]
    rows += [{"system": f"ratio: {name}", "seconds": value} for name, value in result.items() if "_vs_" in name]
    report.finish(result, rows, arguments.json)


if __name__ == "__main__":
    main()
