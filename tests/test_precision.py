"""Which precision is chosen, that it is measured once, and that scores do not depend on it."""

import json
import os

import pytest
import torch
from accelerate.state import AcceleratorState

from etude.adapters import artifact
from etude.adapters.errors import UserError
from etude.adapters.heads._parts.scoring import event_scores
from etude.adapters.inference.session import Session
from etude.adapters.model.build import build_dataset
from etude.adapters.recipe.schema import parse_recipe
from etude.adapters.states.frozen_states import frozen_states
from etude.adapters.states.window_features import WindowFeatures
from etude.adapters.states.window_set import WindowSet
from etude.adapters.training import precision
from etude.adapters.training.engine import train, untrained_model
from etude.adapters.training.evaluation import evaluate
from etude.adapters.training.precision import autocast_dtype, device_name, probe

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def cache(monkeypatch, tmp_path):
    monkeypatch.setenv("ETUDE_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "precision.json"


@pytest.fixture
def probes(monkeypatch):
    """The speed-ups that the next probes find, in order; those left over were not asked for."""
    found = []
    monkeypatch.setattr(precision, "probe", lambda device: found.pop(0))
    return found


@pytest.mark.parametrize(("speedup", "dtype"), [(0.0, None), (1.24, None), (1.25, torch.bfloat16), (6.0, torch.bfloat16)])
def test_auto_is_bf16_where_it_is_faster(probes, speedup, dtype):
    probes.append(speedup)
    assert autocast_dtype("auto", CPU) is dtype


def test_what_is_asked_for_is_taken_without_a_probe(probes):
    assert autocast_dtype("fp32", CPU) is None
    assert autocast_dtype("bf16", CPU) is torch.bfloat16
    assert autocast_dtype("fp16", torch.device("cuda")) is torch.float16
    with pytest.raises(UserError) as error:
        autocast_dtype("fp16", CPU)
    assert str(error.value) == "train.precision: fp16 needs a GPU (use bf16 or fp32)"


def test_measured_once_per_device_and_number_of_threads(probes, cache, monkeypatch):
    probes += [2.0, 0.5, 0.5]
    assert [autocast_dtype("auto", CPU) for _ in range(3)] == [torch.bfloat16] * 3
    assert probes == [0.5, 0.5]
    monkeypatch.setattr(torch, "get_num_threads", lambda: 77)
    assert [autocast_dtype("auto", CPU) for _ in range(2)] == [None, None]
    monkeypatch.setattr(precision, "device_name", lambda device: "another")
    assert autocast_dtype("auto", CPU) is None
    assert probes == []
    kept = json.loads(cache.read_text())
    assert sorted(kept.values()) == [0.5, 0.5, 2.0]
    assert f"another, torch {torch.__version__}, threads 77" in kept
    assert [path.name for path in cache.parent.iterdir()] == ["precision.json"]


@pytest.mark.parametrize("content", [b"", b"{", b"[1]", b"\xff\xfe", b"null"])
def test_a_corrupt_file_is_measured_anew_and_replaced(probes, cache, content):
    cache.parent.mkdir()
    cache.write_bytes(content)
    probes.append(2.0)
    assert [autocast_dtype("auto", CPU) for _ in range(2)] == [torch.bfloat16] * 2


@pytest.mark.parametrize("value", [None, "2.0", True, [2.0]])
def test_a_corrupt_entry_is_measured_anew(probes, cache, value):
    probes += [2.0]
    autocast_dtype("auto", CPU)
    (key,) = json.loads(cache.read_text())
    cache.write_text(json.dumps({key: value, "another": 0.5}))
    probes.append(3.0)
    autocast_dtype("auto", CPU)
    assert json.loads(cache.read_text()) == {key: 3.0, "another": 0.5}


def test_an_unwritable_cache_only_costs_the_measurement(probes, monkeypatch, tmp_path):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("ETUDE_CACHE", str(tmp_path / "file" / "cache"))
    probes += [2.0, 0.5]
    assert autocast_dtype("auto", CPU) is torch.bfloat16
    assert autocast_dtype("auto", CPU) is None


@pytest.mark.skipif(os.geteuid() == 0, reason="root writes everywhere")
def test_a_protected_folder_only_costs_the_measurement(probes, cache):
    cache.parent.mkdir(mode=0o500)
    probes += [2.0, 0.5]
    assert autocast_dtype("auto", CPU) is torch.bfloat16
    assert autocast_dtype("auto", CPU) is None


@pytest.fixture
def timer(monkeypatch):
    """Replaces the timer by seconds per frame, ``(fp32, bf16)``; lists the measured ``(frames, half)``."""

    def replace(fp32, bf16):
        calls = []

        def seconds(states, up, down, *, half):
            calls.append((states.shape[1], half))
            value = bf16 if half else fp32
            if isinstance(value, Exception):
                raise value
            return value * states.shape[1]

        monkeypatch.setattr(precision, "_seconds", seconds)
        return calls

    return replace


def test_the_probe_is_the_ratio_at_full_size(timer):
    calls = timer(0.3, 0.1)
    assert probe(CPU) == pytest.approx(3)
    assert {(450, False), (450, True)} <= set(calls)


def test_emulated_bf16_is_not_timed_at_full_size(timer):
    calls = timer(0.001, 0.02)
    assert probe(CPU) == pytest.approx(0.05)
    assert {frames for frames, _ in calls} == {16}


@pytest.mark.parametrize("error", [RuntimeError("no bf16 here"), TypeError("BFloat16 is not supported"), NotImplementedError()])
def test_a_device_that_refuses_bf16_is_not_faster(timer, error):
    timer(0.001, error)
    assert probe(CPU) == 0
    assert autocast_dtype("auto", CPU) is None


def test_a_failure_in_fp32_is_not_hidden(timer):
    timer(RuntimeError("no such device"), 0.001)
    with pytest.raises(RuntimeError, match="no such device"):
        probe(CPU)


def test_the_real_probe_leaves_random_numbers_alone():
    torch.manual_seed(0)
    expected = torch.rand(3)
    torch.manual_seed(0)
    found = probe(CPU)
    assert isinstance(found, float)
    assert found > 0
    torch.testing.assert_close(torch.rand(3), expected, rtol=0, atol=0)


def test_the_layer_computes_in_the_type_that_is_timed(monkeypatch):
    """Autocast reaches the products: attention sees bf16 when half, fp32 otherwise."""
    seen, attention = [], torch.nn.functional.scaled_dot_product_attention

    def spy(query, key, value):
        seen.append((query.dtype, tuple(query.shape)))
        return attention(query, key, value)

    monkeypatch.setattr(precision.F, "scaled_dot_product_attention", spy)
    states, up, down = torch.rand(1, 2, 768, requires_grad=True), torch.rand(3072, 768), torch.rand(768, 3072)
    for half in (False, True):
        assert precision._seconds(states, up, down, half=half) > 0
    assert seen == [(torch.float32, (1, 12, 2, 64)), (torch.bfloat16, (1, 12, 2, 64))]


def test_the_device_name_tells_cpus_apart():
    assert torch.backends.cpu.get_cpu_capability() in device_name(CPU)
    assert len(device_name(CPU).split(" (")[0]) > 2


def test_states_are_in_single_precision_whatever_steps_are_in(toy_recipe):
    recipe = toy_recipe()
    dataset = build_dataset(recipe)
    model = untrained_model(recipe, dataset, dataset.tracks("train"))
    windows = WindowSet(dataset.tracks("validation"), model.backbone, recipe.train.overlap)
    states = WindowFeatures(frozen_states(model, "any"), windows, None)
    with torch.autocast("cpu", dtype=torch.bfloat16):  # as in a step of a run that keeps no states
        inside = states([0])
    assert all(map(torch.equal, inside, states([0])))


@pytest.fixture(scope="module")
def bf16_run(toy_recipe, tmp_path_factory):
    root = tmp_path_factory.mktemp("bf16")
    recipe = toy_recipe("train.precision=bf16", "method={name: lora, rank: 2, sites: [attn.q], blocks: last 1}")
    AcceleratorState._reset_state(True)  # another test's precision
    try:
        return train(recipe, root / "run", root / "adapter")
    finally:
        AcceleratorState._reset_state(True)


def test_eval_gives_the_scores_of_a_run_in_bf16(bf16_run):
    for split, scores in artifact.load(bf16_run).metrics.items():
        assert artifact.plain(evaluate(bf16_run, split=split).scores) == scores


def test_predictions_have_the_thresholds_and_scores_of_a_run_in_bf16(bf16_run):
    loaded, session = artifact.load(bf16_run), Session(bf16_run)
    dataset, (head,) = build_dataset(parse_recipe(loaded.recipe)), session.heads().values()
    for split, scores in loaded.metrics.items():
        tracks = dataset.tracks(split)
        references, found = [track.truth.notes for track in tracks], [session(track.audio).notes for track in tracks]
        events = event_scores(references, found, head.labels)
        own = {name: events[name] for name in ("event_micro_precision", "event_micro_recall", "event_macro_f1")}
        assert own == pytest.approx({name: scores["technique"][name] for name in own}, abs=1e-6)
    tracks = dataset.tracks("validation")
    head.tune([track.truth for track in tracks], [session.activations(track.audio)["technique"] for track in tracks], 50)
    assert head.thresholds == loaded.manifest.thresholds["technique"]
