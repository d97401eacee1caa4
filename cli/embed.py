"""``adapt embed``."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from etude.adapters.errors import Problem, UserError, nearest

if TYPE_CHECKING:
    from etude.adapters.inference.embed import Embedder
    from etude.cli.outputs import Recording

FORMATS, POOLS = ("npz", "parquet"), ("none", "mean")


def embed(
    source: Annotated[Path, typer.Argument(help="Adapter folder, recipe file or packaged recipe; its backbone is used.")],
    recordings: Annotated[list[str], typer.Argument(help="Audio files, folders or quoted globs.")],
    layers: Annotated[
        str | None, typer.Option(help="3,5 for instance; 0 is the embedding. Those that the recipe mixes when omitted.")
    ] = None,
    to: Annotated[str, typer.Option(help="npz or parquet.")] = "npz",
    pool: Annotated[str, typer.Option(help="mean over the frames, or none.")] = "none",
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for the results.")] = Path("."),
    skip_existing: Annotated[bool, typer.Option("--skip-existing", help="Skip recordings whose results exist.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Replace results that exist already.")] = False,
    jobs: Annotated[int, typer.Option(help="Processes; more are faster for many short recordings on a CPU.")] = 1,
    weights: Annotated[str | None, typer.Option(help="Backbone weights, if not where the recipe says.")] = None,
    device: Annotated[str | None, typer.Option(help="cpu, cuda, ...; a GPU when there is one.")] = None,
) -> None:
    """Write what layers of the frozen backbone say of recordings, without any adapter."""
    from etude.adapters.inference.workers import each
    from etude.cli.folders import check_writable
    from etude.cli.outcome import conclude
    from etude.cli.outputs import Recording
    from etude.cli.progress import progress
    from etude.cli.recordings import check_options, expand, refuse_existing, result_names, tell_skipped

    for value, known, option in ((to, FORMATS, "--to"), (pool, POOLS, "--pool")):
        if value not in known:
            raise UserError(f"is '{value}'", where=option, fix=nearest(value, known))
    if to == "parquet" and find_spec("pyarrow") is None:
        raise UserError("pyarrow is not installed", where="--to parquet", fix='pip install "etude[arrow]"')
    check_options(skip_existing, force)
    work = Work(source, _numbers(layers), weights, device, pool == "mean", out, to)
    files = expand(recordings)
    check_writable(out, "--out")
    chosen = list(map(Recording, files, result_names(files)))
    if skip_existing:
        chosen = [one for one in chosen if not work.target(one).exists()]
        tell_skipped(typer.echo, len(files) - len(chosen), len(files))
        if not chosen:
            return
    elif not force:
        refuse_existing([target for target in map(work.target, chosen) if target.exists()])
    problems: list[Problem] = []
    failed = 0
    with progress("loading the backbone", 1):
        results = each(work.start, chosen, jobs, lambda recording, problems: (recording, problems))
    with progress("embedding", len(chosen)) as advance, closing(results):
        for recording, wrong in results:
            problems += wrong
            failed += bool(wrong)
            if not wrong:
                typer.echo(f"{recording} -> {work.target(recording)}")
            advance(1)
    conclude(problems, failed, len(files))


@dataclass(frozen=True)
class Work:
    """What is done with each recording, in whichever process."""

    source: Path
    layers: tuple[int, ...] | None
    weights: str | None
    device: str | None
    mean: bool
    out: Path
    to: str

    def target(self, recording: Recording) -> Path:
        """Where its states go."""
        return self.out / f"{recording.name}.{self.to}"

    def start(self) -> Callable[[Recording], tuple[Recording, tuple[Problem, ...]]]:
        """Load the backbone."""
        from etude.adapters.inference.embed import Embedder

        return partial(self._write, Embedder(self.source, self.layers, weights=self.weights, device=self.device))

    def _write(self, embedder: Embedder, recording: Recording) -> tuple[Recording, tuple[Problem, ...]]:
        from etude.adapters.storage.atomic import replace_file
        from etude.cli.folders import make_folder

        target = self.target(recording)
        make_folder(target.parent)
        with replace_file(target) as partial_file:
            (_write_npz if self.to == "npz" else _write_parquet)(embedder, recording.path, partial_file, self.mean)
        return recording, ()


def _write_npz(embedder: Embedder, recording: Path, target: Path, mean: bool) -> None:
    """``layer_3`` and so on, ``[frames, dim]`` or ``[dim]``, and the ``times`` of frames in seconds."""
    import numpy as np

    arrays: dict[str, Any]
    if mean:
        arrays = {f"layer_{layer}": values for layer, values in embedder.mean(recording).items()}
    else:
        found = embedder(recording)
        arrays = {"times": found.times, **{f"layer_{layer}": values for layer, values in found.layers.items()}}
    np.savez(target, **arrays)


def _write_parquet(embedder: Embedder, recording: Path, target: Path, mean: bool) -> None:
    """A row per frame, or one: ``file``, ``time`` in seconds (of frames) and ``layer_3`` and so on, lists of fixed length.

    It is written window by window: a recording of hours does not have to fit in memory.
    """
    import numpy as np
    import pyarrow
    from pyarrow.parquet import ParquetWriter

    states = pyarrow.list_(pyarrow.float32(), embedder.backbone.hidden_size)
    columns = [("file", pyarrow.string()), *([] if mean else [("time", pyarrow.float64())])]
    schema = pyarrow.schema([*columns, *((f"layer_{layer}", states) for layer in embedder.layers)])
    pieces: Iterable[dict[int, Any]] = embedder.pieces(recording)
    if mean:
        pieces = [{layer: values[None] for layer, values in embedder.mean(recording).items()}]
    done = 0
    with ParquetWriter(target, schema) as writer:
        for piece in pieces:
            frames = len(piece[embedder.layers[0]])
            times = (done + np.arange(frames)) / embedder.backbone.frame_rate
            own = [pyarrow.FixedSizeListArray.from_arrays(piece[layer].reshape(-1), type=states) for layer in embedder.layers]
            named = [pyarrow.array([str(recording)] * frames), *([] if mean else [pyarrow.array(times)])]
            writer.write_table(pyarrow.Table.from_arrays([*named, *own], schema=schema))
            done += frames


def _numbers(layers: str | None) -> tuple[int, ...] | None:
    try:
        return None if layers is None else tuple(map(int, layers.split(",")))
    except ValueError:
        raise UserError(f"'{layers}' is no list of layers", where="--layers", fix="write it as 3,5") from None
