"""Judged notes from training to a session: stored, continued, refitted, and the same wherever they are found."""

import json
from collections import Counter

import numpy as np
import pytest
import soundfile
import torch
from agreement import same, same_events
from conftest import RATE, RECIPE, toy_phrase, write_toy_dataset
from frozen_bench import Bench, parts
from made_adapters import make_adapter

from etude.adapters import artifact
from etude.adapters.heads._parts.panel import SPECTRUM, Panel
from etude.adapters.heads._parts.segment_fit import fit_notes
from etude.adapters.heads.technique import Technique
from etude.adapters.inference import plot
from etude.adapters.inference.session import Session
from etude.adapters.model.build import build_dataset, build_trained
from etude.adapters.recipe.schema import parse_recipe
from etude.adapters.sound.descriptors import BANDS, describe
from etude.adapters.states.frozen_states import frozen_states
from etude.adapters.states.window_features import WindowFeatures
from etude.adapters.states.window_set import WindowSet
from etude.adapters.training import engine, loop
from etude.adapters.training.evaluation import evaluate
from etude.adapters.training.examples import Examples
from etude.adapters.training.interrupt import Interruption

NOTES = (
    *("heads.technique={hidden: 16, pitch: tracker}", "backbone.window=1.0", "train.overlap=0.5"),
    *("train.store_dtype=float32", "train.dtype=float32", "train.lr=0.02", "train.epochs=6", "train.evaluate_every=3"),
)
METRIC = "technique.event_macro_f1"
LORA = (
    *("method={name: lora, blocks: last 2}", "heads.technique.judge=notes"),
    *("train.lr=0.05", "train.epochs=2", "train.evaluate_every=1"),
)


@pytest.fixture(scope="module")
def recipe(tmp_path_factory):
    root = tmp_path_factory.mktemp("notes")
    write_toy_dataset(root, {"train": 3, "validation": 1, "test": 1}, seconds=2.5)
    return lambda *overrides: parse_recipe(RECIPE.format(root=root), (*NOTES, *overrides))


@pytest.fixture(scope="module")
def train(tmp_path_factory):
    """Trains without drawing, which takes longer; gives the folder of the run and of the adapter.

    ``metrics`` take the place of those of the epochs.
    """

    def run(recipe, folder=None, metrics=None, **more):
        folder, real, values = folder or tmp_path_factory.mktemp("run"), loop.flatten, iter(metrics or ())
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(plot, "plot_training", lambda *_: None)
            if metrics:
                patch.setattr(loop, "flatten", lambda scores: {**real(scores), METRIC: next(values)})
            engine.train(recipe, folder / "run", folder / "adapter", **more)
        return folder

    return run


@pytest.fixture(scope="module")
def trained(recipe, train):
    return train(recipe())


@pytest.fixture(scope="module")
def adapted(recipe, train):
    """With LoRA, best after the first epoch, and how often its panel was fitted."""
    fits, real = [], Technique.fit
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Technique, "fit", lambda self, examples: (fits.append(1), real(self, examples)))
        return train(recipe(*LORA), metrics=[0.9, 0.1]), len(fits)


def history(folder):
    return [json.loads(line) for line in (folder / "run" / "history.jsonl").read_text().splitlines()]


def panel_tensors(tensors):
    return {name.split("panel.")[1]: values.float() for name, values in tensors.items() if ".panel." in name}


def equal(one, other):
    """Whether two adapters hold the same tensors, statistics and thresholds."""
    one, other = artifact.load(one / "adapter"), artifact.load(other / "adapter")
    assert one.tensors.keys() == other.tensors.keys()
    for name, values in one.tensors.items():
        assert torch.equal(values, other.tensors[name]), name
    assert one.manifest.statistics == other.manifest.statistics
    assert one.manifest.thresholds == other.manifest.thresholds


# Training and what comes of it.


