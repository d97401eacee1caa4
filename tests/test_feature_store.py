"""Frozen states are computed once, are never taken for others, and survive what happens to files."""

import json
import os
import re
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from accelerate import Accelerator

from etude.adapters.errors import UserError
from etude.adapters.model.build import build_dataset
from etude.adapters.states.frozen_states import frozen_states
from etude.adapters.states.window_features import Source, WindowFeatures
from etude.adapters.states.window_set import WindowSet
from etude.adapters.storage.feature_store import FeatureStore
from etude.adapters.storage.row_file import RowFile
from etude.adapters.training.engine import untrained_model

LORA = "method={name: lora, blocks: last 1}"


class Bench:
    """A model on toy tracks, its windows, and the number of windows whose states it has computed."""

    def __init__(self, recipe, store, split="train", overlap=None, **settings):
        dataset = build_dataset(recipe)
        tracks = dataset.tracks(split)
        self.model = untrained_model(recipe, dataset, dataset.tracks("train"))
        self.windows = WindowSet(tracks, self.model.backbone, overlap, recipe.train.augment)
        self.computed, self.said = 0, []
        real = self.model.frozen_states

        def counted(audio, lengths):
            self.computed += len(audio)
            return real(audio, lengths)

        self.model.frozen_states = counted
        source = frozen_states(self.model, self.model.backbone.fingerprint())
        self.states = WindowFeatures(source, self.windows, store, say=self.said.append, **settings)

    def fill(self, check=lambda: None):
        done = []
        self.states.fill(Accelerator(), done.append, check)
        return sum(done)

    @property
    def rows(self):
        return list(range(self.windows.rows))

    def exact(self):
        """The states of all rows, computed here and now."""
        return torch.stack(self.states.source.compute(*self.windows.audio(self.rows)), dim=1)

    def read(self, rows):
        """The states of some rows as the store has them, ``[rows, parts, ...]``."""
        return torch.stack(self.states(rows), dim=1)


@pytest.fixture
def store(tmp_path):
    return FeatureStore(tmp_path / "features", 1.0)


def parts(store):
    return sorted(f"{path.parent.name}/{path.stem}" for path in store.root.glob("*/*.rows"))


@pytest.mark.parametrize("backbone", ["backbone={name: mert, weights: 'random:tiny', window: 2.0}", "seed=1"])
def test_stored_states_are_those_computed(toy_recipe, store, backbone):
    bench = Bench(toy_recipe(backbone), store)
    assert bench.fill() == len(bench.windows)
    computed = bench.exact()
    bench.computed = 0
    assert (bench.read(bench.rows) - computed).abs().max() <= 2**-11 * computed.abs().max()
    assert torch.equal(bench.read([3, 1, 3]), bench.read(bench.rows)[[3, 1, 3]])
    assert bench.computed == 0


def test_in_single_precision_they_are_exact_and_so_are_losses_and_gradients(toy_recipe, store):
    """In half precision the states are off by up to 2^-11 of their size, losses by 1e-3 and gradients by 1e-2 of theirs."""
    recipe = toy_recipe("method={name: lora, blocks: last 1}")
    results = {}
    for dtype, where in (("float32", store), ("float16", store), ("computed", None)):
        bench = Bench(recipe, where, dtype="float32" if dtype == "computed" else dtype)
        bench.fill()
        rows = bench.rows[:4]  # the store computes four at a time as well: the same sums in the same order
        head = bench.model.eval().heads["technique"]
        logits = bench.model(bench.states(rows)).logits["technique"]
        loss = sum(head.loss(logits, bench.windows.targets([range(4)], bench.model.heads)["technique"]).values())
        loss.backward()
        results[dtype] = {name: p.grad for name, p in bench.model.named_trainable()} | {"loss": loss.detach()}
    for name, value in results["computed"].items():
        assert torch.equal(results["float32"][name], value), name
        tolerance = 1e-3 if name == "loss" else 1e-2
        assert (results["float16"][name] - value).norm() <= tolerance * value.norm() + 1e-7, name


def test_a_second_run_computes_nothing(toy_recipe, store):
    Bench(toy_recipe(), store).fill()
    again = Bench(toy_recipe("seed=5", "train.lr=0.1"), store)
    assert again.fill() == len(again.windows)
    assert again.computed == 0


def test_another_method_computes_only_layers_that_are_not_there(toy_recipe, store):
    Bench(toy_recipe(), store).fill()
    before = parts(store)
    lora = Bench(toy_recipe(LORA), store)
    assert set(lora.states.source.parts) < {name.split("/")[1] for name in before}
    lora.fill()
    assert lora.computed == 0
    assert parts(store) == before


