"""``adapt data check``."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Annotated

import typer


def check(
    recipe: Annotated[str, typer.Argument(help="Recipe file or packaged recipe, manifest CSV, or folder.")],
    overrides: Annotated[list[str] | None, typer.Argument(help="section.field=value")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Read all labels and all audio; report every problem at once, what is worth a look, then what the data set holds."""
    from etude.cli.progress import progress

    with progress("reading labels", 1):
        from etude.adapters.datasets._parts.coverage import coverage
        from etude.adapters.datasets._parts.survey import survey
        from etude.adapters.errors import UserError
        from etude.adapters.model.build import named_dataset
        from etude.cli.contents import contents, print_contents, print_statistics

        dataset = named_dataset(recipe, overrides or [])
        tracks, faults = dataset.check()
        leaks = dataset.leaks()
    with progress("listening", len(tracks)) as advance:
        heard = survey(tracks, advance)
    problems = [*faults, *heard.problems, *leaks]
    # What a faulty file would have held is not lacking.
    lacking = [] if faults else coverage(tracks, dataset.classes)
    notices = [*dataset.notices, *lacking, *heard.notices]
    splits = contents(tracks)
    if as_json:
        found = {
            "licence": dataset.licence,
            "problems": list(map(asdict, problems)),
            "notices": list(map(asdict, notices)),
            "splits": splits,
            "statistics": asdict(heard.statistics),
        }
        typer.echo(json.dumps(found, ensure_ascii=False, allow_nan=False))
    for notice in notices:
        typer.echo(f"notice: {notice}", err=True)
    if problems:
        raise UserError(problems)
    if not as_json:
        print_contents(splits)
        print_statistics(heard.statistics)
        typer.echo(f"licence: {dataset.licence}; no problems found")
