"""Tables as spreadsheets in any country write them: what separates the cells, and decimal commas."""

from __future__ import annotations

import csv
import io
import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from etude.adapters.errors import Problem, UserError
from etude.adapters.formats._parts.text import read_text

SEPARATORS = {"\t": "tabs", ";": "semicolons"}
"""Other than commas, beside which they are part of a cell."""
DECIMAL_COMMA = re.compile(r"-?(?:\d+:){0,2}\d+,\d+")
WHOLE = re.compile(r"-?\d+")

Rows = list[tuple[int, dict[str, str]]]
"""Line number, and stripped cells by column."""


@dataclass(slots=True)
class Table:
    """What is in a table with a header line: rows that are not blank, what is wrong with the others (each at its line), and how
    it was read where that is not as a CSV is by default."""

    header: list[str]
    rows: Rows = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    read_as: list[str] = field(default_factory=list)


def separator(line: str) -> str:
    """What separates the cells of a table whose first line is this."""
    return next((mark for mark in SEPARATORS if mark in line and "," not in line), ",")


def parse_table(path: Path) -> Table:
    """Read a table. A row that is longer than the header is a problem, a shorter one lacks its last cells.

    Raises :class:`UserError` where it is none, where the header names a column twice and where numbers are ambiguous;
    :class:`OSError` for a file that cannot be read.
    """
    text = read_text(path)
    mark = separator(text.lstrip().partition("\n")[0])
    lines = csv.reader(io.StringIO(text), strict=True, delimiter=mark)
    try:
        table = Table([" ".join(cell.split()) for cell in next(filter(any, lines), [])])
        table.read_as += [f"{SEPARATORS[mark]} between the cells"] if mark in SEPARATORS else []
        if twice := [name for name, count in Counter(filter(None, table.header)).items() if count > 1]:
            raise UserError([Problem(f"has the column '{name}' twice", ":1", "remove one, or rename it") for name in twice])
        width = len(table.header)
        for cells in lines:
            row = [cell.strip() for cell in cells]
            if len(row) > width and any(row[width:]):
                what = f"has {len(row)} cells, but the header has {width}"
                table.problems.append(Problem(what, f":{lines.line_num}", "quote cells that contain a comma"))
            elif any(row):
                row += [""] * (width - len(row))
                table.rows.append((lines.line_num, dict(zip(table.header, row, strict=False))))
    except csv.Error as error:
        raise UserError(f"is not a CSV file: {error}", fix="save it as a UTF-8 CSV") from None
    if mark in SEPARATORS and "," in text:
        _without_decimal_commas(table, sure=mark == ";")
    return table


def _without_decimal_commas(table: Table, sure: bool) -> None:
    """Replace the commas in columns of numbers; unless ``sure``, one of them must show that they do not group thousands."""
    columns = [name for name in table.header if name and _has_decimal_commas(cells[name] for _, cells in table.rows)]
    found = [(cells, name) for _, cells in table.rows for name in columns if DECIMAL_COMMA.fullmatch(cells[name])]
    if found and not (sure or any(re.search(r"^-?0,|,\d{1,2}$|,\d{4}", cells[name]) for cells, name in found)):
        example = found[0][0][found[0][1]]
        raise UserError(f"has numbers such as {example}, with a comma that may group thousands", fix="write decimal points")
    for cells, name in found:
        cells[name] = cells[name].replace(",", ".")
    table.read_as += ["decimal commas"] if found else []


def _has_decimal_commas(cells: Iterable[str]) -> bool:
    """Whether most cells that are filled in are numbers, some of them with a comma and none with a point."""
    filled = [cell for cell in cells if cell]
    commas = sum(bool(DECIMAL_COMMA.fullmatch(cell)) for cell in filled)
    numbers = commas + sum(bool(WHOLE.fullmatch(cell)) for cell in filled)
    return commas > 0 and 2 * numbers > len(filled) and not any(re.fullmatch(r"-?\d*\.\d+", cell) for cell in filled)
