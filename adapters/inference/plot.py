"""Pictures: the events found in a recording over its spectrogram, and the curves of a training run.

Each technique has a lane of its own, so that nothing depends on colour alone.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import PatchCollection
from matplotlib.colors import to_rgba
from matplotlib.patches import Patch, Rectangle
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray
from scipy.fft import rfft

from etude.adapters.annotations import Annotation, Mark
from etude.adapters.errors import UserError
from etude.adapters.inference._parts.figure import HAIRLINE, INK, OKABE_ITO, PAPER_TO_INK, QUIET, head, palette, panels, save
from etude.adapters.inference._parts.lettering import legible, letter
from etude.adapters.sound.audio import probe, read_window

PAGE = 60.0
"""Seconds that one picture of a longer recording shows."""
SAMPLE_RATE = 32000
WINDOWS = (2048, 6144)
"""Samples; the dB average of a short and a long window is sharp in time and in frequency at once."""
PADDED = 8192
BANDS_PER_SEMITONE = 3
FLOOR_DB = 56.0
MOST_CURVES = 24
"""Curves of single classes are drawn up to this number of them."""
POINT = 0.02
"""Seconds that a point in time is drawn as wide as."""


def log_spectrogram(audio: NDArray[np.float32], lowest: float, highest: float, columns: int = 1400) -> NDArray[np.float32]:
    """Spectrogram on a pitch axis: ``[bands, frames]`` in dB below its maximum, within ``[-FLOOR_DB, 0]``.

    ``audio`` is mono at ``SAMPLE_RATE`` Hz; bands run from MIDI pitch ``lowest`` to ``highest``, ``BANDS_PER_SEMITONE`` each.
    """
    hop = max(64, len(audio) // columns)
    pitches = np.arange(lowest, highest, 1 / BANDS_PER_SEMITONE)
    centres = 440 * 2 ** ((pitches - 69) / 12)
    bins = np.arange(PADDED // 2 + 1) * SAMPLE_RATE / PADDED
    width = np.maximum(np.gradient(centres), bins[1])
    triangles = np.maximum(0, 1 - np.abs(bins - centres[:, None]) / width[:, None])
    # music falls by about 3 dB an octave: levelled, upper partials are as visible as fundamentals
    weights = (triangles / triangles.sum(axis=1, keepdims=True) * centres[:, None]).astype(np.float32)
    level = np.zeros((len(pitches), -(-len(audio) // hop)))
    for size in WINDOWS:
        padded = np.pad(audio, (size // 2, size - size // 2))
        framed = np.lib.stride_tricks.sliding_window_view(padded, size)[: len(audio) : hop]
        taper = np.hanning(size).astype(np.float32)
        power = np.abs(rfft(framed * (taper / taper.sum()), PADDED, axis=1)) ** 2
        level += 10 * np.log10(np.maximum(weights @ power.T, 1e-12)) / len(WINDOWS)
    return np.clip(level - max(float(level.max()), -90.0), -FLOOR_DB, 0).astype(np.float32)


def plot_events(
    audio_path: Path,
    annotation: Annotation,
    path_out: Path,
    *,
    reference: Annotation | None = None,
    labels: Sequence[str],
    start: float = 0.0,
    seconds: float = PAGE,
    title: str | None = None,
) -> None:
    """Draw a recording with the events found in it, and those of ``reference`` beside them, as a PNG of 1600 x 900 pixels.

    Above, the spectrogram with every event at its pitch (or as a line at its onset when that is unknown); below, a lane per
    class, in the order of ``labels``, and one that is filled for each class of the whole recording. ``start`` and ``seconds``
    choose a part; by default it is the first minute at most, :func:`plot_pages` draws all of it. Raises :class:`UserError` for
    unreadable audio, a part outside the recording and a picture that cannot be written.
    """
    info = probe(audio_path)
    end = min(info.duration, start + seconds)
    count = round((end - start) * SAMPLE_RATE)
    if start < 0 or count < 1:
        raise UserError(
            f"no audio from {start:g} s to {end:g} s", where=str(audio_path), fix=f"it lasts from 0 to {info.duration:.2f} s"
        )
    audio = read_window(audio_path, round(start * SAMPLE_RATE), count, SAMPLE_RATE, info)
    (shown, throughout), (known, known_throughout) = (
        [_marks(item, whole, info.duration, start, end) for whole in (False, True)] for item in (annotation, reference)
    )
    lanes = tuple(dict.fromkeys((*labels, *(mark.text for mark in (*shown, *known, *throughout, *known_throughout)))))
    colours = dict(zip(lanes, palette(len(lanes)), strict=True))

    figure, (above, below) = panels(2, 1, height_ratios=[2.0, max(0.45, min(1.7, 0.23 * len(lanes)))], sharex=True)
    _draw_spectrogram(above, audio, shown, colours, start, end)
    _draw_lanes(below, [*shown, *throughout], None if reference is None else [*known, *known_throughout], colours)
    below.set_xlim(start, end)
    below.set_xlabel("time (s)")
    head(above, title or audio_path.stem)
    if reference is not None:
        key = [
            Patch(facecolor=QUIET, edgecolor=QUIET, label="predicted"),
            Patch(facecolor="white", edgecolor=QUIET, hatch="//////", label="reference"),
        ]
        place = {"loc": "lower right", "bbox_to_anchor": (1.0, 1.005), "borderaxespad": 0.0}
        above.legend(handles=key, ncols=2, frameon=False, fontsize=9.5, labelcolor=INK, **place)
    save(figure, path_out)


def pages(path_out: Path, duration: float) -> list[Path]:
    """The pictures of a whole recording of ``duration`` seconds, ``PAGE`` at most on each: A.png, A-page-2.png, ..."""
    count = max(1, math.ceil(duration / PAGE))
    return [path_out, *(path_out.with_name(f"{path_out.stem}-page-{page}{path_out.suffix}") for page in range(2, count + 1))]


def plot_pages(audio_path: Path, annotation: Annotation, path_out: Path, *, labels: Sequence[str]) -> None:
    """Draw a whole recording as :func:`plot_events` does, on :func:`pages` of equal length and with the same lanes.

    The first page is written last: where it is, the others are. No more than a page of audio is held.
    """
    duration = probe(audio_path).duration
    paths = pages(path_out, duration)
    seconds = duration / len(paths)
    spans = [(page * seconds, (page + 1) * seconds) for page in range(len(paths))]
    marks = [mark for kind, layer in annotation.by_kind() for mark in kind.marks(layer, duration)]
    lanes = tuple(dict.fromkeys((*labels, *(mark.text for mark in marks))))
    for page, part in reversed(list(enumerate(annotation.cut(spans)))):
        title = audio_path.stem if len(paths) == 1 else f"{audio_path.stem} ({page + 1} of {len(paths)})"
        plot_events(audio_path, part, paths[page], labels=lanes, start=spans[page][0], seconds=seconds, title=title)


def _marks(annotation: Annotation | None, whole: bool, duration: float, start: float, end: float) -> list[Mark]:
    """What is seen between ``start`` and ``end`` of kinds that hold for the ``whole`` recording, or of the others."""
    kinds = [] if annotation is None else [pair for pair in annotation.by_kind() if pair[0].whole == whole]
    marks = [mark for kind, layer in kinds for mark in kind.marks(layer, duration)]
    return [mark for mark in marks if mark.start < end and (mark.end > start or mark.start >= start)]


def _draw_spectrogram(
    axes: Axes, audio: NDArray[np.float32], marks: Sequence[Mark], colours: Mapping[str, str], start: float, end: float
) -> None:
    pitches = [mark.pitch for mark in marks if mark.pitch is not None]
    lowest = max(0.0, min(pitches, default=36.0) - 5)
    highest = min(130.0, max(pitches, default=84.0) + 24)
    axes.imshow(
        log_spectrogram(audio, lowest, highest),
        origin="lower",
        aspect="auto",
        extent=(start, end, lowest, highest),
        cmap=PAPER_TO_INK,
        interpolation="bilinear",
    )
    for mark in marks:
        colour = colours[mark.text]
        if mark.pitch is None:
            axes.axvspan(mark.start, mark.end, color=colour, alpha=0.13, linewidth=0)
            axes.axvline(mark.start, color=colour, linewidth=1.4)
            continue
        place = (mark.start, mark.pitch - 0.9), mark.end - mark.start, 1.8
        axes.add_patch(Rectangle(*place, facecolor="none", edgecolor="white", linewidth=3.2, alpha=0.9))
        axes.add_patch(Rectangle(*place, facecolor=to_rgba(colour, 0.22), edgecolor=colour, linewidth=1.7))
    octaves = [12 * (octave + 1) for octave in range(9) if lowest <= 12 * (octave + 1) <= highest]
    axes.set_yticks(octaves, [f"C{pitch // 12 - 1}" for pitch in octaves])
    axes.set_ylabel("pitch")
    axes.tick_params(bottom=False, labelbottom=False)


def _draw_lanes(axes: Axes, marks: Sequence[Mark], reference: Sequence[Mark] | None, colours: Mapping[str, str]) -> None:
    half = reference is not None
    for lane, (name, colour) in enumerate(colours.items()):
        boxes = _boxes(marks, name, lane - 0.38, 0.37 if half else 0.76)
        axes.add_collection(PatchCollection(boxes, linewidth=0.8, facecolor=colour, edgecolor="white"))
        boxes = _boxes(reference or (), name, lane + 0.03, 0.35)
        axes.add_collection(PatchCollection(boxes, linewidth=0.8, facecolor="white", edgecolor=colour, hatch="//////"))
        if lane:
            axes.axhline(lane - 0.5, color=HAIRLINE, linewidth=0.8, zorder=0)
    size = 10.0 if len(colours) <= 8 else max(5.0, 80 / len(colours))
    axes.set_yticks(range(len(colours)), list(map(legible, colours)), fontsize=size)
    for text, colour in zip(axes.get_yticklabels(), colours.values(), strict=True):
        text.set(color=colour, fontweight="bold")
        letter(text)
    axes.set_ylim(max(1, len(colours)) - 0.5, -0.5)
    axes.tick_params(axis="y", length=0)
    axes.grid(axis="x", color=HAIRLINE, linewidth=0.8)
    axes.set_axisbelow(True)


def _boxes(marks: Sequence[Mark], name: str, top: float, height: float) -> list[Rectangle]:
    return [Rectangle((mark.start, top), (mark.end - mark.start) or POINT, height) for mark in marks if mark.text == name]


def plot_training(history: Sequence[Mapping[str, Any]], path_out: Path) -> None:
    """Draw the losses and the F1 of every class over the epochs as a PNG of 1600 x 900 pixels.

    A row holds ``epoch``, ``train_loss``, ``per_class_f1`` (label -> F1) and ``metric`` (the number that chooses the best
    epoch, which is marked); the last two may be ``None``. Of more than ``MOST_CURVES`` classes, none
    is drawn. Raises :class:`UserError` without any row.
    """
    if not history:
        raise UserError("there is no finished epoch to draw", fix="train for at least one epoch")
    figure, (left, right) = panels(1, 2, width_ratios=[1, 1.15])
    _curve(left, history, [row["train_loss"] for row in history], QUIET, "train")
    names = tuple(dict.fromkeys(name for row in history for name in row.get("per_class_f1") or {}))
    names = names if len(names) <= MOST_CURVES else ()
    for i, (name, colour) in enumerate(zip(names, palette(len(names)), strict=True)):
        values = [(row.get("per_class_f1") or {}).get(name) for row in history]
        _curve(right, history, values, colour, name, linestyle=("-", "--", ":")[i // len(OKABE_ITO) % 3])
    metric = [row.get("metric") for row in history]
    _curve(right, history, metric, INK, "selection metric", linewidth=2.6, linestyle=(0, (3, 1)), marker="")
    right.set_ylim(0, 1.02)
    judged = [(value, row["epoch"]) for value, row in zip(metric, history, strict=True) if value is not None]
    for axes, heading in ((left, "Loss"), (right, "F1 on validation data")):
        head(axes, heading)
        if judged:
            best = max(judged, key=lambda pair: pair[0])[1]
            axes.axvline(best, color=HAIRLINE, linewidth=7, zorder=0, label=f"best epoch ({best})")
        axes.set_xlabel("epoch")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.grid(axis="y", color=HAIRLINE, linewidth=0.8)
        if axes.lines:
            legend = axes.legend(facecolor="white", edgecolor="white", framealpha=0.9, fontsize=9.5, labelcolor=INK)
            letter(*legend.get_texts())
    save(figure, path_out)


def _curve(
    axes: Axes, rows: Sequence[Mapping[str, Any]], values: Sequence[float | None], colour: str, label: str, **style: Any
) -> None:
    points = [(row["epoch"], value) for row, value in zip(rows, values, strict=True) if value is not None]
    if points:
        look = {"linewidth": 1.8, "marker": "o" if len(points) <= 30 else "", "markersize": 3.5, **style}
        axes.plot(*zip(*points, strict=True), color=colour, label=label, **look)
