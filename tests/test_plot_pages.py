"""Long recordings on several pages, and names in scripts that matplotlib's own font lacks."""

from pathlib import Path

import numpy as np
import pytest
import soundfile
from fontTools.fontBuilder import FontBuilder
from fontTools.pens.ttGlyphPen import TTGlyphPen
from matplotlib import image
from matplotlib.colors import to_rgb
from matplotlib.font_manager import fontManager

from etude.adapters.annotations import Annotation
from etude.adapters.annotations.notes import Note
from etude.adapters.inference import plot
from etude.adapters.inference._parts import lettering
from etude.adapters.inference._parts.figure import OKABE_ITO
from etude.adapters.inference.plot import pages, plot_events, plot_pages
from etude.adapters.sound import audio


@pytest.fixture
def recording(tmp_path: Path) -> Path:
    path = tmp_path / "take.wav"
    soundfile.write(path, np.random.default_rng(0).normal(0, 0.1, 25 * 4000), 4000)
    return path


def drawn(path: Path, colour: str) -> np.ndarray:
    """Columns of the lanes in which a colour is."""
    picture = image.imread(path)[450:, 250:, :3]
    mask = np.abs(picture - np.array(to_rgb(colour))).max(axis=2) < 0.01
    return np.flatnonzero(mask.sum(axis=0) > 10)


@pytest.mark.parametrize(("duration", "count"), [(0.01, 1), (60, 1), (60.01, 2), (3 * 3600, 180)])
def test_a_page_shows_a_minute_at_most(duration: float, count: int) -> None:
    paths = pages(Path("out/a.b.png"), duration)
    assert len(set(paths)) == count
    assert [path.name for path in paths[:3]] == ["a.b.png", "a.b-page-2.png", "a.b-page-3.png"][:count]


def test_every_second_is_on_one_page(recording: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An event a page, each in the middle of it; of the audio, no more is read at a time than a page."""
    read = []
    real = audio.read_window
    monkeypatch.setattr(plot, "PAGE", 10.0)
    monkeypatch.setattr(plot, "read_window", lambda *arguments: read.append(arguments[2]) or real(*arguments))
    middles = [25 / 3 * (page + 0.5) for page in range(3)]
    annotation = Annotation(notes=[Note(middle - 1, middle + 1, 60, f"{i}") for i, middle in enumerate(middles)])
    plot_pages(recording, annotation, tmp_path / "a.png", labels=())
    assert sorted(path.name for path in tmp_path.glob("*.png")) == ["a-page-2.png", "a-page-3.png", "a.png"]
    assert max(read) <= 25 / 3 * plot.SAMPLE_RATE + 1
    assert sum(read) == pytest.approx(25 * plot.SAMPLE_RATE, abs=3)
    for page, path in enumerate(pages(tmp_path / "a.png", 25.0)):
        found = [len(drawn(path, colour)) for colour in OKABE_ITO[:3]]
        assert [count > 0 for count in found] == [index == page for index in range(3)]
        columns = drawn(path, OKABE_ITO[page])
        assert len(columns) / 1350 == pytest.approx(2 / (25 / 3), abs=0.03)


def test_the_first_page_is_written_last(recording: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written = []
    monkeypatch.setattr(plot, "PAGE", 10.0)
    monkeypatch.setattr(plot, "save", lambda figure, path: written.append(path.name))
    plot_pages(recording, Annotation(), tmp_path / "a.png", labels=("x",))
    assert written == ["a-page-3.png", "a-page-2.png", "a.png"]


@pytest.fixture
def fresh_fonts():
    """What is known of fonts, forgotten before and after."""
    for known in (lettering._family, lettering._characters):
        known.cache_clear()
    before = list(fontManager.ttflist)
    yield
    fontManager.ttflist[:] = before
    for known in (lettering._family, lettering._characters):
        known.cache_clear()


@pytest.fixture
def no_chinese(fresh_fonts):
    """A system on which no font has Chinese."""
    fontManager.ttflist[:] = [font for font in fontManager.ttflist if ord("颤") not in lettering._characters(font.fname)]


@pytest.fixture
def chinese(no_chinese, tmp_path):
    """A font whose 颤 is a filled square and whose 音 is a bar at its foot, installed beside matplotlib's own."""

    def glyph(top):
        pen = TTGlyphPen(None)
        pen.moveTo((0, 0)), pen.lineTo((0, top)), pen.lineTo((1000, top)), pen.lineTo((1000, 0)), pen.closePath()
        return pen.glyph()

    builder = FontBuilder(1000, isTTF=True)
    builder.setupGlyphOrder([".notdef", "full", "foot"])
    builder.setupCharacterMap({ord("颤"): "full", ord("音"): "foot"})
    builder.setupGlyf({".notdef": glyph(0), "full": glyph(1000), "foot": glyph(200)})
    builder.setupHorizontalMetrics(dict.fromkeys((".notdef", "full", "foot"), (1000, 0)))
    builder.setupHorizontalHeader(ascent=1000, descent=0)
    builder.setupNameTable({"familyName": "Squares", "styleName": "Regular"})
    builder.setupOS2(), builder.setupPost()
    builder.save(tmp_path / "squares.ttf")
    fontManager.addfont(tmp_path / "squares.ttf")
    lettering._family.cache_clear()


def title_of(recording: Path, tmp_path: Path, name: str) -> np.ndarray:
    """The picture's pixels above the spectrogram, dark ones true."""
    plot_events(recording, Annotation(), tmp_path / "a.png", labels=(name,), title=name)
    return image.imread(tmp_path / "a.png")[:55, :, :3].sum(axis=2) < 1.0


def test_characters_come_from_a_font_that_has_them(chinese, recording: Path, tmp_path: Path) -> None:
    assert lettering.undrawable("颤音 é") == ""
    full, foot = (title_of(recording, tmp_path, name) for name in ("颤", "音"))
    assert full.sum() > 300  # a filled square, not the outline of a box
    rows = np.flatnonzero(full.any(axis=1))
    assert full[rows[0] : rows[-1]].any(axis=0).sum() * len(rows) == pytest.approx(full.sum(), rel=0.15)
    assert foot.sum() == pytest.approx(0.2 * full.sum(), rel=0.35)


def test_without_such_a_font_names_are_code_points_and_no_warning_is_given(
    no_chinese, recording: Path, tmp_path: Path, recwarn: pytest.WarningsRecorder
) -> None:
    assert lettering.undrawable("颤 a 音颤\n") == "颤音"
    assert lettering.legible("颤 é") == "\\u98a4 é"
    assert (title_of(recording, tmp_path, "颤") == title_of(recording, tmp_path, "\\u98a4")).all()
    assert not [str(warning.message) for warning in recwarn if "Glyph" in str(warning.message)]
