"""Log-mel frames as a backbone without blocks."""

import pytest
import torch

from etude.adapters import registry
from etude.adapters.errors import UserError
from etude.adapters.model.adapted import AdaptedModel


def build(name, **fields):
    kind = registry.find("backbones", name)
    return kind(kind.Config(name=name, **fields))


def model(method, **fields):
    backbone, kind = build("log_mel", window=1.0), registry.find("methods", method)
    head = registry.find("heads", "tags")
    heads = {"tags": head(head.Config(hidden=0), ("a", "b"), backbone.hidden_size, {})}
    return AdaptedModel(backbone, kind(kind.Config(name=method, **fields)), heads, None)


def test_it_is_the_spectrogram_that_ast_is_given():
    backbone, ast = build("log_mel", window=1.0), build("ast", weights="random:tiny", window=1.0)
    audio = torch.randn(2, 16_000, generator=torch.Generator().manual_seed(0))
    lengths = torch.tensor([16_000, 16_000])
    (state,) = backbone(backbone.prepare(audio, lengths))
    whole = 98  # frames that the second fills
    torch.testing.assert_close(state[:, :whole].mT, ast.prepare(audio, lengths)[..., :whole])
    assert state.shape == (2, 100, 128)


def test_padding_is_silence_whatever_is_in_it():
    backbone = build("log_mel", window=1.0)
    audio = torch.ones(1, 16_000)
    (state,) = backbone(backbone.prepare(audio, torch.tensor([8000])))
    (silent,) = backbone(backbone.prepare(0 * audio, torch.tensor([16_000])))
    assert torch.equal(state[:, 50:], silent[:, 50:])


@pytest.mark.parametrize(("method", "fields"), [("heads_only", {}), ("reprogramming", {"form": "unet"})])
def test_heads_and_reprogramming_work_on_it(method, fields):
    made = model(method, **fields).train()
    audio = torch.randn(2, 16_000)
    stored = made.frozen_states(audio, torch.tensor([16_000, 16_000]))
    (made(stored).logits["tags"]["tags"] ** 2).sum().backward()
    assert all(p.grad is not None and p.grad.abs().max() > 0 for name, p in made.named_trainable() if name != "mix.weights")


def test_it_has_nothing_to_adapt():
    with pytest.raises(UserError, match=r"no site|no block"):
        model("lora")
