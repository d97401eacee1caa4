"""Frozen states are computed once, and are never taken for others."""

import json
import re
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
import soundfile
import torch
from accelerate import Accelerator
from frozen_bench import LORA, Bench, parts

from etude.adapters.states.frozen_states import frozen_states
from etude.adapters.states.window_features import Source, WindowFeatures
from etude.adapters.storage.feature_store import FeatureStore


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


def test_dtype_library_versions_and_weights_count(toy_recipe, store, monkeypatch):
    first = Bench(toy_recipe(), store)
    first.fill()
    single = Bench(toy_recipe(), store, dtype="float32")
    single.fill()
    assert single.computed == len(single.windows)
    monkeypatch.setattr("etude.adapters.states.window_features.version", lambda name: "0.0")
    old = Bench(toy_recipe(), store)
    old.fill()
    assert old.computed == len(old.windows)
    source = frozen_states(first.model, "x")
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
        from frozen_bench import Bench
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


def test_what_a_set_is_can_be_read(toy_recipe, store):
    Bench(toy_recipe(), store).fill()
    about = json.loads(next(store.root.glob("*/about.json")).read_text())
    assert about == {"frozen states of": "random:tiny", "windows": 12, "hours": 0.007}
