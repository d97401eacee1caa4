"""Scores on groups that were left out: those of a run that never had them, from states that are computed once."""

import json

import pytest
import torch
from calls import adapt

from etude.adapters import artifact
from etude.adapters.artifact import HELD_OUT
from etude.adapters.states.window_set import WindowSet
from etude.adapters.training import engine, finish, leave_one_group_out
from etude.adapters.training.evaluation import flatten
from etude.adapters.training.interrupt import Interruption

PLAYERS = {
    **{f"train{n}": ("train", "abbbcc"[n]) for n in range(6)},
    **{"validation0": ("validation", "a"), "validation1": ("validation", "b"), "test0": ("test", "d"), "test1": ("test", "d")},
}
QUICK = ("train.epochs=1", "train.dtype=float32", "train.store_dtype=float32")


def manifest(toy_root, folder, rows):
    """The toy recordings in the splits that ``rows`` say: name -> split, group."""
    folder.mkdir(parents=True, exist_ok=True)
    lines = [f"{toy_root}/{name}.wav,{toy_root}/{name}.csv,{split},{group}" for name, (split, group) in rows.items()]
    (folder / "manifest.csv").write_text("\n".join(["audio,events,split,group", *lines]) + "\n")
    return folder


@pytest.fixture(scope="module")
def grouped(toy_root, toy_recipe, tmp_path_factory):
    """A recipe for three players who train, two of whom validate, and one who tests; a run of it, and what it computed."""
    folder, computed = tmp_path_factory.mktemp("grouped"), []
    real = WindowSet.waveforms

    def waveforms(self, rows):
        places = [(*divmod(row, self.views), self) for row in rows]
        computed.extend((self.tracks[self.windows[at][0]].audio, self.windows[at][1].start, view) for at, view, _ in places)
        return real(self, rows)

    recipe = toy_recipe(*QUICK, f"data.root={manifest(toy_root, folder, PLAYERS)}")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ETUDE_CACHE", str(folder / "cache"))
        patch.setattr(WindowSet, "waveforms", waveforms)
        engine.train(recipe, folder / "run", folder / "adapter")
    return folder, recipe, artifact.load(folder / "adapter"), computed


def test_every_group_of_training_is_left_out_once(grouped):
    found = grouped[2].metrics[HELD_OUT]
    assert [(fold["groups"], fold["recordings"]) for fold in found["folds"]] == [(["a"], 2), (["b"], 4), (["c"], 2)]
    values = [fold["scores"]["technique"]["event_macro_f1"] for fold in found["folds"]]
    mean = sum(values) / 3
    assert found["mean"]["technique"]["event_macro_f1"] == pytest.approx(mean)
    spread = (sum((value - mean) ** 2 for value in values) / 2) ** 0.5
    assert found["spread"]["technique"]["event_macro_f1"] == pytest.approx(spread)
    assert grouped[2].manifest.groups == {"train": ("a", "b", "c"), "validation": ("a", "b"), "test": ("d",)}


def test_a_fold_has_the_scores_of_a_run_that_never_had_the_group(grouped, toy_root, toy_recipe, tmp_path):
    rows = {name: ("test" if group == "b" else split, group) for name, (split, group) in PLAYERS.items() if group != "d"}
    root = manifest(toy_root, tmp_path, rows)
    recipe = toy_recipe(*QUICK, f"data.root={root}", "train.leave_one_group_out=false")
    engine.train(recipe, tmp_path / "run", tmp_path / "adapter")
    alone = artifact.load(tmp_path / "adapter").metrics
    assert HELD_OUT not in alone
    assert not (tmp_path / "run" / HELD_OUT).exists()
    fold = grouped[2].metrics[HELD_OUT]["folds"][1]["scores"]
    assert flatten(fold) == pytest.approx(flatten(alone["test"]), abs=1e-6)


def test_each_frozen_state_is_computed_once(grouped):
    computed = grouped[3]
    assert len(computed) == len(set(computed)) > 20


def test_an_interrupted_run_goes_on_at_the_fold_where_it_was(grouped, tmp_path, monkeypatch):
    """The run takes three steps, the first fold three and the second one two: the seventh step is in the latter."""
    _, recipe, whole, _ = grouped
    steps, trained = [], []
    real = finish.complete

    def requested(self):
        steps.append(1)
        return len(steps) == 7

    def complete(loop, resumed):
        trained.append(("".join(sorted({one.group for one in loop.train_windows.tracks})), resumed is not None))
        return real(loop, resumed)

    monkeypatch.setattr(leave_one_group_out, "complete", complete)
    with monkeypatch.context() as patch:
        patch.setattr(Interruption, "requested", requested)
        with pytest.raises(KeyboardInterrupt):
            engine.train(recipe, tmp_path / "run", tmp_path / "adapter")
    early = artifact.load(tmp_path / "adapter")  # what is trained can be used already
    assert early.metrics == {split: scores for split, scores in whole.metrics.items() if split != HELD_OUT}
    engine.train(recipe, tmp_path / "run", tmp_path / "adapter")
    assert trained == [("bc", False), ("ac", False), ("ac", True), ("ab", False)], "a finished fold is not trained again"
    late = artifact.load(tmp_path / "adapter")
    for ours, theirs in zip(late.metrics[HELD_OUT]["folds"], whole.metrics[HELD_OUT]["folds"], strict=True):
        assert flatten(ours["scores"]) == pytest.approx(flatten(theirs["scores"]), abs=1e-6)
    assert {split: late.metrics[split] for split in early.metrics} == early.metrics
    assert late.manifest.thresholds == early.manifest.thresholds
    assert all(torch.equal(late.tensors[name], early.tensors[name]) for name in early.tensors)
    assert not list((tmp_path / "run" / HELD_OUT).glob("*/checkpoint.pt"))

    def stop(loop, resumed):
        raise KeyboardInterrupt

    monkeypatch.setattr(leave_one_group_out, "complete", stop)
    with pytest.raises(KeyboardInterrupt):  # in the first fold, which a fresh run trains again
        engine.train(recipe, tmp_path / "run", tmp_path / "adapter", fresh=True)


