"""The state of K runs that train as one batched program, and one epoch of it."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from trainer.config import TrainConfig
from trainer.data import TrainingData
from trainer.losses import focal_loss, smoothed_focal_loss
from trainer.model import Layer, Shape, forward, initial_parameters, layers_of
from trainer.optimizer import AdamWState, adamw_step, clip_divisors
from trainer.weights import class_weights, sampling_weights

CLIP_NORM = 1.0
ROWS_A_CHUNK = 512  # rows a member draws, gathers and masks at a time
ALL = slice(None)


@dataclass
class Stack:
    """K members: what differs between them as tensors with a leading K, or as lists of K.

    Shapes: parameters and optimizer moments (K, P); gamma (K, 1, 1); pos_weight and smoothing
    (K, 1, L padded). `row_weights` hold (N,) sampling weights, None where rows are drawn once.
    """

    shape: Shape
    configs: list[TrainConfig]
    generators: list[torch.Generator]
    row_weights: list[Tensor | None]
    parameters: Tensor
    optimizer: AdamWState
    gamma: Tensor
    pos_weight: Tensor
    smoothing: Tensor

    def __len__(self) -> int:
        return len(self.configs)

    @property
    def batch_size(self) -> int:
        """B, equal for all members."""
        return self.configs[0].batch_size

    def select(self, members: Sequence[int]) -> "Stack":
        """Return a stack of the given members (positions in this one) alone, in that order."""
        index = torch.tensor(members, dtype=torch.long, device=self.parameters.device)
        return Stack(
            shape=self.shape,
            configs=[self.configs[k] for k in members],
            generators=[self.generators[k] for k in members],
            row_weights=[self.row_weights[k] for k in members],
            parameters=self.parameters[index],
            optimizer=self.optimizer.select(index),
            gamma=self.gamma[index],
            pos_weight=self.pos_weight[index],
            smoothing=self.smoothing[index],
        )


def start_stack(data: TrainingData, configs: Sequence[TrainConfig]) -> Stack:
    """Return the members before their first epoch; configs must share their `stack_key`."""
    first = configs[0]
    shape = Shape(data.features, len(data.labels), first.hidden_dim, first.num_layers)
    generators = [torch.Generator(data.device).manual_seed(config.seed) for config in configs]
    parameters = initial_parameters(shape, generators)
    labels = data.y_train[:, : shape.labels]
    pos_weight = torch.zeros(len(configs), 1, shape.outputs, device=data.device)
    smoothing = torch.zeros_like(pos_weight)
    for k, config in enumerate(configs):
        weighted = config.loss_type != "bce"
        method = config.class_weight_method if weighted else "none"
        multiplier = config.class_weight_multiplier if weighted else 1.0
        pos_weight[k, 0, : shape.labels] = class_weights(labels, method, multiplier)
        smoothing[k, 0, : shape.labels] = config.label_smoothing
    gamma = [config.focal_gamma if config.loss_type == "focal" else 0.0 for config in configs]
    return Stack(
        shape=shape,
        configs=list(configs),
        generators=generators,
        row_weights=[
            None
            if config.weight_method == "none"
            else sampling_weights(labels, config.weight_method)
            for config in configs
        ],
        parameters=parameters,
        optimizer=AdamWState.zeros(parameters),
        gamma=torch.tensor(gamma, device=data.device).view(-1, 1, 1),
        pos_weight=pos_weight,
        smoothing=smoothing,
    )


def train_epoch(stack: Stack, data: TrainingData, lr: Sequence[float]) -> Tensor:
    """Train every member on N rows, in place; return the mean training loss of each (K,).

    The last batch is filled up with the epoch's first rows, so that all batches are whole.
    """
    rows_a_batch, n_rows = stack.batch_size, len(data.x_train)
    steps = -(-n_rows // rows_a_batch)
    rows = torch.stack(
        [
            _draw_rows(n_rows, steps * rows_a_batch, weights, generator)
            for weights, generator in zip(stack.row_weights, stack.generators, strict=True)
        ]
    ).view(len(stack), steps, rows_a_batch)
    leaves = [
        (weight.requires_grad_(), bias.requires_grad_())
        for weight, bias in layers_of(stack.parameters.detach(), stack.shape)
    ]
    gradients = torch.zeros_like(stack.parameters)
    total = torch.zeros(len(stack), device=data.device)
    chunk = max(1, ROWS_A_CHUNK // rows_a_batch)
    for start in range(0, steps, chunk):
        now = rows[:, start : start + chunk].transpose(0, 1).contiguous()  # (steps, K, B)
        x = data.x_train.index_select(0, now.view(-1)).view(*now.shape, -1)
        y = data.y_train.index_select(0, now.view(-1)).view(*now.shape, -1)
        masks = draw_masks(stack, len(now))
        for step in range(len(now)):
            step_masks = list(masks[:, step].unbind(1)) if masks is not None else []
            total += _gradients(stack, leaves, x[step], y[step], step_masks, out=gradients)
            adamw_step(
                stack.parameters,
                gradients,
                stack.optimizer,
                lr=lr,
                weight_decay=[config.weight_decay for config in stack.configs],
                divisors=clip_divisors(gradients, CLIP_NORM),
            )
    return total / steps


def _gradients(
    stack: Stack,
    leaves: Sequence[Layer],
    x: Tensor,
    y: Tensor,
    masks: Sequence[Tensor],
    *,
    out: Tensor,
) -> Tensor:
    """Write each member's own gradient (K, P) to `out` and return the losses (K,)."""
    losses = member_losses(forward(leaves, x, masks), y, stack)
    tensors = [tensor for layer in leaves for tensor in layer]
    flat = [g.flatten(1) for g in torch.autograd.grad(losses.sum(), tensors)]
    torch.cat(flat, dim=1, out=out[:, : sum(g.shape[1] for g in flat)])
    return losses.detach()