def test_frozen_states_are_judged_by_notes_and_others_by_frames_unless_told(recipe):
    for overrides, notes in (((), True), (LORA[:1], False), (LORA, True), (("heads.technique.decoder=fusion",), False)):
        head = Bench(recipe(*overrides), None).model.heads["technique"]
        assert (head.panel is not None, "panel" in head.statistics) == (notes, notes)
        assert head.hears == ((SPECTRUM, "salience") if notes else ("salience",))


def test_what_is_trained_is_stored_and_predicts_what_is_evaluated(trained):
    loaded = artifact.load(trained / "adapter")
    statistics = loaded.manifest.statistics["technique"]["panel"]
    assert set(statistics) == {"kinds", "kernel", "shrinkage", "temperature", "cross_validated", "reach"}
    assert set(loaded.manifest.thresholds["technique"]) == {"onset", "activity"}
    assert any(values.any() for values in panel_tensors(loaded.tensors).values())
    session, dataset = Session(trained / "adapter"), build_dataset(parse_recipe(loaded.recipe))
    tracks = dataset.tracks("test")
    head, rate = session.heads()["technique"], session.backbone.frame_rate
    found = [session.activations(track.audio)["technique"] for track in tracks]
    scores = head.score([track.truth for track in tracks], found, rate)
    evaluated = evaluate(trained / "adapter").scores["technique"]
    assert scores == evaluated
    assert evaluated["note_onset_f1"] == loaded.metrics["test"]["technique"]["note_onset_f1"]
    for track, activations in zip(tracks, found, strict=True):
        notes = session(track.audio).notes
        assert notes == head.decode(activations, rate)
        assert {note.technique for note in notes} <= {"tone", "buzz"}
        assert all(0 < note.confidence <= 1 for note in notes)
        assert notes


def test_windows_hear_what_one_window_would(trained, tmp_path):
    """What is heard does not depend on where the windows lie, as long as they overlap."""
    audio, _ = toy_phrase(np.random.default_rng(7), 3.3)
    soundfile.write(tmp_path / "take.wav", audio, RATE, subtype="FLOAT")
    session = Session(trained / "adapter")
    found, backbone = session.activations(tmp_path / "take.wav")["technique"], session.backbone
    assert backbone.sample_rate == RATE
    frames = len(found["onset"])
    whole = describe([SPECTRUM, "salience"], torch.from_numpy(audio)[None], RATE, frames, backbone.frame_rate)
    np.testing.assert_allclose(found["features"][:, -BANDS:], whole[SPECTRUM][0].numpy(), atol=0.02)
    np.testing.assert_allclose(found["salience"], whole["salience"][0].numpy(), atol=2e-3)


def test_a_continued_run_is_the_very_same(adapted, recipe, train, tmp_path, monkeypatch):
    """Its panel is fitted to the state that is kept, not to that of the last epoch or of the start."""
    calls = []
    with monkeypatch.context() as patch:
        patch.setattr(Interruption, "requested", lambda self: calls.append(1) or len(calls) == 4)
        with pytest.raises(KeyboardInterrupt):
            train(recipe(*LORA), tmp_path, [0.9])
    assert len(history(tmp_path)) == 1
    train(recipe(*LORA), tmp_path, [0.1])
    assert history(tmp_path) == history(adapted[0])
    equal(tmp_path, adapted[0])


def test_frozen_states_are_fitted_once_and_others_before_each_scoring(adapted, recipe, monkeypatch):
    folder, fits = adapted
    assert fits == 1 + 2 + 1  # at the start, after each epoch, and to the state that is kept
    loaded = artifact.load(folder / "adapter")
    model = build_trained(loaded)
    own, fresh = (Panel({}, 2, model.backbone.hidden_size, model.backbone.num_blocks) for _ in range(2))
    untouched = Bench(recipe(*LORA), None).model
    for panel, source in ((own, model), (fresh, untouched)):
        tracks = build_dataset(recipe()).tracks("train")
        states = WindowFeatures(frozen_states(source, ""), WindowSet(tracks, source.backbone, None), None)
        fit_notes(panel, Examples(source, states, source.heads["technique"], 1, lambda: None), source.backbone.frame_rate)
    stored = panel_tensors(loaded.tensors)
    assert loaded.manifest.statistics["technique"]["panel"] == own.statistics
    for name, values in own.state_dict().items():
        torch.testing.assert_close(stored[name], values, rtol=1e-3, atol=1e-3)
    assert any(not torch.allclose(stored[name], values, rtol=0.05, atol=0.05) for name, values in fresh.state_dict().items())


