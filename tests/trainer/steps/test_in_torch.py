import pytest
import torch

from trainer.config import TrainConfig
from trainer.stack.draws import draw_keys
from trainer.stack.stack import start_stack
from trainer.steps.in_torch import _masks_of


def test_dropout_keeps_the_share_and_the_scale_it_promises(fold):
    sizes = {"batch_size": 32, "hidden_dim": 32}
    stack = start_stack(fold, [TrainConfig.create(dropout=rate, **sizes) for rate in (0.25, 0.0)])
    masks = _masks_of(stack)(draw_keys(stack, 1)[:, 0], 20)
    assert masks.shape == (20, 2, 2, 32, 32)
    dropping, whole = masks.unbind(2)
    assert dropping.unique().tolist() == [0.0, pytest.approx(1 / 0.75)]
    assert dropping.mean().item() == pytest.approx(1.0, abs=0.02)
    assert whole.unique().tolist() == [1.0]


def test_no_masks_are_made_where_nobody_drops(fold):
    stack = start_stack(fold, [TrainConfig.create(dropout=0.0)])
    assert _masks_of(stack)(torch.zeros(1, dtype=torch.int32), 3) is None