def member_losses(logits: Tensor, y: Tensor, stack: Stack, members: slice = ALL) -> Tensor:
    """Return the loss of each of a stack's members (K,): the mean over B rows and L labels.

    Shapes: logits and y (K, B, L), with or without padding.
    """
    n_labels = logits.shape[-1]
    gamma = stack.gamma[members]
    pos_weight = stack.pos_weight[members, :, :n_labels]
    if any(config.label_smoothing for config in stack.configs[members]):
        smoothing = stack.smoothing[members, :, :n_labels]
        loss = smoothed_focal_loss(
            logits, y, gamma=gamma, pos_weight=pos_weight, smoothing=smoothing
        )
    else:
        loss = focal_loss(logits, y, gamma=gamma, pos_weight=pos_weight)
    return loss.flatten(1).sum(1) / (logits.shape[1] * stack.shape.labels)


def _draw_rows(
    n_rows: int, count: int, weights: Tensor | None, generator: torch.Generator
) -> Tensor:
    """Return `count` row indices: each row once in random order, or by weight with replacement."""
    device = generator.device
    if weights is not None:
        return torch.multinomial(weights, count, replacement=True, generator=generator)
    order = torch.randperm(n_rows, generator=generator, device=device)
    return order[torch.arange(count, device=device) % n_rows]


def draw_masks(stack: Stack, steps: int) -> Tensor | None:
    """Return dropout masks (K, steps, layers, B, H) of 0 and 1 / (1 - rate), None without dropout.

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
    per_member = (-1, 1, 1, 1, 1)
    drawn = words.view(torch.uint8)[:, :units]
    drawn = drawn.view(len(stack), steps, layers, stack.batch_size, stack.shape.hidden_dim)
    cut = torch.tensor(rates, dtype=torch.uint8, device=device).view(per_member)
    keep = torch.tensor([256 / (256 - rate) for rate in rates], device=device).view(per_member)
    return (drawn >= cut).to(torch.float32).mul_(keep)
