"""The head's dropout has the statistics of PyTorch's own."""

import pytest
import torch
from torch import nn

from etude.adapters.heads._parts.dropout import Dropout


@pytest.mark.parametrize("p", [0.05, 0.2, 0.5, 0.999])
def test_share_scale_and_independence(p):
    torch.manual_seed(0)
    x = torch.ones(400, 513)
    y = Dropout(p).train()(x)
    torch.testing.assert_close(y[y != 0], torch.full_like(y[y != 0], 1 / (1 - p)))
    share = (y == 0).float()
    deviation = (p * (1 - p) / x.numel()) ** 0.5
    assert abs(share.mean() - p) < 5 * deviation
    # Four neighbours come from one random number: each position alone, and pairs of neighbours, must be as likely as ever.
    flat = share.flatten()[: share.numel() // 4 * 4].view(-1, 4)
    assert ((flat.mean(0) - p).abs() < 10 * deviation).all()
    for other in range(1, 4):
        assert abs((flat[:, 0] * flat[:, other]).mean() - p * p) < 10 * (p * p * (1 - p * p) / len(flat)) ** 0.5


def test_gradients_pass_where_values_do_and_as_pytorch_scales_them():
    x = torch.randn(7, 9, requires_grad=True)
    y = Dropout(0.3).train()(x)
    y.sum().backward()
    assert torch.equal(x.grad != 0, y != 0)
    assert torch.allclose(x.grad[x.grad != 0], torch.tensor(1 / 0.7))


def test_off_outside_training_and_without_a_share():
    x = torch.randn(3, 5)
    assert torch.equal(Dropout(0.5).eval()(x), x)
    assert torch.equal(Dropout(0.0).train()(x), x)


def test_the_seed_decides():
    x, dropout = torch.ones(50), Dropout(0.5).train()
    torch.manual_seed(1)
    first = dropout(x)
    torch.manual_seed(1)
    assert torch.equal(dropout(x), first)
    assert not torch.equal(dropout(x), first)
    assert nn.Sequential(dropout).state_dict() == {}
