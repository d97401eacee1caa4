"""A small data set whose techniques are easy to tell apart, and a recipe for it."""

import atexit
import json
import os
import shutil
import tempfile
from importlib.metadata import EntryPoint
from pathlib import Path

import numpy as np
import pytest
import soundfile

from etude.adapters.annotations import Annotation
from etude.adapters.annotations.notes import Note
from etude.adapters.formats.csv import write_records

os.environ.setdefault("ACCELERATE_USE_CPU", "true")
# Nothing of what the tests compute mixes with what the user keeps.
os.environ["ETUDE_CACHE"] = tempfile.mkdtemp(prefix="etude-test-cache-")
atexit.register(shutil.rmtree, os.environ["ETUDE_CACHE"], ignore_errors=True)
# The models are tiny: one thread each is several times faster than two that wait for each other.
os.environ.setdefault("OMP_NUM_THREADS", "1")
RATE = 16000


def toy_phrase(rng, seconds=4.0):
    """Notes of two techniques: steady tones (``tone``) and tones under noise (``buzz``); audio and its labels."""
    audio, notes, time = rng.normal(0, 1e-4, int(seconds * RATE)), [], 0.1
    while time < seconds - 0.5:
        length, pitch = rng.uniform(0.25, 0.45), int(rng.integers(55, 67))
        start, stop = int(time * RATE), int((time + length) * RATE)
        t = np.arange(stop - start) / RATE
        technique = ("tone", "buzz")[int(rng.integers(2))]
        wave = np.sin(2 * np.pi * 440 * 2 ** ((pitch - 69) / 12) * t) * np.exp(-3 * t)
        if technique == "buzz":
            wave = wave + rng.normal(0, 0.5, len(t))
        audio[start:stop] += 0.3 * wave
        notes.append(Note(time, time + length, pitch, technique))
        time += length + rng.uniform(0.03, 0.2)
    return audio.astype(np.float32), notes


def write_toy_dataset(root: Path, counts: dict[str, int], seconds: float = 4.0) -> Path:
    """A manifest data set in ``root``; returns the manifest's path."""
    rng, rows = np.random.default_rng(0), ["audio,events,split"]
    root.mkdir(parents=True, exist_ok=True)
    for split, count in counts.items():
        for index in range(count):
            audio, notes = toy_phrase(rng, seconds)
            soundfile.write(root / f"{split}{index}.wav", audio, RATE)
            write_records(root / f"{split}{index}.csv", Annotation(notes=notes))
            rows.append(f"{split}{index}.wav,{split}{index}.csv,{split}")
    (root / "manifest.csv").write_text("\n".join(rows) + "\n")
    return root / "manifest.csv"


RECIPE = """
name: toy
seed: 1
data: {{name: manifest, root: {root}, licence: CC0-1.0}}
backbone: {{name: whisper, weights: "random:tiny", window: 2.0}}
method: {{name: heads_only}}
heads: {{technique: {{hidden: 32, judge: frames}}}}
train: {{epochs: 3, batch_size: 4, lr: 5.0e-3, overlap: 0.5, precision: fp32}}
"""


LONGEST = ("test_distributed.py", "test_engine.py", "test_plugin.py", "test_predict_tables.py", "test_feature_store.py")


def pytest_collection_modifyitems(items):
    """Long tests go first: at the end, processes take over short ones from each other, and none is waited for."""
    items.sort(key=lambda item: item.path.name not in LONGEST)


@pytest.fixture(scope="session")
def toy_root(tmp_path_factory):
    root = tmp_path_factory.mktemp("toy")
    write_toy_dataset(root, {"train": 6, "validation": 2, "test": 2})
    return root


@pytest.fixture(scope="session")
def toy_recipe(toy_root):
    """A function from overrides to a recipe for the toy data."""
    from etude.adapters.recipe.schema import parse_recipe

    return lambda *overrides: parse_recipe(RECIPE.format(root=toy_root), overrides)


@pytest.fixture(scope="session")
def folders(tmp_path_factory):
    """A function from the arguments of an adapter to its folder, which is made once."""
    root, made = tmp_path_factory.mktemp("adapters"), {}

    def get(name, **arguments):
        key = (name, json.dumps(arguments))
        if key not in made:
            from made_adapters import make_adapter

            made[key] = make_adapter(root / str(len(made)) / name, name=name, **arguments)
        return made[key]

    return get


@pytest.fixture(scope="session")
def take(tmp_path_factory):
    """A function from a length in seconds to a recording."""
    root = tmp_path_factory.mktemp("takes")

    def write(seconds):
        path = root / f"{seconds}.wav"
        if not path.exists():
            times = np.arange(round(seconds * 8000)) / 8000
            noise = np.random.default_rng(round(100 * seconds)).normal(0, 0.3, len(times))
            soundfile.write(path, 0.3 * np.sin(2 * np.pi * 300 * times) + noise * (np.sin(9 * times) > 0), 8000)
        return path

    return write


@pytest.fixture
def store(tmp_path):
    """A store of frozen states, with room for all of them."""
    from etude.adapters.storage.feature_store import FeatureStore

    return FeatureStore(tmp_path / "features", 1.0)


@pytest.fixture
def points(monkeypatch):
    """The kind of annotation of the plug-in, registered as an installation does."""
    from etude.adapters import registry
    from etude.adapters.annotations import kind_of

    entry = EntryPoint("points", "plugin.etude_points.kind", "etude.annotations")
    with monkeypatch.context() as patch:
        patch.setattr(registry, "_plugins", lambda folder: {"points": [entry]} if folder == "annotations" else {})
        yield kind_of("points")
    for known in (registry.find, kind_of):
        known.cache_clear()


@pytest.fixture
def plugged(monkeypatch):
    """The examples of the documents and the plug-in of these tests, all registered."""
    from pages import DOCS, ROOT

    from etude.adapters import registry

    values = {
        "annotations": {"points": "etude_points.kind"},
        "backbones": {"random_filters": "random_filters"},
        "datasets": {"clicks": "etude_points.dataset"},
        "formats": {"lab": "lab"},
        "heads": {"point_finder": "etude_points.head"},
        "methods": {"channel_gain": "channel_gain"},
        "regularizers": {"smooth_mix": "smooth_mix"},
    }
    for place in (DOCS / "examples", ROOT / "tests" / "plugin"):
        monkeypatch.syspath_prepend(str(place))
    with monkeypatch.context() as patch:
        found = {
            folder: {name: [EntryPoint(name, value, f"etude.{folder}")] for name, value in own.items()}
            for folder, own in values.items()
        }
        patch.setattr(registry, "_plugins", found.__getitem__)
        registry.find.cache_clear()
        yield
    registry.find.cache_clear()
