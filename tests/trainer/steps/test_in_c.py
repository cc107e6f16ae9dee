import dataclasses

import pytest
import torch

from trainer.config import TrainConfig
from trainer.stack.draws import draw_keys, draw_rows
from trainer.stack.model import Shape
from trainer.stack.stack import start_stack
from trainer.steps.compiler import build
from trainer.steps.in_c import compiled
from trainer.steps.in_torch import eager

pytestmark = pytest.mark.skipif(build().library is None, reason=build().how)

MEMBERS = [
    {"loss_type": "bce", "dropout": 0.0},
    {"loss_type": "bce", "dropout": 0.5, "weight_decay": 0.1},
    {"loss_type": "weighted_bce", "class_weight_method": "very_aggressive", "dropout": 0.2},
    {"loss_type": "focal", "focal_gamma": 3.0, "class_weight_method": "inverse"},
    {"loss_type": "focal", "focal_gamma": 0.5, "label_smoothing": 0.2, "weight_method": "balanced"},
]
# Multiples of a tile and of a vector, and what is left over.
SIZES = [(32, 32, 2), (16, 16, 0), (30, 21, 1), (64, 48, 3), (5, 128, 2), (1, 40, 1)]


def stack_of(fold, batch_size, hidden_dim, num_layers):
    sizes = {"batch_size": batch_size, "hidden_dim": hidden_dim, "num_layers": num_layers}
    return start_stack(
        fold, [TrainConfig.create(**sizes, **member, seed=k) for k, member in enumerate(MEMBERS)]
    )


def with_labels(fold, count):
    """The same rows with so many labels, each a rotation of the first."""
    first = fold.y_train[:, :1]
    labels = torch.cat([first.roll(i, 0) for i in range(count)], dim=1)
    return dataclasses.replace(
        fold,
        y_train=Shape.pad_targets(labels),
        y_validation=labels,
    )


def train_both(fold, sizes, steps):
    """Two equal stacks and their losses, after the same steps in C and in torch."""
    stacks = [stack_of(fold, *sizes) for _ in range(2)]
    rows, keys = draw_rows(stacks[0], len(fold.x_train)), draw_keys(stacks[0], 1)[:, 0]
    losses = [
        make(stack, fold)(rows[:, :steps], keys)
        for make, stack in zip((compiled, eager), stacks, strict=True)
    ]
    return stacks, losses


@pytest.mark.parametrize("labels", [3, 8, 20])
@pytest.mark.parametrize("sizes", SIZES)
def test_a_step_is_the_one_in_torch(fold, sizes, labels):
    """The first moments are the clipped gradients, shortened: all that leads to them is right."""
    (found, expected), losses = train_both(with_labels(fold, labels), sizes, steps=1)
    torch.testing.assert_close(losses[0], losses[1], rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(found.optimizer.mean, expected.optimizer.mean, rtol=1e-4, atol=1e-7)
    torch.testing.assert_close(found.optimizer.steps, expected.optimizer.steps)


@pytest.mark.parametrize("sizes", SIZES)
def test_steps_lead_where_those_in_torch_do(fold, sizes):
    (found, expected), losses = train_both(fold, sizes, steps=4)
    torch.testing.assert_close(losses[0], losses[1], rtol=1e-4, atol=1e-6)
    apart = (found.parameters - expected.parameters).abs()  # AdamW magnifies the smallest slopes
    assert apart.max() < 1e-2
    assert apart.mean() < 1e-5


def test_padding_stays_zero(fold):
    stack = stack_of(fold, 32, 21, 2)
    padding = start_stack(fold, stack.configs).parameters == 0
    compiled(stack, fold)(draw_rows(stack, 300), draw_keys(stack, 1)[:, 0])
    assert padding.any()
    assert not stack.parameters[padding].any()
    assert stack.parameters[~padding].all()


@pytest.mark.parametrize("broken", [torch.nan, torch.inf])
def test_a_broken_row_breaks_the_loss(fold, broken):
    """A cut or a dropped unit must not hide it."""
    x_train = fold.x_train.clone()
    x_train[0, 0] = broken
    stack = stack_of(fold, 32, 32, 2)
    program = compiled(stack, dataclasses.replace(fold, x_train=x_train))
    first, keys = torch.zeros(len(stack), 1, 32, dtype=torch.int64), draw_keys(stack, 1)[:, 0]
    program(first, keys)
    assert not program(first, keys).isfinite().any()


def test_far_logits_have_finite_losses(fold):
    stack = stack_of(fold, 32, 32, 0)
    stack.parameters.mul_(1e4)
    rows, keys = draw_rows(stack, 300), draw_keys(stack, 1)[:, 0]
    expected = eager(stack_like(stack, fold), fold)(rows[:, :1], keys)
    torch.testing.assert_close(compiled(stack, fold)(rows[:, :1], keys), expected)
    assert expected.isfinite().all()


def stack_like(stack, fold):
    copy = start_stack(fold, stack.configs)
    copy.parameters.copy_(stack.parameters)
    return copy
