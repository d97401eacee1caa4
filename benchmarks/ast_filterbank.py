"""Seconds for the log-mel of eight 10-s clips, against ``ASTFeatureExtractor`` of transformers without torchaudio.

    python benchmarks/ast_filterbank.py [--json]

Both give the same normalised log-mel (checked), at least 1,016 mel frames of each clip. Medians of 9 rounds; they take turns.
The first four calls of a turn do not count: threads of NumPy's and torch's libraries wait busily after their last call and
would be in each other's way.
"""

from __future__ import annotations

import statistics
import time
import warnings
from collections.abc import Callable
from unittest.mock import patch

import report
import torch
from transformers import ASTFeatureExtractor

from etude.adapters.backbones.ast import Ast, AstConfig

CLIPS, SAMPLES = 8, 160_000
ROUNDS, UNCOUNTED = 9, 4
REQUIRED = 10


def turns(systems: dict[str, Callable[[], object]]) -> dict[str, list[float]]:
    """Seconds of the last call of every turn, by system."""
    found: dict[str, list[float]] = {name: [] for name in systems}
    for _ in range(ROUNDS):
        for name, system in systems.items():
            for _ in range(UNCOUNTED):
                system()
            started = time.perf_counter()
            system()
            found[name].append(time.perf_counter() - started)
    return found


def main() -> None:
    options = report.arguments(__doc__).parse_args()
    backbone = Ast(AstConfig(name="ast", weights="random:tiny"))
    audio = 0.1 * torch.randn(CLIPS, SAMPLES, generator=torch.Generator().manual_seed(0))
    lengths, clips = torch.full((CLIPS,), SAMPLES), list(audio.numpy())
    module = "transformers.models.audio_spectrogram_transformer.feature_extraction_audio_spectrogram_transformer"
    with patch(f"{module}.is_speech_available", return_value=False), torch.inference_mode(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # some of the 128 filters lie between two bins of the FFT
        extractor = ASTFeatureExtractor()
        systems = {
            "etude": lambda: backbone.prepare(audio, lengths),
            "transformers": lambda: extractor(clips, sampling_rate=16_000, return_tensors="pt").input_values,
        }
        ours, theirs = (system() for system in systems.values())
        torch.testing.assert_close(ours, theirs[:, : ours.shape[2]].transpose(1, 2).float(), atol=1e-3, rtol=0)
        seconds = {name: statistics.median(rounds) for name, rounds in turns(systems).items()}
    factor = seconds["transformers"] / seconds["etude"]
    rows = [{"system": "etude", "ms": seconds["etude"] * 1e3, "factor": 1.0, "required": "", "": ""}]
    verdict = "met" if factor >= REQUIRED else "NOT MET"
    rows.append(
        {
            "system": "transformers, numpy",
            "ms": seconds["transformers"] * 1e3,
            "factor": factor,
            "required": f">= {REQUIRED}",
            "": verdict,
        }
    )
    result = {"etude_s": seconds["etude"], "transformers_s": seconds["transformers"], "factor": factor}
    report.finish(result, rows, options.json)


if __name__ == "__main__":
    main()
