"""Backbone, method, mix and heads together: only what is meant to train does."""

import copy

import pytest
import torch
from made_models import METHODS, audio, loss_of, make_backbone, make_method, make_model, perturb
from registered import WITH_BLOCKS


@pytest.fixture(scope="module", params=WITH_BLOCKS)
def untouched(request):
    return make_backbone(request.param)


@pytest.fixture
def backbone(untouched):
    """A copy of its own: methods change it in place."""
    return copy.deepcopy(untouched)


@pytest.mark.parametrize("method", METHODS)
def test_gradients_reach_all_that_trains_and_nothing_else(backbone, method):
    model = make_model(backbone, method).train()
    perturb(model)
    stored = model.frozen_states(*audio(backbone))
    assert not any(state.requires_grad or state.grad_fn for state in stored)
    loss_of(model, stored).backward()
    trained = dict(model.named_trainable())
    assert [name for name, p in trained.items() if p.grad is None or not p.grad.abs().sum() > 0] == []
    chosen = {id(parameter) for parameter in trained.values()}
    for name, parameter in model.named_parameters():
        assert (parameter.grad is not None) == parameter.requires_grad == (id(parameter) in chosen), name


def test_a_single_mixed_layer_leaves_the_mix_nothing_to_learn(backbone):
    model = make_model(backbone, layers=(1,))
    loss_of(model, model.frozen_states(*audio(backbone))).backward()
    assert model.mix.weights.grad.abs().sum() == 0


@pytest.mark.parametrize("method", METHODS)
def test_training_changes_the_predictions_but_not_the_backbone(backbone, method):
    fingerprint = backbone.fingerprint()
    base = {name: tensor.clone() for name, tensor in backbone.state_dict().items()}
    model = make_model(backbone, method)
    stored = model.frozen_states(*audio(backbone))
    before, trained = model(stored).logits["technique"], model.trainable_state()
    model.train()
    optimizer = torch.optim.AdamW([parameter for _, parameter in model.named_trainable()], lr=1e-2, weight_decay=0.1)
    losses = []
    for _ in range(5):
        optimizer.zero_grad()
        loss = loss_of(model, stored)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    model.eval()
    assert losses[-1] < losses[0]
    assert backbone.fingerprint() == fingerprint
    kept = backbone.state_dict()
    assert all(torch.equal(tensor, kept[name]) for name, tensor in base.items() if name in kept)
    assert all(not torch.equal(tensor, trained[name]) for name, tensor in model.trainable_state().items())
    assert all((model(stored).logits["technique"][name] - values).abs().max() > 1e-4 for name, values in before.items())
    torch.testing.assert_close(model.frozen_states(*audio(backbone)), stored, atol=0, rtol=0)


def test_in_training_the_backbone_stays_in_eval(backbone):
    make_method("lora-last").attach(copied := copy.deepcopy(backbone))
    assert not any(module.training for module in copied.modules())
    model = make_model(backbone, "lora-last").train()
    dropouts = [module for module in model.method._dropouts for module in module.modules()]
    training = {id(module) for module in model.modules() if module.training}
    inside = {id(module) for module in backbone.modules()}
    assert training & inside == {id(module) for module in dropouts}
    assert {id(module) for module in model.heads.modules()} <= training
    model.eval()
    assert not any(module.training for module in model.modules())


def test_dropout_of_method_and_head_acts_in_training_only(backbone):
    model = make_model(backbone, "lora-last", dropout=0.5)
    perturb(model)
    stored = model.frozen_states(*audio(backbone))

    def output():
        return model(stored).logits["technique"]["technique"]

    torch.testing.assert_close(output(), output(), atol=0, rtol=0)
    model.train()
    assert not torch.equal(output(), output())
    model.heads.eval()
    assert not torch.equal(output(), output())
    model.eval()
    torch.testing.assert_close(output(), output(), atol=0, rtol=0)


@pytest.mark.parametrize("method", ["lora", "lora-last"])
def test_gradient_checkpointing_changes_memory_only(backbone, method, monkeypatch):
    model = make_model(backbone, method, dropout=0.0)
    perturb(model)
    model.train()
    stored = model.frozen_states(*audio(backbone))
    real, calls = backbone.block, []
    monkeypatch.setattr(backbone, "block", lambda index, state: calls.append(index) or real(index, state))
    gradients = {}
    for model.gradient_checkpointing in (False, True):
        calls.clear()
        model.zero_grad()
        torch.manual_seed(0)  # dropout masks are drawn again in the backward pass, and must be the same
        loss_of(model, stored).backward()
        gradients[len(calls)] = {name: parameter.grad.clone() for name, parameter in model.named_trainable()}
    (once, plain), (twice, again) = sorted(gradients.items())
    assert twice == 2 * once
    assert all(torch.equal(plain[name], again[name]) for name in plain)


@pytest.mark.parametrize("method", METHODS)
def test_nothing_below_the_first_trainable_block_is_in_the_graph(backbone, method):
    """Even an input that asks for gradients gets none: the frozen part runs without a graph, convolutions included."""
    model = make_model(backbone, method)
    waveforms, lengths = audio(backbone)
    stored = model.frozen_states(waveforms.requires_grad_(), lengths)
    assert not any(state.requires_grad or state.grad_fn for state in stored)