def test_a_group_that_cannot_be_left_out_is_told(toy_root, toy_recipe, tmp_path, capsys):
    """Only one player's notes have pitches, without which the others cannot train a pitch branch."""
    root = manifest(toy_root, tmp_path / "data", PLAYERS)
    table = (root / "manifest.csv").read_text()
    for name, (_, group) in PLAYERS.items():
        lines = [line.split(",") for line in (toy_root / f"{name}.csv").read_text().splitlines()]
        pitch = lines[0].index("pitch")
        rows = [lines[0], *([*line[:pitch], line[pitch] if group == "b" else "", *line[pitch + 1 :]] for line in lines[1:])]
        (root / f"{name}.csv").write_text("\n".join(map(",".join, rows)) + "\n")
        table = table.replace(f"{toy_root}/{name}.csv", f"{name}.csv")
    (root / "manifest.csv").write_text(table)
    engine.train(toy_recipe(*QUICK, f"data.root={root}"), tmp_path / "run", tmp_path / "adapter")
    told = capsys.readouterr().err.splitlines()
    assert told[0].startswith("notice: split 'validation': no group that training lacks")
    assert "notice: b cannot be left out: no training note has a pitch" in told
    folds = artifact.load(tmp_path / "adapter").metrics[HELD_OUT]["folds"]
    assert [fold["groups"] for fold in folds] == [["a"], ["c"]]


def test_groups_that_the_first_stage_has_seen_are_not_unseen_in_the_second(grouped, toy_root, toy_recipe, tmp_path, capsys):
    rows = {name: (split, {"c": "e"}.get(group, group)) for name, (split, group) in PLAYERS.items()}
    root = manifest(toy_root, tmp_path / "data", {**rows, "test0": ("test", "c")})
    start = grouped[0] / "adapter"
    engine.train(toy_recipe(*QUICK, f"data.root={root}", f"init_from={start}"), tmp_path / "run", tmp_path / "adapter")
    told = capsys.readouterr().err.splitlines()
    for group in "ab":
        what = f"{start}, which training starts from, has learned from '{group}'"
        assert f"notice: {group} cannot be left out: {what}" in told
    trained = artifact.load(tmp_path / "adapter")
    found = trained.metrics[HELD_OUT]
    assert [fold["groups"] for fold in found["folds"]] == [["e"]]
    assert found["mean"]["technique"]["event_macro_f1"] == found["folds"][0]["scores"]["technique"]["event_macro_f1"]
    assert not found["spread"], "of one fold there is none"
    assert "| Score | e |" in (tmp_path / "adapter" / "README.md").read_text()
    code, out, _ = adapt("inspect", tmp_path / "adapter")
    assert code == 0
    assert " e " in out
    assert "spread" not in out
    assert trained.manifest.groups == {"train": ("a", "b", "c", "e"), "validation": ("a", "b"), "test": ("c", "d")}


def test_what_was_measured_is_told_beside_the_scores(grouped, tmp_path):
    folder, _, trained, _ = grouped
    code, out, err = adapt("inspect", folder / "adapter")
    assert code == 0, err
    assert all(len(line) <= 80 for line in out.splitlines() if "fingerprint" not in line)
    order = ["leave-one-group-out (technique)", "\ntest (technique)", "\nvalidation (technique)"]
    assert sorted(order, key=out.index) == order, "unseen groups first"
    assert "measured on unseen sessions or players (groups: d)\n" in out
    assert "measured on the same session or player only (groups: a, b)\n" in out
    mean = trained.metrics[HELD_OUT]["mean"]["technique"]["event_macro_f1"]
    assert [line.split()[-1] for line in out.splitlines() if line.startswith(" mean ")] == [f"{mean:.3f}"]
    code, out, err = adapt("eval", folder / "adapter", "--json")
    assert json.loads(out)["measured"] == "measured on unseen sessions or players (groups: d)"
    assert flatten(json.loads(out)["scores"]) == pytest.approx(flatten(trained.metrics["test"]), abs=1e-3)
    card = (folder / "adapter" / "README.md").read_text()
    spread = trained.metrics[HELD_OUT]["spread"]["technique"]["event_macro_f1"]
    assert "| Score | mean ± standard deviation | a | b | c |" in card
    assert f"| Event F1, macro | {mean:.3f} ± {spread:.3f} |" in card
    assert card.index("mean ± standard deviation") < card.index("| Score | test,")
    assert "- test: measured on unseen sessions or players (groups: d)." in card
    assert "other instruments, rooms" in card
