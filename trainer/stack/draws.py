"""What a stack draws at random: rows to train on and units to drop, each member by itself."""

import torch
from torch import Tensor

from trainer.config import TrainConfig
from trainer.stack.stack import Stack


def draw_rows(stack: Stack, n_rows: int) -> Tensor:
    """Return each member's rows of one epoch as indices (K, steps, B) into N rows.

    The last batch is filled up with the epoch's first rows, so that all batches are whole.
    """
    steps = -(-n_rows // stack.batch_size)
    drawn = [
        _draw(n_rows, steps * stack.batch_size, weights, generator)
        for weights, generator in zip(stack.row_weights, stack.generators, strict=True)
    ]
    return torch.stack(drawn).view(len(stack), steps, stack.batch_size)


def _draw(n_rows: int, count: int, weights: Tensor | None, generator: torch.Generator) -> Tensor:
    """Return `count` row indices: each row once in random order, or by weight with replacement."""
    device = generator.device
    if weights is not None:
        return torch.multinomial(weights, count, replacement=True, generator=generator)
    order = torch.randperm(n_rows, generator=generator, device=device)
    return order[torch.arange(count, device=device) % n_rows]


def draw_keys(stack: Stack, count: int) -> Tensor:
    """Return keys (K, count) int32, each of which stands for the units that a chunk drops."""
    keys = [
        torch.randint(2**32, (count,), generator=generator, device=generator.device)
        for generator in stack.generators
    ]
    return torch.stack(keys).int()


def dropped_of_256(config: TrainConfig) -> int:
    """Return how many of 256 hidden units are dropped: the dropout rate, rounded."""
    return min(round(256 * config.dropout), 255) if config.num_layers else 0


def random_bytes(keys: Tensor, count: int) -> Tensor:
    """Return `count` random bytes for each of K keys (K,), as (K, count) uint8; 4 divides count.

    Word i of a key is mix(mix(i) ^ key), so that whoever has the key has the bytes: on a GPU all
    members' at once, in steps.c where they are needed.
    """
    words = torch.arange(count // 4, dtype=torch.int32, device=keys.device)
    return _mix(_mix(words) ^ keys[:, None]).view(torch.uint8)


def _mix(words: Tensor) -> Tensor:
    """Scramble int32 words, one to one. Source: lowbias32 of Wellons 2018, hash-prospector."""
    for shift, factor in ((16, 0x7FEB352D), (15, 0x846CA68B - 2**32)):
        words = (words ^ _shifted(words, shift)).mul_(factor)
    return words ^ _shifted(words, 16)


def _shifted(words: Tensor, bits: int) -> Tensor:
    """Return int32 words shifted to the right as unsigned numbers."""
    return (words >> bits).bitwise_and_((1 << (32 - bits)) - 1)
