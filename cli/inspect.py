"""``adapt inspect``."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from etude.cli.completion import adapters


def inspect(
    adapter: Annotated[Path, typer.Argument(help="Adapter folder.", autocompletion=adapters)],
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Show what an adapter holds. Backbone, sizes, labels, scores, licences; it loads no backbone."""
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    from etude.adapters.artifact import load, read_header
    from etude.cli.measured import print_all_scores

    load(adapter)  # verifies the tensors as well
    header = read_header(adapter)
    manifest = header.manifest
    if as_json:
        tensors = {name: list(shape) for name, shape in header.shapes.items()}
        typer.echo(
            json.dumps({**manifest.model_dump(), "tensors": tensors, "bytes": header.total_bytes, "metrics": header.metrics})
        )
        return
    console = Console()
    backbone = manifest.backbone
    facts = Table(show_header=False, box=None, pad_edge=False)
    facts.add_column(style="bold", no_wrap=True)
    facts.add_column(overflow="fold")
    for name, value in {
        "adapter": f"{manifest.name}, made {manifest.created} with etude {manifest.etude_version}, seed {manifest.seed}",
        "size": f"{header.total_bytes / 1e6:.2f} MB, trained parameters: "
        + ", ".join(f"{part} {count:,}" for part, count in manifest.trainable.items()),
        "backbone": f"{backbone.id} ({backbone.name}, {backbone.sample_rate} Hz, {backbone.frame_rate:g} frames/s, "
        f"{backbone.num_blocks} blocks)",
        "fingerprint": backbone.fingerprint,
        "method": manifest.method,
        "data": manifest.dataset,
        "licences": f"backbone {backbone.licence}; data {manifest.data_licence}",
        "chosen by": manifest.metric,
        **{f"labels ({head})": ", ".join(labels) for head, labels in manifest.labels.items()},
        **{f"thresholds ({head})": _text(values, manifest.labels[head]) for head, values in manifest.thresholds.items()},
    }.items():
        facts.add_row(name, escape(value))
    console.print(facts)
    sizes = Table("tensor", box=SIMPLE_HEAD, pad_edge=False)
    for column in ("shape", "parameters"):
        sizes.add_column(column, justify="right", no_wrap=True)
    for name, shape in header.shapes.items():
        sizes.add_row(name, "x".join(map(str, shape)), f"{math.prod(shape):,}")
    console.print(sizes)
    print_all_scores(header)


def _text(thresholds: Mapping[str, Any], labels: Sequence[str]) -> str:
    """Thresholds in words; a list of as many as there are classes is one per class."""
    parts = []
    for name, value in thresholds.items():
        if isinstance(value, list | tuple) and len(value) == len(labels):
            value = ", ".join(f"{label} {number:g}" for label, number in zip(labels, value, strict=True))
        parts.append(f"{name}: {value}")
    return "; ".join(parts)
