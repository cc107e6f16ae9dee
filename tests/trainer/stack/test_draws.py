import numpy as np
import pytest
import torch

from trainer.config import TrainConfig
from trainer.stack.draws import draw_keys, draw_rows, random_bytes
from trainer.stack.stack import start_stack


def lowbias32(x):
    """As its author writes it, for unsigned numbers."""
    x = x ^ (x >> np.uint32(16))
    x = x * np.uint32(0x7FEB352D)
    x = x ^ (x >> np.uint32(15))
    x = x * np.uint32(0x846CA68B)
    return x ^ (x >> np.uint32(16))


def stack_of(fold, **values):
    return start_stack(fold, [TrainConfig.create(**values, seed=k) for k in range(2)])


def test_random_bytes_are_those_of_the_hash_they_name():
    keys = torch.tensor([0, 1, -1, 2**31 - 1, -(2**31)], dtype=torch.int32)
    words = lowbias32(np.arange(250, dtype=np.uint32))
    expected = lowbias32(words ^ keys.numpy().view(np.uint32)[:, None])
    assert np.array_equal(random_bytes(keys, 1000).numpy(), expected.view(np.uint8))


def test_random_bytes_are_uniform_and_each_key_has_its_own():
    drawn = random_bytes(torch.tensor([7, 8], dtype=torch.int32), 2**20)
    counts = torch.bincount(drawn[0].long(), minlength=256)
    chi_square = ((counts - 4096) ** 2 / 4096).sum()
    assert 180 < chi_square < 340  # 255 degrees of freedom
    assert abs((drawn[0] == drawn[1]).float().mean() - 1 / 256) < 5e-4


def test_rows_are_drawn_once_each_and_the_last_batch_is_filled_up(fold):
    rows = draw_rows(stack_of(fold, batch_size=64), 300)
    assert rows.shape == (2, 5, 64)
    assert torch.equal(rows[0].flatten()[:300].sort().values, torch.arange(300))
    assert torch.equal(rows[0].flatten()[300:], rows[0].flatten()[:20])
    assert not torch.equal(rows[0], rows[1])


def test_weighted_rows_are_drawn_by_their_weight(fold):
    stack = stack_of(fold, batch_size=300, weight_method="aggressive")
    positive, weights = fold.y_train[:, :3].any(dim=1), stack.row_weights[0]
    expected = float(weights[positive].sum() / weights.sum())
    assert expected > 2 * positive.float().mean()
    assert positive[draw_rows(stack, 300)].float().mean() == pytest.approx(expected, abs=0.06)


def test_keys_differ_between_members_and_chunks(fold):
    keys = draw_keys(stack_of(fold), 50)
    assert keys.dtype == torch.int32
    assert len(keys.unique()) == 100
