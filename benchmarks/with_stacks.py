"""The same job by raretune's own `fit`; and the bare matrix products of a stack."""

import math
import statistics
from collections.abc import Sequence

import torch
from torch import Tensor

from benchmarks.job import AfterEpoch
from trainer.config import TrainConfig
from trainer.loop.fit import EpochReport, fit
from trainer.stack.model import Shape, layers_of
from trainer.stack.tensors import TrainingData
from trainer.steps.cuda_graph import recorded


def train(data: TrainingData, configs: Sequence[TrainConfig], after_epoch: AfterEpoch) -> None:
    """Train the configs as one stack until told to stop; the score is the members' mean."""

    def ask(report: EpochReport) -> list[bool]:
        goes_on = after_epoch(statistics.mean(report.scores["average_precision"]))
        return [goes_on] * len(report.runs)

    fit(data, configs, ask)


def multiply(data: TrainingData, configs: Sequence[TrainConfig], after_epoch: AfterEpoch) -> None:
    """Do the matrix products of the configs' epochs and nothing else, until told to stop.

    The table has one fold. Forward x W1, h1 W2, h2 W3; backward the slopes of W3, h2, W2, h1 and
    W1. All lies in memory as in training. The batch is always the same, results go to fixed places,
    and nothing is drawn, added, scored or learned. On a GPU an epoch is replayed as one graph.
    """
    config, (fold,) = configs[0], data.folds
    shape = Shape(fold.features, fold.n_labels, config.hidden_dim, config.num_layers)
    widths = [shape.inputs, *(n_out for _, n_out in shape.layers)]

    def place(*sizes: int) -> Tensor:
        return torch.randn(len(configs), *sizes, device=data.device) / math.sqrt(shape.inputs)

    def rows() -> list[Tensor]:
        *hidden, last = widths
        return [place(config.batch_size, n) for n in hidden] + [place(last, config.batch_size).mT]

    weights = [weight for weight, _ in layers_of(place(shape.parameters), shape)]
    weight_slopes = [slope for slope, _ in layers_of(place(shape.parameters), shape)]
    values, slopes = rows(), rows()

    def epoch() -> Tensor:
        for _ in range(math.ceil(len(fold.x_train) / config.batch_size)):
            for i, weight in enumerate(weights):
                _product(values[i], weight, values[i + 1])
            for i in reversed(range(len(weights))):
                _product(values[i].mT, slopes[i + 1], weight_slopes[i])
                if i:
                    _product(slopes[i + 1], weights[i].mT, slopes[i])
        return values[-1]

    if data.device.type == "cuda":
        epoch = recorded(epoch)
        epoch()
    goes_on = True
    while goes_on:
        epoch()
        if data.device.type == "cuda":
            torch.cuda.synchronize()
        goes_on = after_epoch(math.nan)


def _product(left: Tensor, right: Tensor, out: Tensor) -> None:
    """Write the products (K, n, m) of left (K, n, k) and right (K, k, m) in the layout of `out`."""
    if out.stride(-1) == 1:
        torch.bmm(left, right, out=out)
    else:
        torch.bmm(right.mT, left.mT, out=out.mT)
