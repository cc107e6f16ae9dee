"""One epoch of a stack: rows and dropout masks are drawn, then trained on, a chunk at a time."""

from dataclasses import replace

import torch
from torch import Tensor

from trainer.data import TrainingData
from trainer.draws import draw_masks, draw_rows
from trainer.losses import focal_slope, sides
from trainer.model import backward, forward, layers_of
from trainer.optimizer import adamw
from trainer.recording import recorded
from trainer.stack import Program, Stack, member_losses

CLIP_NORM = 1.0
ROWS_A_CHUNK = {"cpu": 512, "cuda": 4096}  # of a member: what stays in cache, what fills a GPU


def train_epoch(stack: Stack, data: TrainingData) -> Tensor:
    """Train every member on N rows, in place; return the mean training loss of each (K,)."""
    if stack.program is None:
        program = _program(replace(stack), data)  # of a copy, as a cycle would outlive the stack
        stack.program = recorded(program) if data.device.type == "cuda" else program
    rows = draw_rows(stack, len(data.x_train))
    total = torch.zeros(len(stack), device=data.device)
    steps = max(1, ROWS_A_CHUNK[data.device.type] // stack.batch_size)
    for start in range(0, len(rows), steps):
        chunk = rows[start : start + steps]
        total += stack.program(chunk, draw_masks(stack, len(chunk)))
    return total / len(rows)


def _program(stack: Stack, data: TrainingData) -> Program:
    """Return the function that trains on batches of rows (steps, K, B) with dropout masks.

    It returns the sum of each member's losses over the steps (K,).
    """
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

    def train(rows: Tensor, masks: Tensor | None) -> Tensor:
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
