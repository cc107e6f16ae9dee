"""Which columns a network leans on: what each label loses when a column's values change places.

Permutation importance (Breiman 2001, doi:10.1023/A:1010933404324, section 10), with average
precision as the score. All inputs that come from one column of the table move together. The first
layer is linear, so its sums are made once, and a column only adds what its own inputs change.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from trainer.data.features import Features
from trainer.scores.metrics import average_precision, rank
from trainer.stack.model import Shape, forward, layers_of

REPEATS = 4
MOST_PRODUCTS = 60_000_000_000  # multiplications behind the first layer, about three seconds
LEAST_ROWS, MOST_ROWS = 1000, 4000  # however wide the table, and however long


@dataclass(frozen=True)
class Importance:
    """Drop of each label's average precision by shuffling a column, over some shuffles.

    Shapes (C columns, L labels): drop (C, L) float64 mean, spread (C, L) standard deviation.
    """

    columns: tuple[str, ...]
    drop: Tensor
    spread: Tensor


def inputs_of_columns(features: Features) -> dict[str, list[int]]:
    """Return which of the D inputs each table column feeds; a column that feeds none is left out.

    A missing flag that several columns share belongs to the first of them, which alone sets it.
    """
    description = features.description
    strings = description.strings
    owners = [*description.numbers, *([strings.column] * len(strings.names) if strings else [])]
    numbers = np.concatenate([features.scaled, features.piece_of, features.flagged])
    of_numbers = [owners[j] for j in numbers]
    of_texts = [category.column for category in description.categories for _ in category.names]
    inputs: dict[str, list[int]] = {}
    for i, column in enumerate(of_numbers + of_texts):
        inputs.setdefault(column, []).append(i)
    return inputs


@torch.no_grad()
def permutation_importance(
    flat: Tensor,
    shape: Shape,
    x: Tensor,
    y: Tensor,
    inputs: Mapping[str, Sequence[int]],
    *,
    repeats: int = REPEATS,
    most_products: int = MOST_PRODUCTS,
    seed: int = 0,
) -> Importance:
    """Shuffle each column `repeats` times, all columns by the same orders of the rows.

    Of many rows, 1,000 to 4,000 are used, with each label's share of positives among them, so that
    time and memory stay small: about `most_products` multiplications behind the first layer.

    Shapes (N rows, D features, L labels): flat (1, P) on the CPU, x (N, D padded to 16), y (N, L)
    0 or 1. `inputs` are those of `inputs_of_columns`. Draws with torch.randperm from `seed`.
    """
    (weight, bias), *rest = layers_of(flat, shape)
    later = sum(n_in * n_out for n_in, n_out in shape.layers[1:])
    affordable = most_products // max(1, later * repeats * len(inputs))
    rows = _representative(y, min(max(LEAST_ROWS, affordable), MOST_ROWS))
    x, y = x[rows], y[rows]
    generator = torch.Generator().manual_seed(seed)
    orders = torch.stack([torch.randperm(len(x), generator=generator) for _ in range(repeats)])
    stack = [(w.expand(repeats, -1, -1), b.expand(repeats, -1, -1)) for w, b in rest]

    def precision(sums: Tensor) -> Tensor:
        """Average precision (R, L) of the first layer's sums (R, N, its outputs)."""
        logits = forward(stack, sums.relu())[-1] if stack else sums
        return average_precision(rank(torch.sigmoid(logits[..., : shape.labels]), y))

    sums = torch.addmm(bias[0], x, weight[0])
    whole = precision(sums.expand(repeats, -1, -1))
    drops = []
    for members in inputs.values():
        values = x[:, list(members)]
        change = (values[orders] - values) @ weight[0, list(members)]
        drops.append(whole - precision(change.add_(sums)))
    drop = torch.stack(drops)
    return Importance(tuple(inputs), drop.mean(dim=1), drop.std(dim=1))


def mean_importance(importances: Sequence[Importance], n_pos: Tensor) -> Importance:
    """Return the mean over the folds, each weighing as many positives as it has.

    A column that a fold's network does not read costs it nothing. Shapes (F folds, L labels): n_pos
    (F, L). The spread is the root of the mean variance within the folds.
    """
    columns = tuple(dict.fromkeys(c for one in importances for c in one.columns))
    place = {column: i for i, column in enumerate(columns)}
    weight = n_pos.double() / n_pos.sum(dim=0).clamp(min=1)
    drop = torch.zeros(len(columns), n_pos.shape[1], dtype=torch.float64)
    variance = torch.zeros_like(drop)
    for one, share in zip(importances, weight, strict=True):
        rows = [place[column] for column in one.columns]
        drop[rows] += share * one.drop
        variance[rows] += share * one.spread**2
    return Importance(columns, drop, variance.sqrt())


def _representative(y: Tensor, most: int) -> Tensor:
    """Return at most `most` rows of (N, L) labels, evenly spread over the rows sorted by label."""
    if len(y) <= most:
        return torch.arange(len(y))
    by_label = np.lexsort(y.numpy().T)
    places = np.linspace(0, len(y) - 1, most).round().astype(np.int64)
    return torch.from_numpy(np.sort(by_label[places]))
