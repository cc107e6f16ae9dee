from functools import partial

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional

from trainer.stack.losses import bce, focal_loss, focal_slope, sides, smooth, weighted_bce

K, B, L = 3, 16, 4


@pytest.fixture
def batch():
    generator = torch.Generator().manual_seed(0)
    logits = 3 * torch.randn(K, B, L, generator=generator, dtype=torch.float64)
    targets = (torch.rand(K, B, L, generator=generator) < 0.3).double()
    pos_weight = 10 * torch.rand(K, 1, L, generator=generator, dtype=torch.float64) + 0.1
    return logits, targets, pos_weight


def gammas(*values):
    return torch.tensor(values, dtype=torch.float64).view(-1, 1, 1)


def test_bce_is_torchs_own(batch):
    logits, targets, _ = batch
    expected = functional.binary_cross_entropy_with_logits(logits, targets, reduction="none")
    torch.testing.assert_close(bce(logits, targets), expected)


def test_weighted_bce_is_torchs_own(batch):
    logits, targets, pos_weight = batch
    expected = functional.binary_cross_entropy_with_logits(
        logits, targets, pos_weight=pos_weight, reduction="none"
    )
    torch.testing.assert_close(weighted_bce(logits, targets, pos_weight=pos_weight), expected)


def test_focal_loss_without_focus_is_weighted_bce(batch):
    logits, targets, pos_weight = batch
    found = focal_loss(logits, targets, gamma=gammas(0, 0, 0), pos_weight=pos_weight)
    assert torch.equal(found, weighted_bce(logits, targets, pos_weight=pos_weight))


def test_focal_loss_is_the_papers_formula_for_each_member(batch):
    logits, targets, pos_weight = batch
    gamma = gammas(0.5, 2.0, 5.0)
    p_t = torch.where(targets > 0, torch.sigmoid(logits), 1 - torch.sigmoid(logits))
    weight = torch.where(targets > 0, pos_weight, 1.0)
    expected = -weight * (1 - p_t) ** gamma * torch.log(p_t)
    torch.testing.assert_close(
        focal_loss(logits, targets, gamma=gamma, pos_weight=pos_weight), expected
    )


def test_focus_discounts_easy_rows_more_than_hard_ones():
    logits = torch.tensor([[[4.0], [-1.0]]])
    targets = torch.ones(1, 2, 1)
    plain = bce(logits, targets)
    focal = focal_loss(logits, targets, gamma=torch.full((1, 1, 1), 3.0), pos_weight=torch.ones(1))
    easy, hard = (focal / plain).flatten().tolist()
    assert easy < 0.001 < 0.1 < hard < 1


@pytest.mark.parametrize("smoothing", [None, 0.3])
def test_the_slope_is_autograds(batch, smoothing):
    logits, targets, pos_weight = batch
    gamma = gammas(0, 0.7, 3.0)
    smoothed = None if smoothing is None else torch.full((K, 1, L), smoothing, dtype=logits.dtype)
    leaf = logits.clone().requires_grad_()
    loss = partial(focal_loss, leaf, gamma=gamma, pos_weight=pos_weight)
    smooth(loss, targets, smoothed).sum().backward()
    found = sides(targets, pos_weight=pos_weight, smoothing=smoothed)
    slope = sum(focal_slope(logits, *side, gamma=gamma) for side in found)
    torch.testing.assert_close(slope, leaf.grad)


@given(logit=st.floats(-1e4, 1e4), gamma=st.floats(0, 10), target=st.sampled_from([0.0, 1.0]))
@settings(max_examples=100, deadline=None)
def test_focal_loss_and_its_slope_stay_finite(logit, gamma, target):
    arguments = {"gamma": torch.tensor([[[gamma]]]), "pos_weight": torch.tensor([[[100.0]]])}
    logits, targets = torch.tensor([[[logit]]]), torch.tensor([[[target]]])
    loss = focal_loss(logits, targets, **arguments)
    assert torch.isfinite(loss).all()
    assert loss.item() >= 0
    (side,) = sides(targets, pos_weight=arguments["pos_weight"], smoothing=None)
    assert torch.isfinite(focal_slope(logits, *side, gamma=arguments["gamma"])).all()


def test_smoothed_bce_is_torchs_own_with_soft_targets(batch):
    logits, targets, _ = batch
    smoothing = torch.tensor([0.0, 0.1, 0.4], dtype=torch.float64).view(-1, 1, 1)
    soft = targets * (1 - smoothing) + smoothing / 2
    expected = functional.binary_cross_entropy_with_logits(logits, soft, reduction="none")
    torch.testing.assert_close(smooth(partial(bce, logits), targets, smoothing), expected)


def test_without_smoothing_the_smoothed_loss_is_bitwise_the_plain_one(batch):
    """A member without smoothing must not change because a neighbour has some."""
    logits, targets, pos_weight = batch
    loss = partial(focal_loss, logits, gamma=gammas(0, 2, 3), pos_weight=pos_weight)
    none = torch.zeros(K, 1, L, dtype=torch.float64)
    assert torch.equal(smooth(loss, targets, none), smooth(loss, targets, None))
