"""A chunk of steps in torch's operations, all members at once: on a GPU, or without a compiler."""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from trainer.stack.draws import dropped_of_256, random_bytes
from trainer.stack.losses import focal_slope, sides
from trainer.stack.model import backward, forward, layers_of
from trainer.stack.optimizer import CLIP_NORM, adamw
from trainer.stack.stack import Program, Stack, member_losses
from trainer.stack.tensors import FoldData


def eager(stack: Stack, data: FoldData) -> Program:
    """Return the program that trains the stack on the data."""
    layers = layers_of(stack.parameters, stack.shape)
    gradients = torch.zeros_like(stack.parameters)
    gradient_layers = layers_of(gradients, stack.shape)
    update = adamw(
        stack.parameters,
        gradients,
        stack.optimizer,
        lr=[config.lr for config in stack.configs],
        weight_decay=[config.weight_decay for config in stack.configs],
        max_norm=CLIP_NORM,
    )
    masks_of = _masks_of(stack)

    def train(rows: Tensor, keys: Tensor) -> Tensor:
        rows = rows.transpose(0, 1).contiguous()
        masks = masks_of(keys, len(rows))
        y = _label_by_label(_gather(data.y_train, rows))
        targets = _sides(y, stack)
        logits = []
        for step, batch in enumerate(rows):
            dropped = None if masks is None else masks[step]
            activations = forward(layers, _gather(data.x_train, batch), dropped)
            logits.append(activations[-1])
            slope, *more = (
                focal_slope(logits[-1], signs[step], weights[step], gamma=stack.gamma)
                for signs, weights in targets
            )
            backward(layers, activations, sum(more, slope), gradient_layers, dropped)
            update()
        return member_losses(torch.stack(logits), y, stack).T.contiguous().sum(1)

    return train


def _masks_of(stack: Stack) -> Callable[[Tensor, int], Tensor | None]:
    """Return the function of keys (K,) and a number of steps that returns dropout masks.

    These are (steps, layers, K, B, H) of 0 and 1 / (1 - rate), a random byte deciding on each unit;
    None where no member drops any.
    """
    drops = [dropped_of_256(config) for config in stack.configs]
    device = stack.parameters.device
    least = torch.tensor(drops, dtype=torch.uint8, device=device)[:, None]
    scale = torch.tensor([256 / (256 - drop) for drop in drops], device=device)[:, None]

    def masks(keys: Tensor, steps: int) -> Tensor | None:
        if not any(drops):
            return None
        sizes = (steps, stack.shape.num_layers, stack.batch_size, stack.shape.hidden)
        drawn = random_bytes(keys, math.prod(sizes))
        kept = torch.empty(drawn.shape, device=device)
        torch.ge(drawn, least, out=kept)
        return kept.mul_(scale).view(-1, *sizes).movedim(0, 2)

    return masks


def _gather(table: Tensor, rows: Tensor) -> Tensor:
    """Return the given rows (...,) of a table (N, C) as (..., C)."""
    return table.index_select(0, rows.view(-1)).view(*rows.shape, -1)


def _label_by_label(y: Tensor) -> Tensor:
    """Return y (..., B, L) as it is, but laid out in memory as the logits are."""
    return y.transpose(-2, -1).contiguous().transpose(-2, -1)


def _sides(y: Tensor, stack: Stack) -> list[tuple[Tensor, Tensor]]:
    """Return the sides of targets (steps, K, B, L), so that slopes are those of `member_losses`."""
    smoothed = any(config.label_smoothing for config in stack.configs)
    smoothing = stack.smoothing if smoothed else None
    found = sides(y, pos_weight=stack.pos_weight, smoothing=smoothing)
    elements = stack.batch_size * stack.shape.labels
    return [(signs, weights.div_(elements)) for signs, weights in found]
