"""What all pictures have in common: size, colours, panels.

Colours are those of Okabe and Ito, "Color Universal Design" (2008), which stay apart for colour-blind readers.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure

from etude.adapters.inference._parts.lettering import letter
from etude.adapters.storage.atomic import replace_file

OKABE_ITO = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#7A6A00", "#000000")
INK, QUIET, HAIRLINE = "#1F2933", "#66727F", "#D5DBE1"
PAPER_TO_INK = LinearSegmentedColormap.from_list("paper", ["#FFFFFF", "#E9EDF1", "#B4BFCA", "#6B7A89", "#26323E"])
WIDTH, HEIGHT, DPI = 1600, 900, 150


def palette(count: int) -> list[str]:
    """A colour for each of ``count`` classes; after the last one, the first comes again."""
    return [OKABE_ITO[i % len(OKABE_ITO)] for i in range(count)]


def panels(rows: int, columns: int, **layout: Any) -> tuple[Figure, Iterable[Axes]]:
    """An empty figure of ``rows`` x ``columns`` panels; ``layout`` is that of matplotlib's grid, and ``sharex``."""
    figure = Figure(figsize=(WIDTH / DPI, HEIGHT / DPI), dpi=DPI, facecolor="white")
    FigureCanvasAgg(figure)
    figure.set_layout_engine("constrained", w_pad=0.12, h_pad=0.08, hspace=0.0, wspace=0.02)
    sharex = layout.pop("sharex", False)
    axes_of = figure.subplots(rows, columns, sharex=sharex, gridspec_kw=layout)
    for axes in axes_of:
        axes.spines[:].set_visible(False)
        axes.spines["bottom"].set(visible=True, color=HAIRLINE)
        axes.tick_params(color=HAIRLINE, labelcolor=QUIET, labelsize=9.5)
        axes.xaxis.label.set(color=QUIET, size=10)
        axes.yaxis.label.set(color=QUIET, size=10)
    return figure, axes_of


def head(axes: Axes, title: str) -> None:
    """Put ``title`` above ``axes``."""
    letter(axes.set_title(title, loc="left", fontsize=13, fontweight="bold", color=INK, pad=10))


def save(figure: Figure, path: Path) -> None:
    """Write a PNG. Raises :class:`UserError` where it cannot be written."""
    with replace_file(path) as partial:
        figure.savefig(partial, format="png", dpi=DPI)
