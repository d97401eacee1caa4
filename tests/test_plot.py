"""Pictures are read back as pixels: size, something drawn, and each event in its colour at its time."""

from pathlib import Path

import numpy as np
import pytest
import soundfile
from matplotlib import image
from matplotlib.colors import to_rgb

from etude.adapters.annotations import Annotation, Kind
from etude.adapters.annotations.notes import Note
from etude.adapters.annotations.tags import Tag
from etude.adapters.errors import UserError
from etude.adapters.inference._parts.figure import OKABE_ITO
from etude.adapters.inference.plot import (
    FLOOR_DB,
    MOST_CURVES,
    SAMPLE_RATE,
    log_spectrogram,
    plot_events,
    plot_training,
)

LABELS = ("arco", "pizzicato")
EVENTS = Annotation(notes=(Note(0.1, 0.4, 57, "arco"), Note(0.5, 0.9, 69, "pizzicato")))


def tone(frequency: float, seconds: float, rate: int) -> np.ndarray:
    return (0.3 * np.sin(2 * np.pi * frequency * np.arange(int(seconds * rate)) / rate)).astype(np.float32)


@pytest.fixture(scope="module")
def second(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("audio") / "one second.wav"
    soundfile.write(path, tone(220, 1.0, 16000), 16000)
    return path


def pixels(path: Path) -> np.ndarray:
    picture = image.imread(path)[..., :3]
    assert picture.shape == (900, 1600, 3)
    assert picture.std() > 0.03
    return picture


def where(picture: np.ndarray, colour: str) -> np.ndarray:
    """Mask ``[900, 1600]`` of the pixels that have exactly this colour."""
    return np.abs(picture - np.array(to_rgb(colour))).max(axis=2) < 0.01


@pytest.mark.parametrize("midi", [33, 45.5, 60, 81, 104])
def test_spectrogram_puts_a_tone_at_its_pitch(midi: float) -> None:
    level = log_spectrogram(tone(440 * 2 ** ((midi - 69) / 12), 1.0, SAMPLE_RATE), 24, 112)
    middle = level[:, level.shape[1] // 2]
    assert 24 + middle.argmax() / 3 == pytest.approx(midi, abs=0.51)
    assert level.max() == 0
    assert level.min() >= -FLOOR_DB


def test_spectrogram_puts_an_onset_at_its_time() -> None:
    audio = np.concatenate([np.zeros(SAMPLE_RATE, np.float32), tone(440, 1.0, SAMPLE_RATE)])
    level = log_spectrogram(audio, 60, 80)[27]
    onset = np.argmax(level > -12) / len(level) * 2
    assert onset == pytest.approx(1.0, abs=0.03)


def test_spectrogram_of_silence_is_finite() -> None:
    assert np.isfinite(log_spectrogram(np.zeros(5000, np.float32), 24, 112)).all()


def test_events_are_in_their_lane_at_their_time(second: Path, tmp_path: Path) -> None:
    plot_events(second, EVENTS, tmp_path / "a.png", labels=LABELS)
    picture = pixels(tmp_path / "a.png")
    lanes = [where(picture, colour)[500:, 250:] for colour in OKABE_ITO[:2]]
    spans = [np.flatnonzero(mask.sum(axis=0) > 20)[[0, -1]] for mask in lanes]
    rows = [np.flatnonzero(mask.sum(axis=1) > 20).mean() for mask in lanes]
    assert rows[0] < rows[1]
    per_second = (spans[1][0] - spans[0][0]) / 0.4
    assert (spans[0][1] - spans[0][0]) / per_second == pytest.approx(0.3, abs=0.01)
    assert (spans[1][1] - spans[1][0]) / per_second == pytest.approx(0.4, abs=0.01)


def test_reference_is_drawn_beside_the_prediction(second: Path, tmp_path: Path) -> None:
    plot_events(second, Annotation(), tmp_path / "without.png", labels=LABELS)
    plot_events(second, Annotation(), tmp_path / "with.png", labels=LABELS, reference=EVENTS)
    hatched = [where(pixels(tmp_path / name), OKABE_ITO[0])[:, 250:].sum() for name in ("without.png", "with.png")]
    assert hatched[0] == 0
    assert hatched[1] > 500


def test_events_without_pitch_span_the_spectrogram(second: Path, tmp_path: Path) -> None:
    notes = tuple(Note(note.onset, note.offset, None, note.technique) for note in EVENTS.notes)
    plot_events(second, Annotation(notes=notes), tmp_path / "a.png", labels=LABELS)
    line = where(pixels(tmp_path / "a.png"), OKABE_ITO[0])[60:500, 200:].sum(axis=0)
    assert line.max() > 400


def test_events_outside_the_labels_get_a_lane(second: Path, tmp_path: Path) -> None:
    plot_events(
        second, Annotation(notes=(Note(0.2, 0.6, 60, "spiccato"), Note(0.6, 0.8))), tmp_path / "a.png", labels=("arco",)
    )
    picture = pixels(tmp_path / "a.png")
    assert where(picture, OKABE_ITO[1])[:, 250:].sum() > 500
    assert where(picture, OKABE_ITO[2])[:, 250:].sum() > 500


def test_extreme_pitches_many_labels_and_no_events(second: Path, tmp_path: Path) -> None:
    plot_events(second, Annotation(notes=(Note(0, 1, 0, "a"), Note(0, 1, 127, "b"))), tmp_path / "a.png", labels=())
    plot_events(second, Annotation(), tmp_path / "b.png", labels=[f"technique {i}" for i in range(25)])
    plot_events(second, Annotation(), tmp_path / "c.png", labels=())
    for name in "abc":
        pixels(tmp_path / f"{name}.png")


def test_dollars_in_names_are_no_formulas(second: Path, tmp_path: Path) -> None:
    name = r"a$\frac$b"
    plot_events(second, Annotation(notes=(Note(0.2, 0.6, 60, name),)), tmp_path / "a.png", labels=(name,), title=name)
    plot_training([{"epoch": 1, "train_loss": 1.0, "per_class_f1": {name: 0.5}}], tmp_path / "b.png")


def test_only_the_part_asked_for_is_drawn(second: Path, tmp_path: Path) -> None:
    plot_events(second, EVENTS, tmp_path / "a.png", labels=LABELS, start=0.5, seconds=0.4)
    picture = pixels(tmp_path / "a.png")
    assert where(picture, OKABE_ITO[0])[:, 250:].sum() == 0
    assert where(picture, OKABE_ITO[1])[:, 250:].sum() > 500


@pytest.mark.parametrize(("start", "seconds"), [(1.5, 60.0), (-1.0, 60.0), (0.5, 0.0), (0.5, 1e-6)])
def test_part_outside_the_recording(second: Path, tmp_path: Path, start: float, seconds: float) -> None:
    with pytest.raises(UserError, match=r"no audio from .* lasts from 0 to 1\.00 s"):
        plot_events(second, EVENTS, tmp_path / "a.png", labels=LABELS, start=start, seconds=seconds)


def test_unwritable_path(second: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="cannot be written"):
        plot_events(second, EVENTS, tmp_path / "nowhere" / "a.png", labels=LABELS)
    with pytest.raises(UserError, match="cannot be written"):
        plot_training([{"epoch": 1, "train_loss": 1.0}], tmp_path / "nowhere" / "a.png")


def test_training_curves(tmp_path: Path) -> None:
    history = [
        {
            "epoch": epoch,
            "train_loss": 1 / epoch,
            "per_class_f1": None if epoch % 2 else {"arco": 0.5, "pizzicato": 1 - 1 / epoch},
            "metric": None if epoch % 2 else 0.6,
        }
        for epoch in range(1, 9)
    ]
    plot_training(history, tmp_path / "a.png")
    picture = pixels(tmp_path / "a.png")
    left, right = picture[:, :700], picture[:, 800:]
    for colour in OKABE_ITO[:2]:
        assert where(left, colour).sum() == 0
        assert where(right, colour).sum() > 200


def test_training_without_validation(tmp_path: Path) -> None:
    row = {"epoch": 1, "train_loss": 1.0, "per_class_f1": None, "metric": None}
    plot_training([row], tmp_path / "a.png")
    assert image.imread(tmp_path / "a.png").shape[:2] == (900, 1600)


def test_training_without_epochs(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no finished epoch"):
        plot_training([], tmp_path / "a.png")


def test_tags_fill_a_lane_each_and_nothing_of_the_spectrogram(second: Path, tmp_path: Path) -> None:
    plot_events(second, Annotation(tags=[Tag("cello"), Tag("oboe")]), tmp_path / "a.png", labels=())
    plot_events(second, Annotation(tags=()), tmp_path / "b.png", labels=(), reference=Annotation(tags=[Tag("cello")]))
    picture = pixels(tmp_path / "a.png")
    for colour in OKABE_ITO[:2]:
        drawn = where(picture, colour)
        assert drawn[60:450, 250:].sum() == 0
        assert drawn[450:, 250:].sum(axis=1).max() > 1200
    assert where(pixels(tmp_path / "b.png"), OKABE_ITO[0])[450:, 250:].sum() > 500


def test_of_very_many_classes_no_curve_is_drawn(tmp_path: Path) -> None:
    for count, drawn in ((MOST_CURVES, True), (MOST_CURVES + 1, False)):
        per_class = {f"class {i}": 0.5 for i in range(count)}
        row = {"train_loss": 1.0, "per_class_f1": per_class, "metric": 0.6}
        plot_training([{"epoch": 1, **row}, {"epoch": 2, **row}], tmp_path / "a.png")
        assert (where(pixels(tmp_path / "a.png")[:, 800:], OKABE_ITO[1]).sum() > 0) == drawn


def test_points_in_time_are_lines_above_and_boxes_of_some_width_below(second: Path, tmp_path: Path, points: Kind) -> None:
    from plugin.etude_points.kind import Point

    plot_events(second, Annotation(points=[Point(0.25, "a"), Point(0.75, "b")]), tmp_path / "a.png", labels=("a", "b"))
    picture = pixels(tmp_path / "a.png")
    columns = [np.flatnonzero(where(picture, colour)[450:, 250:].sum(axis=0) > 20) for colour in OKABE_ITO[:2]]
    lines = [np.flatnonzero(where(picture, colour)[60:450, 250:].sum(axis=0) > 300) for colour in OKABE_ITO[:2]]
    for line, box in zip(lines, columns, strict=True):
        assert 1 <= len(line) <= 4
        assert 10 < len(box) < 60
        assert line[0] == pytest.approx(box[0], abs=4)
