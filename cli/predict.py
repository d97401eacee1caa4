"""``adapt predict``."""

from __future__ import annotations

from contextlib import closing
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from etude.adapters.errors import UserError
from etude.cli.completion import adapters

if TYPE_CHECKING:
    from etude.cli.ledger import Ledger
    from etude.cli.outputs import Outputs, Recording


def predict(
    adapter: Annotated[Path, typer.Argument(help="Adapter folder.", autocompletion=adapters)],
    recordings: Annotated[list[str], typer.Argument(help="Audio files, folders or quoted globs.")],
    others: Annotated[
        list[Path] | None,
        typer.Option(
            "--with",
            help="One more adapter on the same backbone; each then has a folder of its own below --out.",
            autocompletion=adapters,
        ),
    ] = None,
    to: Annotated[
        list[str] | None,
        typer.Option(
            help="csv (unless told otherwise), jams, midi, audacity, elan, textgrid, json, jsonl, or - for CSV on stdout; "
            "repeatable."
        ),
    ] = None,
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for the results.")] = Path("."),
    min_confidence: Annotated[float, typer.Option(help="Leave out what is found with less confidence, from 0 to 1.")] = 0.0,
    unknown: Annotated[
        bool, typer.Option("--unknown", help="Call 'unknown' what is unlike everything that the adapter was trained on.")
    ] = False,
    plot: Annotated[bool, typer.Option("--plot", help="Also draw what was found over the spectrogram (PNG).")] = False,
    activations: Annotated[
        bool, typer.Option("--activations", help="Also write what the heads say of each frame (NPZ).")
    ] = False,
    sort_into: Annotated[
        Path | None, typer.Option(help="Copy each recording into a folder per label that was found in it, in this folder.")
    ] = None,
    link: Annotated[bool, typer.Option("--link", help="With --sort-into: link instead of copying.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print a JSON object per recording to stdout.")] = False,
    skip_existing: Annotated[bool, typer.Option("--skip-existing", help="Skip recordings whose results exist.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Replace results that exist already.")] = False,
    jobs: Annotated[int, typer.Option(help="Processes; more are faster for many short recordings on a CPU.")] = 1,
    weights: Annotated[str | None, typer.Option(help="Backbone weights, if not where the recipe says.")] = None,
    device: Annotated[str | None, typer.Option(help="cpu, cuda, ...; a GPU when there is one.")] = None,
    compile: Annotated[bool, typer.Option("--compile", help="Compile the backbone first, which takes a while.")] = False,
) -> None:
    """Turn recordings into events and tags that a musician can open. A file that cannot be read does not stop the others."""
    from etude.adapters.inference.confident import check_least
    from etude.adapters.inference.workers import each
    from etude.cli.finders import PRINTED, finders, known_formats
    from etude.cli.folders import check_writable
    from etude.cli.ledger import Ledger
    from etude.cli.outcome import conclude
    from etude.cli.outputs import Done, Outputs, Recording
    from etude.cli.printed import PrintedCsv, PrintedJson
    from etude.cli.progress import progress
    from etude.cli.recordings import check_options, expand, refuse_existing, result_names, tell_skipped

    wanted = known_formats(to or ([] if as_json or sort_into else ["csv"]))
    if as_json and PRINTED in wanted:
        raise UserError("both print to standard output", where="--json --to -", fix="leave one of them out")
    if link and sort_into is None:
        raise UserError("says how to sort recordings, but not where", where="--link", fix="add --sort-into FOLDER")
    check_least(min_confidence, "--min-confidence")
    check_options(skip_existing, force)
    say = partial(typer.echo, err=as_json or PRINTED in wanted)
    files, paths = expand(recordings), [adapter, *(others or [])]
    found = finders(paths, wanted, partial(typer.echo, err=True))
    outputs = Outputs(found, out, plot, activations, sort_into, link, force, min_confidence)
    if outputs.filed:
        check_writable(out, "--out")
    if sort_into is not None:
        check_writable(sort_into, "--sort-into")
    printed = PrintedJson() if as_json else PrintedCsv(found, several=len(files) > 1) if PRINTED in wanted else None
    elsewhere = [] if sort_into is None else [sort_into]
    ledger = Ledger(found, out, errors=outputs.filed and len(files) > 1, elsewhere=elsewhere, printed=printed, say=say)
    chosen = list(map(Recording, files, result_names(files, ledger.reserved)))
    if skip_existing:
        chosen = incomplete(outputs, ledger, chosen)
        tell_skipped(say, len(files) - len(chosen), len(files))
        if not chosen:
            return
    elif not force:
        refuse_existing(existing(outputs, ledger, chosen))
    if plot:
        tell_undrawable([*(lane for finder in found.values() for lane in finder.lanes), *(one.path.stem for one in chosen)])
    with progress("loading the adapter", 1):
        start = partial(outputs.start, paths, weights, device, compile, unknown)
        results = each(start, chosen, jobs, lambda one, problems: Done(one.path, problems=problems))
    ledger.begin(files, force=force)
    with progress("predicting", len(chosen)) as advance, closing(results):
        for done in results:
            ledger.add(done)
            advance(1)
    conclude(ledger.problems, ledger.failed, len(files))


def incomplete(outputs: Outputs, ledger: Ledger, recordings: list[Recording]) -> list[Recording]:
    """Those that lack a result. Raises :class:`UserError` where none of them would be kept in a file."""
    if not (outputs.filed or outputs.sort_into):
        raise UserError("nothing is written that could exist", where="--skip-existing", fix="name a format with --to")
    return [one for one in recordings if not (outputs.complete(one) and all(table.has(one.path) for table in ledger.tables))]


def existing(outputs: Outputs, ledger: Ledger, recordings: list[Recording]) -> list[Path]:
    """Results of ``recordings`` that exist."""
    found = [path for one in recordings for path in outputs.existing(one)]
    return found + [table.path for table in ledger.tables if any(table.has(one.path) for one in recordings)]


def tell_undrawable(names: list[str]) -> None:
    """Say which characters of ``names`` pictures will lack."""
    from etude.adapters.inference._parts.lettering import PACKAGE, undrawable

    if lost := undrawable("".join(names)):
        shown = f"{lost[:20]}{'...' if len(lost) > 20 else ''}"
        typer.echo(f"notice: no font here has {shown}: pictures show code points (install a font, {PACKAGE} say)", err=True)
