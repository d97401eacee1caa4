"""``adapt inspect``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer


def inspect(
    adapter: Annotated[Path, typer.Argument(help="Adapter folder.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Show what an adapter holds: backbone, sites, sizes, labels, scores, licences. Loads no backbone."""
    from rich.console import Console
    from rich.table import Table

    from etude.adapters.artifact import read_header
    from etude.cli.scores import print_scores

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
    facts = Table(show_header=False, box=None)
    for name, value in {
        "adapter": f"{manifest.name}, made {manifest.created} with etude {manifest.etude_version}, seed {manifest.seed}",
        "size": f"{header.total_bytes / 1e6:.2f} MB, trained parameters: "
        + ", ".join(f"{part} {count:,}" for part, count in manifest.trainable.items()),
        "backbone": f"{backbone.id} ({backbone.name}, {backbone.sample_rate} Hz, {backbone.frame_rate:g} frames/s, {backbone.num_blocks} blocks)",
        "fingerprint": backbone.fingerprint,
        "method": manifest.method,
        "data": manifest.dataset,
        "licences": f"backbone {backbone.licence}; data {manifest.data_licence}",
        "chosen by": manifest.metric,
        **{f"labels ({head})": ", ".join(labels) for head, labels in manifest.labels.items()},
        **{f"thresholds ({head})": str(values) for head, values in manifest.thresholds.items()},
    }.items():
        facts.add_row(f"[bold]{name}[/bold]", value)
    console.print(facts)
    tensors = Table("tensor", "shape", "parameters")
    for name, shape in header.shapes.items():
        size = 1
        for length in shape:
            size *= length
        tensors.add_row(name, "x".join(map(str, shape)), f"{size:,}")
    console.print(tensors)
    for split, scores in header.metrics.items():
        print_scores(scores, split)
