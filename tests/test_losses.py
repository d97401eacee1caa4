"""Losses against torch's own, hand computations and published numbers."""

from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from etude.adapters.heads._parts.losses import class_weights, masked_bce


def batch(items=3, frames=7, classes=5, seed=0):
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(items, frames, classes, generator=generator) * 3
    targets = (torch.rand(items, frames, classes, generator=generator) < 0.3).float()
    return logits, targets


def elements_of(logits, targets):
    return F.binary_cross_entropy_with_logits(logits, targets, reduction="none")


def test_everything_labelled_is_torchs_mean():
    logits, targets = batch()
    expected = F.binary_cross_entropy_with_logits(logits, targets)
    torch.testing.assert_close(masked_bce(logits, targets, torch.ones(3, 7, 1)), expected)
    torch.testing.assert_close(masked_bce(logits, targets, torch.ones(3, 7, 5)), expected)


@pytest.mark.parametrize("weight", [10.0, torch.tensor([0.5, 1.0, 2.0, 3.0, 10.0])])
def test_positive_weights_are_torchs_pos_weight(weight):
    logits, targets = batch()
    expected = F.binary_cross_entropy_with_logits(logits, targets, pos_weight=torch.as_tensor(weight))
    torch.testing.assert_close(masked_bce(logits, targets, torch.ones(3, 7, 1), weight), expected)


@pytest.mark.parametrize("per_class", [False, True])
def test_mean_over_labelled_elements_only(per_class):
    logits, targets = batch()
    labelled = torch.rand(3, 7, 5 if per_class else 1, generator=torch.Generator().manual_seed(1)) < 0.4
    chosen = labelled.expand(3, 7, 5)
    weight = torch.tensor([1.0, 2.0, 3.0, 4.0, 5.0])
    elements = F.binary_cross_entropy_with_logits(logits, targets, pos_weight=weight, reduction="none")
    torch.testing.assert_close(masked_bce(logits, targets, labelled.float(), weight), elements[chosen].mean())
    unlabelled = ~chosen
    torch.testing.assert_close(  # what is not labelled has no say
        masked_bce(logits.masked_fill(unlabelled, 9.0), targets.masked_fill(unlabelled, 1.0), labelled.float(), weight),
        elements[chosen].mean(),
    )


def test_by_hand():
    """Logits 0 and ln 3: -ln(1/2) for a negative, 2 * -ln(3/4) for a positive of weight 2; the third element is unlabelled."""
    logits = torch.tensor([[[0.0], [np.log(3.0)], [5.0]]])
    targets, mask = torch.tensor([[[0.0], [1.0], [0.0]]]), torch.tensor([[[1.0], [1.0], [0.0]]])
    expected = (np.log(2) + 2 * np.log(4 / 3)) / 2
    assert masked_bce(logits, targets, mask, 2.0).item() == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("scale", [1.0, 0.01, 100.0])
def test_the_mean_is_weighted_and_only_the_proportions_of_the_weights_count(scale):
    logits, targets = batch()
    weights = torch.tensor([0.5, 0.0, 1.5])
    elements = elements_of(logits, targets).mean(dim=(1, 2))
    mask = (scale * weights)[:, None, None].expand(3, 7, 1)
    expected = (0.5 * elements[0] + 1.5 * elements[2]) / 2
    torch.testing.assert_close(masked_bce(logits, targets, mask), expected)
    torch.testing.assert_close(masked_bce(logits, targets, mask.expand(3, 7, 5)), expected)
    torch.testing.assert_close(
        masked_bce(logits[:1, :1], targets[:1, :1], mask[:1, :1]), elements_of(logits, targets)[0, 0].mean()
    )


def test_any_number_of_class_axes():
    """Instruments x pitches in one mask per frame, or in one per frame and instrument."""
    generator = torch.Generator().manual_seed(3)
    logits = torch.randn(2, 5, 3, 4, generator=generator)
    targets = (torch.rand(2, 5, 3, 4, generator=generator) < 0.3).float()
    frames = (torch.rand(2, 5, 1, generator=generator) < 0.5).float()
    elements = elements_of(logits, targets)
    torch.testing.assert_close(masked_bce(logits, targets, frames), elements[frames[:, :, 0] > 0].mean())
    instruments = (torch.rand(2, 5, 3, generator=generator) < 0.5).float()
    torch.testing.assert_close(masked_bce(logits, targets, instruments), elements[instruments > 0].mean())
    torch.testing.assert_close(masked_bce(logits, targets, instruments[..., None]), elements[instruments > 0].mean())


@pytest.mark.parametrize("weight", [1.0, 10.0, torch.tensor([0.3, 1.0, 2.0, 3.0, 10.0])])
def test_soft_targets_are_torchs_and_the_average_over_hard_ones(weight):
    logits, _ = batch()
    targets = torch.rand(3, 7, 5, generator=torch.Generator().manual_seed(4))
    mask, tensor = torch.ones(3, 7, 1), torch.as_tensor(weight)
    loss = masked_bce(logits, targets, mask, weight)
    torch.testing.assert_close(loss, F.binary_cross_entropy_with_logits(logits, targets, pos_weight=tensor))
    ones, zeros = (elements_of(logits, torch.full_like(targets, value)) for value in (1.0, 0.0))
    torch.testing.assert_close(loss, (targets * tensor * ones + (1 - targets) * zeros).mean())


