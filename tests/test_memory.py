"""When memory runs out, the work goes on in smaller parts, with the same result."""

import json

import pytest
import torch

from etude.adapters.errors import UserError
from etude.adapters.model.adapted import AdaptedModel
from etude.adapters.states.memory import in_parts_that_fit
from etude.adapters.training import engine
from etude.adapters.training.loop import Loop

OOM = "CUDA out of memory. Tried to allocate 2.00 GiB"


def short_of_memory(limit, sizes):
    def work(size):
        sizes.append(size)
        if size > limit:
            raise torch.OutOfMemoryError(OOM)

    return work


def test_sizes_are_tried_in_turn():
    sizes = []
    in_parts_that_fit(short_of_memory(2, sizes), (8, 4, 2, 1))
    assert sizes == [8, 4, 2]


def test_not_even_one_fits():
    with pytest.raises(UserError, match=r"memory does not suffice for 1 windows .*gradient_checkpointing"):
        in_parts_that_fit(short_of_memory(0, []), (2, 1))


def test_other_errors_are_not_taken_for_a_lack_of_memory():
    def work(size):
        raise RuntimeError("shape mismatch")

    with pytest.raises(RuntimeError, match="shape mismatch"):
        in_parts_that_fit(work, (2, 1))


def test_training_goes_on_with_smaller_parts_of_the_same_batch(toy_recipe, tmp_path, monkeypatch):
    """The memory runs out in the third step; losses are then those of a run that was split from the start."""
    plain = ("heads.technique.dropout=0", "train.epochs=2", "train.evaluate_every=2")
    real, calls = Loop._loss_terms, []

    def limited(self, positions, following):
        calls.append(len(positions))
        if len(calls) >= 3 and len(positions) > 2:
            raise torch.OutOfMemoryError(OOM)
        return real(self, positions, following)

    with monkeypatch.context() as patch:
        patch.setattr(Loop, "_loss_terms", limited)
        engine.train(toy_recipe(*plain), tmp_path / "short", tmp_path / "short-adapter")
    assert calls[:5] == [4, 4, 4, 2, 2]
    assert set(calls[3:]) == {2}
    engine.train(toy_recipe(*plain), tmp_path / "whole", tmp_path / "whole-adapter")
    short, whole = (
        [json.loads(line) for line in (tmp_path / name / "history.jsonl").read_text().splitlines()]
        for name in ("short", "whole")
    )
    for ours, theirs in zip(short, whole, strict=True):
        assert ours["train_loss"] == pytest.approx(theirs["train_loss"], rel=0.02)


def test_frozen_states_are_computed_in_smaller_parts(toy_recipe, tmp_path, monkeypatch):
    compute, sizes = AdaptedModel.frozen_states, []

    def limited(self, audio, lengths, **settings):
        sizes.append(len(audio))
        if len(audio) > 1:
            raise torch.OutOfMemoryError(OOM)
        return compute(self, audio, lengths, **settings)

    monkeypatch.setattr(AdaptedModel, "frozen_states", limited)
    monkeypatch.setenv("ETUDE_CACHE", str(tmp_path / "cache"))
    engine.train(toy_recipe("train.epochs=1"), tmp_path / "run", tmp_path / "adapter")
    assert sizes[:3] == [4, 2, 1]
    assert (tmp_path / "adapter" / "adapter.safetensors").exists()