def test_training_starts_from_an_adapter_that_judges_notes(trained, recipe, train):
    """Its head is taken as others are."""
    continued = train(recipe(f"init_from={trained / 'adapter'}", "train.epochs=1", "train.lr=1e-9"))
    for name, values in artifact.load(trained / "adapter").tensors.items():
        torch.testing.assert_close(artifact.load(continued / "adapter").tensors[name], values, atol=1e-5, rtol=1e-5)


# What is heard, in the store and in a session.


def test_descriptors_lie_in_the_store_and_training_is_the_same_without(trained, recipe, train, store):
    bench = Bench(recipe(), store, dtype="float32")
    bench.fill()
    assert {part.split("/")[1] for part in parts(store)} >= {"log_mel", "salience"}
    rows = bench.rows[:4]
    for stored, computed in zip(bench.states(rows), bench.states.source.compute(*bench.windows.audio(rows)), strict=True):
        assert torch.equal(stored, computed)
    without = train(recipe(), cache=False)
    assert [row["train_loss"] for row in history(without)] == pytest.approx(
        [r["train_loss"] for r in history(trained)], rel=1e-5
    )
    one, other = (panel_tensors(artifact.load(folder / "adapter").tensors) for folder in (without, trained))
    for name, values in one.items():
        torch.testing.assert_close(values, other[name], rtol=1e-3, atol=1e-4)


def test_adapters_with_and_without_descriptors_share_a_session(trained, take, tmp_path):
    frames = make_adapter(tmp_path / "frames", backbone="whisper", overlap=0.5)
    tracked = trained / "adapter"
    session = Session(frames, tracked)
    plain, toy = session.adapters
    alone = {plain: Session(frames), toy: Session(tracked)}
    path = take(3.3)
    together = session.all_activations(path)
    for name, own in alone.items():
        same(together[name], own.activations(path))
        same_events(session.all(path)[name], own(path))
    _, mixed = session.batch([(take(0.4), plain), (path, toy)])
    same_events(mixed, alone[toy](path))
    assert [note.pitch for note in mixed.notes] == [note.pitch for note in alone[toy](path).notes]
    assert set(together[plain]["technique"]) == {"technique", "pitch", "onset"}
    assert set(together[toy]["technique"]) == {"activity", "onset", "features", "salience"}
    heard = []
    real = session.backbone.describe
    session.backbone.describe = lambda names, audio: heard.append(set(names)) or real(names, audio)
    session(path, plain)
    assert not set().union(*heard), "nobody would listen"


def test_views_are_all_seen_the_clean_one_first(recipe):
    bench = Bench(recipe("train.augment={views: 2, noise_db: [0, 5]}"), None)
    windows = bench.windows
    head = bench.model.heads["technique"]
    examples = Examples(bench.model, bench.states, head, 2, lambda: None)
    seen = [(example.view, recording) for example in examples for recording in example.recordings]
    assert [view for view, _ in seen] == [0] * len(windows) + [1] * len(windows)
    assert Counter(recording for view, recording in seen if view) == Counter(recording for view, recording in seen if not view)
    found = [next(example.context.heard[SPECTRUM] for example in examples if example.view == view) for view in range(2)]
    for view in range(2):
        rows = [view, 2 + view, 4 + view, 6 + view]
        assert torch.equal(found[view], bench.model.context(bench.states(rows)).heard[SPECTRUM])
    assert found[1].mean() > found[0].mean() + 0.3
    fitted, real = [], Panel.fit
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Panel, "fit", lambda self, segments, *rest: (fitted.append(len(segments)), real(self, segments, *rest)))
        for views in (1, 2):
            head.fit(Examples(bench.model, bench.states, head, views, lambda: None))
    assert 1.5 * fitted[0] < fitted[1] < 2.5 * fitted[0]
