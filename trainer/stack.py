"""The state of K runs that train as one batched program, and one epoch of it."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from trainer.config import TrainConfig
from trainer.data import TrainingData
from trainer.losses import focal_loss, focal_slope, sides, smooth
from trainer.model import Shape, backward, forward, initial_parameters, layers_of
from trainer.optimizer import AdamWState, adamw
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

    def join(self, other: "Stack") -> "Stack":
        """Return a stack of this one's members and then the other's; both are of one shape."""
        return Stack(
            shape=self.shape,
            configs=self.configs + other.configs,
            generators=self.generators + other.generators,
            row_weights=self.row_weights + other.row_weights,
            parameters=torch.cat([self.parameters, other.parameters]),
            optimizer=self.optimizer.join(other.optimizer),
            gamma=torch.cat([self.gamma, other.gamma]),
            pos_weight=torch.cat([self.pos_weight, other.pos_weight]),
            smoothing=torch.cat([self.smoothing, other.smoothing]),
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
    layers = layers_of(stack.parameters, stack.shape)
    gradients = torch.zeros_like(stack.parameters)
    gradient_layers = layers_of(gradients, stack.shape)
    update = adamw(
        stack.parameters,
        gradients,
        stack.optimizer,
        lr=lr,
        weight_decay=[config.weight_decay for config in stack.configs],
        max_norm=CLIP_NORM,
    )
    total = torch.zeros(len(stack), device=data.device)
    chunk = max(1, ROWS_A_CHUNK // rows_a_batch)
    for start in range(0, steps, chunk):
        now = rows[:, start : start + chunk].transpose(0, 1).contiguous()  # (steps, K, B)
        y = _label_by_label(data.y_train.index_select(0, now.view(-1)).view(*now.shape, -1))
        targets = _sides(y, stack)
        masks = draw_masks(stack, len(now))
        logits = []
        for step, batch in enumerate(now):
            x = data.x_train.index_select(0, batch.view(-1)).view(*batch.shape, -1)
            step_masks = None if masks is None else masks[step]
            activations = forward(layers, x, step_masks)
            logits.append(activations[-1])
            slopes = [
                focal_slope(logits[-1], signs[step], weights[step], gamma=stack.gamma)
                for signs, weights in targets
            ]
            backward(layers, activations, sum(slopes[1:], slopes[0]), gradient_layers, step_masks)
            update()
        total += member_losses(torch.stack(logits), y, stack).T.contiguous().sum(1)
    return total / steps


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


def member_losses(logits: Tensor, y: Tensor, stack: Stack, members: slice = ALL) -> Tensor:
    """Return the loss of each of a stack's members (..., K): the mean over B rows and L labels.

    Shapes: logits and y (..., K, B, L), with or without padding.
    """
    n_labels = logits.shape[-1]
    gamma = stack.gamma[members]
    pos_weight = stack.pos_weight[members, :, :n_labels]
    smoothed = any(config.label_smoothing for config in stack.configs[members])
    smoothing = stack.smoothing[members, :, :n_labels] if smoothed else None
    loss = smooth(
        lambda targets: focal_loss(logits, targets, gamma=gamma, pos_weight=pos_weight),
        y,
        smoothing,
    )
    return loss.flatten(-2).sum(-1) / (logits.shape[-2] * stack.shape.labels)


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
