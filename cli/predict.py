"""``adapt predict``."""

from __future__ import annotations

import glob
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer


def predict(
    adapter: Annotated[Path, typer.Argument(help="Adapter folder.")],
    recordings: Annotated[list[str], typer.Argument(help="Audio files, folders or quoted globs.")],
    to: Annotated[str, typer.Option(help="csv, jams, midi, audacity or json.")] = "csv",
    out: Annotated[Path, typer.Option(help="Folder for the results.")] = Path("."),
    plot: Annotated[bool, typer.Option("--plot", help="Also draw the events over the spectrogram (PNG).")] = False,
    weights: Annotated[str | None, typer.Option(help="Backbone weights, if not where the recipe says.")] = None,
    device: Annotated[str | None, typer.Option(help="cpu, cuda, ...; a GPU when there is one.")] = None,
) -> None:
    """Turn recordings into events that a musician can open. A file that cannot be read does not stop the others."""
    from rich.console import Console
    from rich.progress import track

    from etude.adapters.annotations import Annotation
    from etude.adapters.audio import probe
    from etude.adapters.errors import Problem, UserError, nearest
    from etude.adapters.inference.export import FORMATS, export
    from etude.adapters.inference.plot import plot_events
    from etude.adapters.inference.session import Session

    if to not in FORMATS:
        raise UserError(f"unknown format '{to}'", where="--to", fix=nearest(to, FORMATS))
    files = expand(recordings)
    targets = output_names(files, out)
    session = Session(adapter, weights=weights, device=device)
    labels = [label for head in session.artifact.manifest.labels.values() for label in head]
    out.mkdir(parents=True, exist_ok=True)
    problems: list[Problem] = []
    for file in track(files, "predicting", console=Console(stderr=True), disable=len(files) == 1):
        try:
            annotation: Annotation = session(file)
            target = targets[file].with_suffix(FORMATS[to].suffix)
            duration = probe(file).duration
            export(annotation, target, to, duration=duration, source=file, adapter=session.artifact.manifest.name)
            typer.echo(f"{file}: {len(annotation.notes)} events -> {target}")
            if plot:
                plot_events(file, annotation, targets[file].with_suffix(".png"), labels=labels)
        except UserError as error:
            problems += error.problems
    if problems:
        raise UserError(problems)


def expand(recordings: Sequence[str]) -> list[Path]:
    """Files as given, the audio files below folders, and the matches of globs; each once. Raises for what matches nothing."""
    from etude.adapters.audio import SUFFIXES
    from etude.adapters.errors import Problem, UserError

    files: dict[Path, None] = {}
    problems: list[Problem] = []
    for item in recordings:
        path = Path(item)
        if path.is_dir():
            found = sorted(p for p in path.rglob("*") if p.suffix.lower() in SUFFIXES and not p.name.startswith("."))
        elif path.exists() or not glob.has_magic(item):
            found = [path]
        else:
            found = sorted(Path(p) for p in glob.glob(item, recursive=True) if Path(p).is_file())
        if not found:
            problems.append(Problem("no recording found", item, f"audio files end in {' '.join(sorted(SUFFIXES))}"))
        files.update(dict.fromkeys(found))
    if problems:
        raise UserError(problems)
    return list(files)


def output_names(files: Sequence[Path], out: Path) -> dict[Path, Path]:
    """A result path without suffix per recording; recordings of equal name in different folders keep their folder's name."""
    names: dict[Path, Path] = {}
    stems = [file.stem for file in files]
    for file in files:
        name = file.stem if stems.count(file.stem) == 1 else f"{file.parent.name}-{file.stem}{file.suffix.replace('.', '-')}"
        names[file] = out / f"{name}.events"
    return names
