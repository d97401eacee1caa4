"""``adapt predict``."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from etude.adapters.errors import Problem, UserError, nearest


def predict(
    adapter: Annotated[Path, typer.Argument(help="Adapter folder.")],
    recordings: Annotated[list[str], typer.Argument(help="Audio files, folders or quoted globs.")],
    others: Annotated[
        list[Path] | None,
        typer.Option("--with", help="One more adapter on the same backbone; each then has a folder of its own below --out."),
    ] = None,
    to: Annotated[str, typer.Option(help="csv, jams, midi, audacity or json.")] = "csv",
    out: Annotated[Path, typer.Option(help="Folder for the results.")] = Path("."),
    plot: Annotated[bool, typer.Option("--plot", help="Also draw what was found over the spectrogram (PNG).")] = False,
    force: Annotated[bool, typer.Option("--force", help="Replace results that exist already.")] = False,
    weights: Annotated[str | None, typer.Option(help="Backbone weights, if not where the recipe says.")] = None,
    device: Annotated[str | None, typer.Option(help="cpu, cuda, ...; a GPU when there is one.")] = None,
    compile: Annotated[bool, typer.Option("--compile", help="Compile the backbone first, which takes a while.")] = False,
) -> None:
    """Turn recordings into events and tags that a musician can open. A file that cannot be read does not stop the others."""
    from etude.adapters.formats import export, format_of, left_out
    from etude.adapters.registry import names
    from etude.cli.folders import check_writable, make_folder
    from etude.cli.progress import progress

    if to not in names("formats"):
        raise UserError(f"unknown format '{to}'", where="--to", fix=nearest(to, names("formats")))
    files = expand(recordings)
    suffixes = (format_of(to).suffix, *([".png"] if plot else []))
    folders = [out / name for name in adapter_names([adapter, *others])] if others else [out]
    results = [[tuple(folder / f"{name}{suffix}" for suffix in suffixes) for folder in folders] for name in result_names(files)]
    check_writable(out, "--out")
    existing = [path for per_adapter in results for paths in per_adapter for path in paths if path.exists()]
    if existing and not force:
        more = f", and so do {len(existing) - 1} more results" if len(existing) > 1 else ""
        fix = "pass --force to replace, or name another folder with --out"
        raise UserError(f"exists already{more}", where=str(existing[0]), fix=fix)
    problems: list[Problem] = []
    with progress("loading the adapter", 1):
        from etude.adapters.annotations import kind_of
        from etude.adapters.inference.bulk import predict_files
        from etude.adapters.inference.plot import plot_pages
        from etude.adapters.inference.session import Session

        session = Session(adapter, *(others or []), weights=weights, device=device, compile=compile)
    for name in session.adapters:
        kinds = sorted({head.kind for head in session.heads(name).values()})
        if lost := left_out(to, kinds, name):
            kept = " and ".join(kind.plural for kind in map(kind_of, kinds) if kind not in lost)
            what = f"{to} holds no {' and no '.join(kind.plural for kind in lost)}; only {kept} are written"
            typer.echo(f"notice: {name}: {what}", err=True)
    with progress("predicting", len(files)) as advance:
        for prediction, places in zip(predict_files(session, files), results, strict=True):
            file = prediction.path
            problems += prediction.problems
            for (name, annotation), (target, *picture) in zip(prediction.annotations.items(), places, strict=False):
                with noted(problems):
                    make_folder(target.parent)
                    export(annotation, target, to, duration=prediction.duration, source=file, adapter=name)
                    summary = "; ".join(kind.summary(layer) for kind, layer in annotation.by_kind())
                    typer.echo(f"{file}: {summary} -> {target}")
                    heads = session.heads(name).values()
                    labels = [label for head in heads if not kind_of(head.kind).whole for label in head.labels]
                    for path in picture:
                        plot_pages(file, annotation, path, labels=labels)
            advance(1)
    if problems:
        raise UserError(problems)


@contextmanager
def noted(problems: list[Problem]) -> Iterator[None]:
    """Put the problems of the block on the list, and go on after it."""
    try:
        yield
    except UserError as error:
        problems += error.problems


def adapter_names(adapters: Sequence[Path]) -> list[str]:
    """The adapters' own names. Raises :class:`UserError` where two are the same: their results would share a folder."""
    from etude.adapters.artifact import read_header

    names: list[str] = []
    for folder in adapters:
        name = read_header(folder).manifest.name
        if name.casefold() in (known.casefold() for known in names):  # many file systems take A for a
            fix = "predict with one after the other"
            raise UserError(f"is called '{name}', as another of these adapters is", where=str(folder), fix=fix)
        names.append(name)
    return names


def expand(recordings: Sequence[str]) -> list[Path]:
    """Files as given, and the audio files below folders and among the matches of globs; each once.

    Raises :class:`UserError` for what leads to no audio file.
    """
    from etude.adapters.sound.audio import SUFFIXES

    files: dict[str, Path] = {}
    problems: list[Problem] = []
    for item in recordings:
        path = Path(item)
        if path.is_dir():
            found = [p for p in path.rglob("*") if not p.name.startswith(".")]
        elif path.exists() or not glob.has_magic(item):
            found = [path]
        else:
            found = [Path(p) for p in glob.glob(item, recursive=True)]
        if found != [path]:
            found = sorted(p for p in found if p.suffix.lower() in SUFFIXES and p.is_file())
        if not found:
            problems.append(Problem("no recording found", item, f"audio files end in {' '.join(sorted(SUFFIXES))}"))
        for file in found:
            files.setdefault(os.path.abspath(file), file)
    if problems:
        raise UserError(problems)
    return list(files.values())


def result_names(files: Sequence[Path]) -> list[str]:
    """A name without suffix for the result of each recording, all different.

    They are the recordings' own names; where two are equal, the folders are kept, from the first one that is not common to all
    recordings; where that does not suffice (``x.wav`` beside ``x.flac``), the audio suffix is kept as well.
    """
    absolute = [Path(os.path.abspath(file)) for file in files]
    common = os.path.commonpath([file.parent for file in absolute])
    paths = [file.relative_to(common) for file in absolute]
    for names in ([file.stem for file in files], [str(path.with_suffix("")) for path in paths]):
        if len({name.casefold() for name in names}) == len(names):  # casefold: many file systems take A.csv for a.csv
            return names
    return [str(path) for path in paths]
