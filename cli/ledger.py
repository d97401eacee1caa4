"""What ``adapt predict`` keeps of all recordings together: tables of labels, a table of errors, what is printed."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path

from etude.adapters.errors import Problem
from etude.cli.finders import Finder
from etude.cli.outputs import Done
from etude.cli.printed import WHOLE, Printed, whole_rows
from etude.cli.tables import Table

ERRORS = "errors.csv"


class Ledger:
    """Tables in ``out``, that of errors only if ``errors`` is set. ``say`` is told of each recording what was found and that it
    is in ``elsewhere``, too. Raises :class:`UserError` for tables that hold something else."""

    def __init__(
        self,
        finders: Mapping[str, Finder],
        out: Path,
        *,
        errors: bool,
        elsewhere: Sequence[Path],
        printed: Printed | None,
        say: Callable[[str], None],
    ) -> None:
        self._tables = {
            name: [
                (kind, Table(out / finder.folder / f"{kind.name}.{suffix}", WHOLE))
                for kind in finder.kinds
                if kind.whole
                for suffix in finder.tables
            ]
            for name, finder in finders.items()
        }
        self._errors = Table(out / ERRORS, ("problem", "fix")) if errors else None
        self._elsewhere, self._printed, self._say = list(elsewhere), printed, say
        self.problems: list[Problem] = []
        self.failed = 0
        """Recordings that have problems."""

    @property
    def reserved(self) -> set[str]:
        """Names, without suffix, that no result of a single recording may have."""
        return {Path(ERRORS).stem, *(table.path.stem for table in self.tables)}

    @property
    def tables(self) -> list[Table]:
        """Those of labels."""
        return [table for own in self._tables.values() for _, table in own]

    def begin(self, files: Collection[Path], *, force: bool) -> None:
        """Forget earlier errors of ``files``, and with ``force`` their labels."""
        for table in self.tables:
            table.drop(files if force else ())
        if self._errors:
            self._errors.drop(files)

    def add(self, done: Done) -> None:
        """Keep and tell what was found in a recording."""
        for name, annotation in done.annotations.items():
            for kind, table in self._tables[name]:
                if not table.has(done.path):
                    table.add(done.path, whole_rows(kind, getattr(annotation, kind.name), done.duration))
            if self._printed:
                self._printed.add(done.path, name, annotation, done.duration)
            places = [*done.written.get(name, []), *(table.path for _, table in self._tables[name]), *self._elsewhere]
            if places:
                summary = "; ".join(kind.summary(layer) for kind, layer in annotation.by_kind())
                self._say(f"{done.path}: {summary} -> {', '.join(map(str, places))}")
        if done.problems:
            self.problems += done.problems
            self.failed += 1
            if self._errors:
                self._errors.add(done.path, [_row(problem, done.path) for problem in done.problems])


def _row(problem: Problem, path: Path) -> dict[str, str]:
    place = "" if problem.where in ("", str(path)) else f"{problem.where}: "
    return {"problem": f"{place}{problem.what}", "fix": problem.fix}
