"""What a stack draws at random: rows to train on and units to drop, each member by itself."""

import torch
from torch import Tensor

from trainer.stack import Stack


def draw_rows(stack: Stack, n_rows: int) -> Tensor:
    """Return each member's rows of one epoch as indices (steps, K, B) into N rows.

    The last batch is filled up with the epoch's first rows, so that all batches are whole.
    """
    steps = -(-n_rows // stack.batch_size)
    drawn = [
        _draw(n_rows, steps * stack.batch_size, weights, generator)
        for weights, generator in zip(stack.row_weights, stack.generators, strict=True)
    ]
    rows = torch.stack(drawn).view(len(stack), steps, stack.batch_size)
    return rows.transpose(0, 1).contiguous()


def _draw(n_rows: int, count: int, weights: Tensor | None, generator: torch.Generator) -> Tensor:
    """Return `count` row indices: each row once in random order, or by weight with replacement."""
    device = generator.device
    if weights is not None:
        return torch.multinomial(weights, count, replacement=True, generator=generator)
    order = torch.randperm(n_rows, generator=generator, device=device)
    return order[torch.arange(count, device=device) % n_rows]


def draw_masks(stack: Stack, steps: int) -> Tensor | None:
    """Return dropout masks (steps, layers, K, B, H) of 0 and 1 / (1 - rate), None without dropout.

    A random byte decides on each unit, so rates are rounded to 256ths. A member draws only if it
    drops units itself: its generator never depends on its neighbours.
    """
    rates = [min(round(256 * config.dropout), 255) for config in stack.configs]
    layers = stack.shape.num_layers
    if not layers or not any(rates):
        return None
    units = steps * layers * stack.batch_size * stack.shape.hidden_dim
    device = stack.parameters.device
    words = torch.zeros(len(stack), -(-units // 8), dtype=torch.int64, device=device)
    for member, generator, rate in zip(words, stack.generators, rates, strict=True):
        if rate:
            member.random_(-(2**63), None, generator=generator)
    drawn = words.view(torch.uint8)[:, :units]
    masks = torch.empty(drawn.shape, device=device)
    for of_member, bytes_, rate in zip(masks, drawn, rates, strict=True):
        torch.ge(bytes_, rate, out=of_member)
    scale = torch.tensor([256 / (256 - rate) for rate in rates], device=device).view(-1, 1)
    sizes = (len(stack), steps, layers, stack.batch_size, stack.shape.hidden_dim)
    return masks.mul_(scale).view(sizes).movedim(0, 2)
