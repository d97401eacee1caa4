"""The tables of ``next_recording.py``, from the files that its runs wrote.

A file holds ``fits`` (one, of an adapter; of a control, one for each layer and strength), each with its ``scores`` by what was
judged: ``validation`` and ``test`` of the source that was trained on, and other sources.
"""

from __future__ import annotations

import json
import math
import statistics
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from next_recording_data import SAME_SAMPLES

CONTROLS = {"log-mel": "log-mel", "layers": "layers", "random": "random layers"}
BORDERS = {f"{system}-borders": f"{name}, borders given" for system, name in CONTROLS.items()}
SYSTEMS = {
    "notes": {"adapter": "adapter", **CONTROLS},
    "phrases": {"adapter": "adapter", **CONTROLS, **BORDERS},
}
"""By kind of data, and what they are called."""
BARS = {kind: [system for system in names if system in CONTROLS] for kind, names in SYSTEMS.items()}
"""The controls that know no more than an adapter."""
SCORES = {
    "notes": ("f1_macro", "accuracy"),
    "phrases": (
        "event_macro_f1",
        *("note_onset_f1", "note_offset_f1", "note_pitch_f1", "note_technique_f1", "note_all_f1"),
    ),
}
"""What is kept; the first one counts, and chooses among fits."""
NAN = float("nan")
"""Where nothing has been run yet, or a system does not tell."""
Results = dict[str, Any]


def results(file: Path) -> Results:
    """What a run wrote, or nothing yet."""
    found: Results = json.loads(file.read_text()) if file.exists() else {"fits": []}
    return found


def judged(found: Results) -> set[str]:
    """All that has scores."""
    return {part for fit in found["fits"] for part in fit["scores"]}


class Table:
    """The results of one kind of data in a folder."""

    def __init__(self, kind: str, folder: Path, seeds: int) -> None:
        self.kind, self.folder, self.seeds = kind, folder, seeds

    def file(self, task: str, system: str, source: str, seed: int) -> Path:
        """Where a run writes; the controls of whole notes draw nothing, so that they have one seed."""
        return self.folder / f"{self.kind}-{task}-{source}-{system}-{self.seeds_of(system)[seed]}.json"

    def seeds_of(self, system: str) -> list[int]:
        """The seed of the run that stands for each seed."""
        return [0 if self.kind == "notes" and system != "adapter" else seed for seed in range(self.seeds)]

    def value(
        self, task: str, system: str, source: str, part: str, seed: int, *, hindsight: bool = False, score: int = 0
    ) -> float:
        """A score on ``part`` of the fit that is best on validation data, or with ``hindsight`` on that part."""
        found, names = results(self.file(task, system, source, seed)), SCORES[self.kind]
        if part not in judged(found):
            return NAN
        by = part if hindsight or system == "adapter" else "validation"
        best = max(found["fits"], key=lambda fit: fit["scores"][by][names[0]])
        value: float = best["scores"][part].get(names[score], NAN)
        return value

    def main(self, task: str, pairs: Sequence[tuple[str, str]]) -> str:
        """Markdown: the score that counts, by pair and system."""
        names = SYSTEMS[self.kind]
        lines = [f"| trained on | judged on | {' | '.join(names.values())} | adapter less best control | in hindsight |"]
        lines.append("| --- |" + " --- |" * (len(names) + 3))
        itself = [(source, "test") for source in dict.fromkeys(source for source, _ in pairs)]
        apart = [pair for pair in pairs if not {*pair} <= SAME_SAMPLES]
        for source, part in [*itself, *pairs]:
            other = "itself" if part == "test" else part if (source, part) in apart else f"{part} (same samples)"
            lines.append(f"| {source} | {other} | {' | '.join(self.cells(task, [(source, part)]))} |")
        for name, some in (("itself", itself), ("another", apart)):
            if len(some) > 1:
                lines.append(f"| mean | {name} | {' | '.join(self.cells(task, some))} |")
        return "\n".join(lines)

    def cells(self, task: str, pairs: Sequence[tuple[str, str]]) -> list[str]:
        """Means over ``pairs``, and over seeds with their deviation; the gain of a pair is over the best of :data:`BARS`."""

        def over(system: str, seed: int, hindsight: bool) -> list[float]:
            return [self.value(task, system, source, part, seed, hindsight=hindsight) for source, part in pairs]

        seeds = range(self.seeds)
        cells = [shown(statistics.fmean(over("adapter", seed, False)) for seed in seeds)]
        for system in list(SYSTEMS[self.kind])[1:]:
            own, best = (
                shown(statistics.fmean(over(system, seed, hindsight)) for seed in seeds) for hindsight in (False, True)
            )
            cells.append(f"{own} ({best})" if own else "")
        for hindsight in (False, True):
            gains = []
            for seed in seeds:
                bars = zip(*(over(system, seed, hindsight) for system in BARS[self.kind]), strict=True)
                scores = zip(over("adapter", seed, False), bars, strict=True)
                gains.append(statistics.fmean(score - max(filter(defined, bar), default=NAN) for score, bar in scores))
            cells.append(shown(gains, signed=True))
        return cells

    def complete_notes(self, task: str, pairs: Sequence[tuple[str, str]]) -> str:
        """Markdown: all scores of every system on the other sources, each by its own choice."""
        names = SCORES[self.kind]
        lines = [f"| trained on | judged on | system | {' | '.join(name.replace('_', ' ') for name in names)} |"]
        lines.append("| --- |" + " --- |" * (len(names) + 2))
        for source, other in pairs:
            for system, name in SYSTEMS[self.kind].items():
                cells = [
                    shown(self.value(task, system, source, other, seed, score=index) for seed in range(self.seeds))
                    for index in range(len(names))
                ]
                lines += [f"| {source} | {other} | {name} | {' | '.join(cells)} |"] if any(cells) else []
        return "\n".join(lines)


def defined(value: float) -> bool:
    """Whether there is one."""
    return not math.isnan(value)


def shown(values: Iterable[float], *, signed: bool = False) -> str:
    """Mean and standard deviation; nothing where a value is missing."""
    numbers = list(values)
    mean = statistics.fmean(numbers)
    if not defined(mean):
        return ""
    return f"{mean:{'+' if signed else ''}.3f}" + (f" ± {statistics.stdev(numbers):.3f}" if len(numbers) > 1 else "")
