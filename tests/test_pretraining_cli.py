"""`adapt pretrain` for a user with bad luck: one line that says what, where and how to fix it, before anything is written."""

import ctypes.util
import re
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pretty_midi
import pytest
import soundfile
from accelerate import Accelerator
from typer.testing import CliRunner

from etude.adapters.pretraining.soundfonts import SoundFonts
from etude.cli.app import app

try:
    import fluidsynth
except (ImportError, OSError):
    fluidsynth = None

needs_synthesiser = pytest.mark.skipif(fluidsynth is None, reason="FluidSynth is not installed")
SOUNDFONT = Path(pretty_midi.__file__).parent / "TimGM6mb.sf2"
RECIPE = """
name: toy
soundfonts: [{{path: {soundfont}, title: Tim, licence: gpl-2.0}}]
recordings: {{notes: {notes}, sources: [own]}}
shape: {{conv_dim: [8, 8, 8, 8, 8, 8, 8], hidden_size: 16, num_hidden_layers: 1, num_attention_heads: 2, intermediate_size: 32}}
clips: {{seconds: 0.3}}
train: {{steps: 2, batch_size: 3}}
"""
RATE = 8000


@pytest.fixture
def recipe(tmp_path, monkeypatch):
    """A sound recipe with three recorded notes, in the current folder."""
    monkeypatch.chdir(tmp_path)
    lines = ["path,source,instrument,technique,midi,split,licence"]
    for name in ("a", "b", "c"):
        soundfile.write(tmp_path / f"{name}.flac", np.random.default_rng(0).uniform(-0.5, 0.5, RATE), RATE)
        lines.append(f"{name}.flac,own,lute,plucked,40,train,CC0-1.0")
    (tmp_path / "notes.csv").write_text("\n".join(lines) + "\n")
    path = tmp_path / "toy.yaml"
    path.write_text(RECIPE.format(soundfont=SOUNDFONT, notes=tmp_path / "notes.csv"))
    return path


def soundfont(path):
    """The override that takes ``path`` for the only SoundFont."""
    return f"soundfonts=[{{path: '{path}', title: mine, licence: mit}}]"


def error(*arguments, command="pretrain"):
    """The one line of a call that must end with exit code 2; a traceback fails the test that calls it."""
    before = sorted(Path().rglob("*"))
    result = CliRunner().invoke(app, [command, *map(str, arguments)], catch_exceptions=False)
    assert (result.exit_code, result.stdout) == (2, ""), (result.exit_code, result.stdout, result.stderr)
    assert sorted(Path().rglob("*")) == before, "nothing is written"
    (line,) = result.stderr.splitlines()
    return line.removeprefix("error: ")


@needs_synthesiser
@pytest.mark.parametrize(
    ("path", "remedy"),
    [
        ("sounds/FluidR3_GM.sf2", "apt install fluid-soundfont-gm"),
        ("sounds/MuseScore_General.sf3", "apt install musescore-general-soundfont"),
        ("sounds/mine.sf2", "check the path"),
    ],
)
def test_a_missing_soundfont_names_its_package(recipe, path, remedy):
    assert error(recipe, soundfont(path)) == f"{path}: no such SoundFont ({remedy})"


@needs_synthesiser
def test_a_file_that_is_no_soundfont(recipe):
    fix = "(give a whole .sf2 or .sf3 file)"
    assert error(recipe, soundfont("a.flac")) == f"a.flac: is not a SoundFont, or not all of one {fix}"
    Path("empty.sf2").write_bytes(b"")
    assert "empty.sf2: is not a SoundFont" in error(recipe, soundfont("empty.sf2"))
    soundfile.write("a.wav", np.zeros(9), RATE)
    assert error(recipe, soundfont("a.wav")) == f"a.wav: is not a SoundFont {fix}"


@needs_synthesiser
def test_soundfonts_without_instruments(recipe, monkeypatch):
    monkeypatch.setattr(SoundFonts, "_instruments", lambda self: ())
    assert error(recipe) == f"{SOUNDFONT}: holds no instrument of General MIDI (add a SoundFont that does)"


def test_pyfluidsynth_is_missing(recipe, monkeypatch):
    monkeypatch.setitem(sys.modules, "fluidsynth", None)
    assert error(recipe) == "pyfluidsynth is not installed (pip install 'etude[pretrain]')"


@pytest.mark.skipif(find_spec("fluidsynth") is None, reason="pyfluidsynth is not installed")
def test_the_synthesiser_is_missing(recipe, monkeypatch):
    monkeypatch.delitem(sys.modules, "fluidsynth", raising=False)
    monkeypatch.delenv("HOMEBREW_PREFIX", raising=False)
    monkeypatch.setattr(ctypes.util, "find_library", lambda name: None)
    assert error(recipe).startswith("the library FluidSynth is not installed (apt install libfluidsynth3;")


@needs_synthesiser
def test_audiomentations_is_missing(recipe, monkeypatch):
    monkeypatch.setitem(sys.modules, "audiomentations", None)
    assert error(recipe) == "audiomentations is not installed (pip install 'etude[pretrain]')"