@pytest.mark.parametrize(
    "other",
    ["backbone.window=1.0", "backbone.normalize=true", "backbone={name: whisper, weights: 'random:small', window: 2.0}"],
)
def test_whatever_changes_the_states_changes_where_they_lie(toy_recipe, store, other):
    Bench(toy_recipe(), store).fill()
    bench = Bench(toy_recipe(other), store)
    bench.fill()
    assert bench.computed == len(bench.windows)


def test_precision_dtype_and_library_versions_count(toy_recipe, store, monkeypatch):
    first = Bench(toy_recipe(), store)
    first.fill()
    single = Bench(toy_recipe(), store, dtype="float32")
    single.fill()
    assert single.computed == len(single.windows)
    monkeypatch.setattr("etude.adapters.states.window_features.version", lambda name: "0.0")
    old = Bench(toy_recipe(), store)
    old.fill()
    assert old.computed == len(old.windows)
    source = frozen_states(first.model, "x", torch.bfloat16)
    assert source.key["precision"] != first.states.source.key["precision"]
    assert source.key["fingerprint"] != first.states.source.key["fingerprint"]


def test_only_a_changed_recording_is_computed_again(toy_root, toy_recipe, tmp_path, store):
    """Nor is one taken from another place, nor all of a data set that grew."""
    root = tmp_path / "copy"
    root.mkdir()
    for path in toy_root.iterdir():
        (root / path.name).write_bytes(path.read_bytes())
    Bench(toy_recipe(f"data.root={root}"), store).fill()
    moved = Bench(toy_recipe(), store)
    moved.fill()
    assert moved.computed == 0
    audio, rate = soundfile.read(root / "train2.wav")
    soundfile.write(root / "train2.wav", audio[::-1], rate)
    changed = Bench(toy_recipe(f"data.root={root}"), store)
    changed.fill()
    own = changed.windows.of_track[2]
    assert changed.computed == len(own)
    computed = changed.exact()
    assert (changed.read(changed.rows) - computed).abs().max() <= 2**-11 * computed.abs().max()


def test_an_interrupted_computation_continues(toy_recipe, store):
    calls = []

    def check():
        calls.append(1)
        if len(calls) == 2:
            raise KeyboardInterrupt

    bench = Bench(toy_recipe(), store)
    with pytest.raises(KeyboardInterrupt):
        bench.fill(check)
    assert 0 < bench.computed < len(bench.windows)
    after = Bench(toy_recipe(), store)
    assert after.fill() == len(after.windows)
    assert after.computed == len(after.windows) - bench.computed
    assert (after.read(after.rows) - after.exact()).abs().max() < 0.01


