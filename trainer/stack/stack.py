"""The state of K runs of one shape, and what each of them pays."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from trainer.config import TrainConfig
from trainer.stack.losses import focal_loss, smooth
from trainer.stack.model import Shape, initial_parameters
from trainer.stack.optimizer import AdamWState
from trainer.stack.tensors import FoldData
from trainer.stack.weights import class_weights, sampling_weights

ALL = slice(None)

# Trains on batches of rows (K, steps, B) with the keys (K,) of what is dropped; returns the sums of
# each member's losses (K,).
Program = Callable[[Tensor, Tensor], Tensor]


@dataclass
class Stack:
    """K members: what differs between them as tensors with a leading K, or as lists of K.

    Shapes: parameters and optimizer moments (K, P); gamma (K, 1, 1); pos_weight and smoothing
    (K, 1, L padded). `row_weights` hold (N,) sampling weights, None where rows are drawn once.
    `program` is what trainer.steps.epoch trains these very tensors with, made at their first epoch.
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
    program: Program | None = None

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


def start_stack(data: FoldData, configs: Sequence[TrainConfig]) -> Stack:
    """Return the members before their first epoch; configs must share their `stack_key`."""
    first = configs[0]
    shape = Shape(data.features, data.n_labels, first.hidden_dim, first.num_layers)
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