def test_faulty_recordings_are_found_before_training(recipe, tmp_path):
    note, sound = tmp_path / "b.flac", (tmp_path / "b.flac").read_bytes()
    soundfile.write(note, np.zeros(RATE), RATE)
    assert error(recipe) == f"{note}: is silent (remove its row)"
    note.write_bytes(sound[: len(sound) // 2])
    assert re.match(f"{note}: .*(decode|truncated)", error(recipe))
    note.write_bytes(b"")
    assert error(recipe).startswith(f"{note}: cannot be read as audio")
    note.write_bytes(b"nothing that sounds")
    assert error(recipe).startswith(f"{note}: cannot be read as audio")
    note.unlink()
    assert error(recipe) == f"{tmp_path / 'notes.csv'}:3: no such audio file: {note} (correct the path)"


def test_a_selection_without_notes(recipe, tmp_path):
    table = tmp_path / "notes.csv"
    assert error(recipe, "recordings.sources=[onw]") == f"{table}: no note of the source 'onw' (did you mean 'own'?)"
    table.write_text(table.read_text().replace("train", "test"))
    assert error(recipe) == f"{table}: no note is left to learn from (widen recordings.sources)"
    table.unlink()
    assert error(recipe) == f"{table}: cannot be read: No such file or directory (check the path)"


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("recordngs=null", "toy.yaml: recordngs: unknown key 'recordngs' (did you mean 'recordings'?)"),
        ("train.step=3", "toy.yaml: train.step: unknown key 'step' (did you mean 'steps'?)"),
        ("recordings.split=test", "toy.yaml: recordings.split: should be 'train', got 'test'"),
        ("soundfonts=[]", "toy.yaml: soundfonts: should hold at least 1, got []"),
        (soundfont("${NOT_SET}/a.sf2"), "toy.yaml: soundfonts.0.path: the environment variable NOT_SET is not set"),
        ("soundfonts.0.lisence=mit", "toy.yaml: soundfonts.0.lisence: unknown key 'lisence' (did you mean 'licence'?)"),
        ("soundfonts=[a.sf2]", "toy.yaml: soundfonts.0: should be a section of 'key: value' lines, got 'a.sf2'"),
        ("soundfonts=[{path: a.sf2, title: a}]", "toy.yaml: soundfonts.0.licence: is missing (add 'licence:')"),
        ("shape.num_attention_heads=3", "toy.yaml: shape: hidden_size must be a multiple of num_attention_heads"),
        ("shape.conv_stride=[5, 2]", "toy.yaml: shape: conv_dim, conv_kernel and conv_stride must be equally long"),
        ("shape.conv_stride=[9, 9, 9, 2, 2, 2, 2]", "toy.yaml: shape: conv_stride must leave at least 10 frames per second"),
        ("concatenation.notes=[3, 2]", "toy.yaml: concatenation.notes: should hold the smaller number first"),
        ("effects.noise_db=[60, 15]", "toy.yaml: effects.noise_db: should hold the smaller number first"),
        ("clips.parts=[0, 0]", "toy.yaml: clips.parts: should hold a number above 0"),
        (
            "targets={instrument: null, pitch: null, onset: null, technique: null, spectrum: null}",
            "toy.yaml: targets: at least one target must be left in",
        ),
        ("targets.pitch=0", "toy.yaml: targets.pitch: should be a section of 'key: value' lines, got 0"),
        ("targets.pitch.weight=0", "toy.yaml: targets.pitch.weight: should be greater than 0, got 0"),
        ("targets.pich=null", "toy.yaml: targets.pich: unknown key 'pich' (did you mean 'pitch'?)"),
        ("targets.pitch.layer=-1", "toy.yaml: targets.pitch.layer: should be greater than or equal to 0, got -1"),
        ("targets.pitch.layer=2", "toy.yaml: targets.pitch.layer must be at most 1, the number of blocks"),
        ("targets.context.layer=2", "toy.yaml: targets.context.layer must be at most 1, the number of blocks"),
        ("name=a/b", "toy.yaml: name: 'a/b' may hold letters"),
    ],
)
def test_mistakes_in_a_recipe(recipe, override, expected):
    assert error(recipe, override).startswith(expected)


def test_recipes_of_the_other_command(recipe):
    assert error("demo") == "demo.yaml: is a recipe for training an adapter (use it with 'adapt train')"
    expected = "toy.yaml: is a recipe for pretraining a backbone (use it with 'adapt pretrain')"
    assert error(recipe, command="train") == expected
    assert error("nothing.yaml").startswith("nothing.yaml: no such recipe (")
    recipe.write_text("- a list\n")
    assert error(recipe).startswith("toy.yaml: is not a YAML mapping")


def test_a_backbone_is_not_replaced_unasked(recipe):
    Path("mine").mkdir()
    Path("mine/config.json").write_text("{}")
    assert error(recipe, "--out", "mine").startswith("--out mine: holds a backbone already (name another folder with --out")
    for option in ("--out", "--run"):
        assert re.match(rf"{option} .*a\.flac: is a file, not a folder", error(recipe, option, "a.flac"))


def test_a_batch_that_two_processes_cannot_share(recipe, monkeypatch):
    monkeypatch.setattr(Accelerator, "num_processes", property(lambda self: 2))
    assert error(recipe) == "train.batch_size: 3 clips cannot be split over 2 processes (choose a multiple of 2)"


def test_a_damaged_checkpoint(recipe):
    Path("runs/toy").mkdir(parents=True)
    Path("runs/toy/checkpoint.pt").write_bytes(b"half a file")
    assert re.match(r"runs/toy/checkpoint\.pt: is damaged .*pass --fresh", error(recipe))