@pytest.mark.parametrize("weight", [1.0, 0.3, 10.0, torch.tensor([0.9210, 0.4433, 1.3906, 2.0617, 0.1])])
def test_hard_targets_are_exactly_torchs_elements_times_their_weight(weight):
    """To the last bit: room for soft targets must not move a result of hard ones."""
    logits, targets = batch()
    logits.requires_grad_()
    mask = (torch.rand(3, 7, 1, generator=torch.Generator().manual_seed(5)) < 0.6).float()
    plain = (elements_of(logits, targets) * (mask * (1.0 + targets * (weight - 1.0)))).sum() / mask.expand(3, 7, 5).sum()
    loss = masked_bce(logits, targets, mask, weight)
    assert loss.item() == plain.item()
    assert torch.equal(*(torch.autograd.grad(value, logits)[0] for value in (loss, plain)))


def test_does_not_depend_on_the_batch_size():
    logits, targets = batch()
    mask = (torch.rand(3, 7, 1, generator=torch.Generator().manual_seed(2)) < 0.5).float()
    once, repeated = (tensor.clone().requires_grad_() for tensor in (logits, logits.repeat(4, 1, 1)))
    loss = masked_bce(once, targets, mask, 3.0)
    repeated_loss = masked_bce(repeated, targets.repeat(4, 1, 1), mask.repeat(4, 1, 1), 3.0)
    torch.testing.assert_close(loss, repeated_loss)
    loss.backward()
    repeated_loss.backward()
    torch.testing.assert_close(once.grad, repeated.grad.view(4, 3, 7, 5).sum(0))


def test_nothing_labelled_is_exactly_0_without_gradient():
    logits, targets = batch(items=1)
    logits.requires_grad_()
    loss = masked_bce(logits, targets, torch.zeros(1, 7, 1), 10.0)
    assert loss.item() == 0.0
    loss.backward()
    assert torch.equal(logits.grad, torch.zeros_like(logits))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_finite_at_batch_1_without_positives_and_at_extreme_logits(dtype):
    logits = torch.tensor([[[-6e4, 0.0, 6e4]]], dtype=dtype, requires_grad=True)
    for targets in (torch.zeros(1, 1, 3), torch.ones(1, 1, 3)):
        loss = masked_bce(logits, targets, torch.ones(1, 1, 1), 10.0)
        assert loss.dtype == torch.float32
        assert torch.isfinite(loss)
        (gradient,) = torch.autograd.grad(loss, logits)
        assert torch.isfinite(gradient).all()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_logits_are_summed_in_full_precision(dtype):
    logits, targets = batch()
    logits, mask = logits.to(dtype), torch.ones(3, 7, 1)
    assert masked_bce(logits, targets, mask) == masked_bce(logits.float(), targets, mask)


PUBLISHED = [0.9210, 0.4433, 1.3906, 2.0617, 2.6110, 2.0190, 2.0366]
"""Of MERTech's 7 guzheng classes, a comment in its released code; vibrato, plucks, upward portamento, ..."""


def test_class_weights_are_the_published_ones():
    """Inverse of the formula, by hand: with mean(p) = 1/7, w ** (1 / .3) = (1 - p) / (6 p)."""
    shares = [1 / (1 + 6 * weight ** (1 / 0.3)) for weight in PUBLISHED]
    assert sum(shares) == pytest.approx(1, abs=2e-3)
    assert max(shares) == shares[1]
    np.testing.assert_allclose(class_weights(shares, 0.3), PUBLISHED, rtol=2e-3)
    np.testing.assert_allclose(class_weights([share * 680_000 for share in shares], 0.3), PUBLISHED, rtol=2e-3)


def test_class_weights_by_hand():
    """Shares .5, .25, .25 of 3 classes: (1/3 / .5) * (.5 / (2/3)) = 1/2 and (1/3 / .25) * (.75 / (2/3)) = 3/2."""
    np.testing.assert_allclose(class_weights([2, 1, 1], 1.0), [0.5, 1.5, 1.5], rtol=1e-6)
    np.testing.assert_allclose(class_weights([2, 1, 1], 2.0), [0.25, 2.25, 2.25], rtol=1e-6)
    np.testing.assert_array_equal(class_weights([5, 3, 9], 0.0), [1, 1, 1])


def test_classes_that_never_occur_or_are_alone_get_1():
    np.testing.assert_array_equal(class_weights([0, 12, 0], 0.3), [1, 1, 1])
    np.testing.assert_array_equal(class_weights([0, 0], 0.3), [1, 1])
    np.testing.assert_array_equal(class_weights([7], 0.3), [1])
    weights = class_weights([3, 0, 1], 1.0)
    assert weights[1] == 1
    # Shares .75 and .25 of 3 classes, the absent one counted in the mean.
    np.testing.assert_allclose(
        weights[[0, 2]], [(1 / 3 / 0.75) * (0.25 / (2 / 3)), (1 / 3 / 0.25) * (0.75 / (2 / 3))], rtol=1e-6
    )


@settings(deadline=None)
@given(st.lists(st.integers(0, 10**9), min_size=1, max_size=12), st.floats(0, 2))
def test_class_weights_are_finite_positive_and_larger_for_rarer_classes(counts, power):
    weights = class_weights(counts, power)
    assert weights.dtype == np.float32
    assert np.isfinite(weights).all()
    assert (weights > 0).all()
    present = [i for i, count in enumerate(counts) if count]
    ordered = [weights[i] for i in sorted(present, key=lambda i: counts[i])]
    assert all(rarer >= commoner for rarer, commoner in pairwise(ordered))