def test_two_runs_at_once_compute_each_window_once(toy_recipe, toy_root, tmp_path):
    script = textwrap.dedent("""
        import sys, time
        from pathlib import Path
        sys.path.insert(0, sys.argv[1])
        from conftest import RECIPE
        from etude.adapters.storage.feature_store import FeatureStore
        from etude.adapters.recipe.schema import parse_recipe
        from test_feature_store import Bench
        bench = Bench(parse_recipe(RECIPE.format(root=sys.argv[2])), FeatureStore(Path(sys.argv[3]), 1.0))
        Path(sys.argv[3] + f".ready{sys.argv[4]}").touch()
        while not all(Path(sys.argv[3] + f".ready{i}").exists() for i in (0, 1)):
            time.sleep(0.01)
        bench.fill(lambda: time.sleep(0.3))
        states = bench.read(bench.rows)
        print(bench.computed, bench.said, float((states - bench.exact()).abs().max()) < .01)
    """)
    arguments = [sys.executable, "-c", script, str(Path(__file__).parent), str(toy_root), str(tmp_path / "features")]
    runs = [subprocess.Popen([*arguments, str(i)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for i in (0, 1)]
    outputs = [run.communicate(timeout=120) for run in runs]
    lines = sorted((out.strip() for out, _ in outputs), key=lambda line: int(line.split()[0] or 0))
    assert lines[0] == "0 ['waiting for another run that computes the same frozen states'] True", outputs
    assert re.fullmatch(r"[1-9]\d* \[\] True", lines[1]), outputs


@pytest.mark.parametrize("victim", ["rows", "sums"])
def test_a_truncated_file_is_completed_with_a_warning(toy_recipe, store, victim):
    first = Bench(toy_recipe(), store)
    first.fill()
    path = sorted(store.root.glob(f"*/*.{victim}"))[0]
    size = path.stat().st_size
    os.truncate(path, size * 2 // 3)
    bench = Bench(toy_recipe(), store)
    bench.fill()
    assert "cut short" in bench.said[0]
    assert 0 < bench.computed < len(bench.windows)
    assert path.stat().st_size == size
    assert torch.equal(bench.read(bench.rows), first.read(first.rows))


def test_damaged_bytes_are_never_used(toy_recipe, store):
    good = Bench(toy_recipe(), store)
    good.fill()
    expected = good.read(good.rows)
    path = sorted(store.root.glob("*/*.rows"))[1]
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0x40
    path.write_bytes(content)
    bench = Bench(toy_recipe(), store)
    bench.fill()
    assert torch.allclose(bench.read(bench.rows), expected, atol=2e-3)
    assert bench.computed == 1
    assert len(bench.said) == 1
    assert "damaged" in bench.said[0]
    assert torch.allclose(bench.read(bench.rows), expected, atol=2e-3)
    assert bench.computed == 1, "put back, and read from then on"
    after = Bench(toy_recipe(), store)
    after.fill()
    after.read(after.rows)
    assert (after.computed, after.said) == (0, [])


def test_reading_ahead_changes_nothing_whatever_is_asked_for_then(toy_recipe, store, monkeypatch):
    bench = Bench(toy_recipe(), store)
    bench.fill()
    expected, reads = bench.read(bench.rows), []
    real = RowFile.read
    monkeypatch.setattr(RowFile, "read", lambda self, rows: reads.append(list(rows)) or real(self, rows))
    for ahead, wanted in (([1, 2], [1, 2]), ([3, 4], [5, 0]), (bench.rows, [7])):
        bench.states.read_ahead(ahead)
        assert torch.equal(bench.read(wanted), expected[wanted])
    assert [1, 2] in reads
    assert reads.count([1, 2]) == len(bench.states.source.parts), "read once"


def test_a_file_cut_short_while_it_is_read(toy_recipe, store):
    bench = Bench(toy_recipe(), store)
    bench.fill()
    expected = bench.read(bench.rows)
    for path in store.root.glob("*/*.rows"):
        os.truncate(path, path.stat().st_size // 2)
    assert torch.allclose(bench.read(bench.rows), expected, atol=2e-3)
    assert bench.computed > len(bench.windows)


def test_a_file_deleted_while_it_is_read(toy_recipe, store):
    bench = Bench(toy_recipe(), store)
    bench.fill()
    for path in store.root.glob("*/*"):
        path.unlink()
    bench.read(bench.rows)
    assert bench.computed == len(bench.windows)


def test_without_a_store_nothing_is_kept(toy_recipe, tmp_path):
    bench = Bench(toy_recipe(), None)
    assert bench.fill() == 0
    bench.read([0])
    assert bench.computed == 1


def test_what_exceeds_the_limit_is_computed_at_every_step(toy_recipe, tmp_path):
    bench = Bench(toy_recipe(), FeatureStore(tmp_path / "features", 1e-6))
    bench.fill()
    assert re.search(r"need 0\.\d+ GB, more than .*ETUDE_CACHE_GB=1e-06 allows", bench.said[0])
    bench.read([0, 1])
    assert bench.computed == 2
    assert parts(bench.states.store) == []


def test_the_least_recently_used_make_room(toy_recipe, tmp_path):
    windows = ["backbone.window=1.0", "backbone.window=2.0", "backbone.window=4.0"]
    filled = []
    for age, window in enumerate(windows[:2]):
        store = FeatureStore(tmp_path / "features", 1.0)
        bench = Bench(toy_recipe(window), store)
        bench.fill()
        filled.append({entry.folder for entry in store.entries()} - set().union(*filled))
        for entry in store.entries():
            os.utime(entry.folder / f"{entry.part}.sums", (1000 + age, 1000 + age))
    used = sum(entry.bytes for entry in store.entries())
    Bench(toy_recipe(windows[0]), FeatureStore(tmp_path / "features", 1.0)).fill()  # the older one is used again
    limited = FeatureStore(tmp_path / "features", used * 1.1 / 1e9)
    Bench(toy_recipe(windows[2]), limited).fill()
    folders = {entry.folder for entry in limited.entries()}
    assert filled[0] <= folders
    assert not filled[1] & folders
    assert sum(entry.bytes for entry in limited.entries()) <= limited.limit


def test_what_the_run_itself_uses_is_not_evicted(toy_recipe, tmp_path):
    one = Bench(toy_recipe(), FeatureStore(tmp_path / "a", 1.0))
    one.fill()
    size = sum(entry.bytes for entry in one.states.store.entries())
    store = FeatureStore(tmp_path / "b", size * 1.05 / 1e9)
    train, validation = Bench(toy_recipe(), store), Bench(toy_recipe(), store, "validation", 0.5)
    train.fill()
    validation.fill()
    assert "computed at every step" in validation.said[0]
    train.computed = 0
    train.read(train.rows)
    assert train.computed == 0


def test_a_store_that_cannot_be_written(toy_recipe, tmp_path, monkeypatch):
    (tmp_path / "features").write_text("a file in the way")
    with pytest.raises(UserError, match=r"cannot be written: .*--no-cache"):
        Bench(toy_recipe(), FeatureStore(tmp_path / "features", 1.0)).fill()


def test_a_complete_store_need_not_be_writable(toy_recipe, store, monkeypatch):
    Bench(toy_recipe(), store).fill()

    def refuse(*arguments, **options):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(RowFile, "create", refuse)
    monkeypatch.setattr(RowFile, "write", refuse)
    monkeypatch.setattr(os, "utime", refuse)
    monkeypatch.setattr(FeatureStore, "filling", refuse)
    bench = Bench(toy_recipe(), store)
    bench.fill()
    bench.read(bench.rows)
    assert bench.computed == 0


def test_a_limit_that_is_no_number(monkeypatch):
    monkeypatch.setenv("ETUDE_CACHE_GB", "lots")
    with pytest.raises(UserError, match="ETUDE_CACHE_GB: 'lots' is not a size"):
        FeatureStore()


def test_values_too_large_for_half_precision(toy_recipe, store):
    bench = Bench(toy_recipe(), store)
    real = bench.states.source.compute
    object.__setattr__(bench.states.source, "compute", lambda *audio: [1e6 * part for part in real(*audio)])
    with pytest.raises(UserError, match=r"values that float16 cannot \(set train.store_dtype=float32"):
        bench.fill()


def test_views_are_stored_once_each_and_taken_in_turn(toy_recipe, store):
    recipe = toy_recipe("train.augment={views: 3, noise_db: [5, 10]}")
    bench = Bench(recipe, store)
    assert bench.fill() == 3 * len(bench.windows)
    assert bench.computed == 3 * len(bench.windows)
    states = bench.read(bench.rows).view(len(bench.windows), 3, -1)
    clean = Bench(toy_recipe(), FeatureStore(store.root.parent / "clean", 1.0))
    clean.fill()
    assert torch.allclose(states[:, 0], clean.read(clean.rows).flatten(1), atol=2e-3)
    assert ((states[:, 1] - states[:, 0]).norm(dim=1) > 0.01 * states[:, 0].norm(dim=1)).all()
    assert ((states[:, 2] - states[:, 1]).norm(dim=1) > 0.01 * states[:, 0].norm(dim=1)).all()
    more = Bench(toy_recipe("train.augment={views: 4, noise_db: [5, 10]}"), store)
    more.fill()
    assert more.computed == len(more.windows), "the three views that are there are taken over"


def test_another_frozen_model_such_as_a_teacher_keeps_its_embeddings_there_too(toy_recipe, store):
    windows = Bench(toy_recipe(), None).windows
    calls = []

    def teacher(waveforms, lengths):
        calls.append(len(waveforms))
        return [torch.stack([waveforms.mean(-1), waveforms.std(-1), lengths.float()], dim=-1)]

    source = Source(teacher, {"embedding": (3,)}, {"what": "teacher", "fingerprint": "1"}, {"teacher": "mean"})
    features = WindowFeatures(source, windows, store, dtype="float32")
    features.fill(Accelerator(), lambda count: None, lambda: None)
    rows = list(range(len(windows)))
    assert torch.equal(features(rows)[0], teacher(*windows.audio(rows))[0])
    again = WindowFeatures(source, windows, store, dtype="float32")
    calls.clear()
    again.fill(Accelerator(), lambda count: None, lambda: None)
    assert not calls


def test_rows_of_a_file(tmp_path):
    """Written in any order, missing until then, and missing when only half of it was written."""
    file = RowFile(tmp_path, "x", 5, (2, 3), "float16")
    assert list(file.missing()) == [0, 1, 2, 3, 4]
    file.create()
    values = np.random.default_rng(0).normal(size=(3, 2, 3)).astype(np.float16)
    file.write([4, 0, 2], values)
    assert list(file.missing()) == [1, 3]
    file.create()
    assert list(file.missing()) == [1, 3], "creating it again keeps what is there"
    file.open()
    found, damaged = file.read([2, 4])
    assert not damaged
    assert np.array_equal(found, values[[2, 0]])
    assert file.read([1])[1] == [0]
    assert file.bytes == 5 * 12 + 5 * 8 == file.rows.stat().st_size + file.sums.stat().st_size
    mapped = np.memmap(file.rows, np.float16, "r", shape=(5, 2, 3))
    assert np.array_equal(mapped[0], values[1])


def test_what_a_set_is_can_be_read(toy_recipe, store):
    Bench(toy_recipe(), store).fill()
    about = json.loads(next(store.root.glob("*/about.json")).read_text())
    assert about == {"frozen states of": "random:tiny", "windows": 12, "hours": 0.007}
