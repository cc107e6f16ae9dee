"""The tensors that training reads: a fold's rows with its own features, the held-out rows pooled.

A run trains one member in each fold and is scored on the rows held out from them, all in one pool.
With a single validation part there is one fold, and its validation rows are the pool.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from trainer.data.features import Features, fit_features
from trainer.data.split import Split, fold_rows
from trainer.data.table import Table
from trainer.scores.promise import effective_share
from trainer.stack.model import Shape

CROSS_FITTING_FOLDS = 5  # in which a single part's validation rows are dealt for their thresholds


@dataclass(frozen=True)
class FoldData:
    """Train and held-out rows of one fold as float32 tensors on one device.

    Shapes (N train rows, V_k held-out rows, D features, L labels):
        x_train       (N, D padded to 16)    padding is 0
        y_train       (N, L padded to 8)     0.0 or 1.0; padding is 1, which a zero weight silences
        x_validation  (V_k, D padded to 16)
        y_validation  (V_k, L)               0.0 or 1.0
        places        (V_k,)                 int64, place of each held-out row in the pool
    """

    x_train: Tensor
    y_train: Tensor
    x_validation: Tensor
    y_validation: Tensor
    places: Tensor
    features: int

    @property
    def n_labels(self) -> int:
        """L."""
        return self.y_validation.shape[1]

    @property
    def device(self) -> torch.device:
        """Where the tensors are, and so where training runs."""
        return self.x_train.device


@dataclass(frozen=True)
class TrainingData:
    """The folds of one table, F of them, and the rows held out from them as one pool.

    Shapes (V rows of the pool, L labels):
        y_validation  (V, L)  0.0 or 1.0
        cross_fold    (V,)    int64; thresholds of a cross-fold's rows are chosen on the others
        groups        (V,)    int64 codes of the rows' groups, None without any

    Each row of the pool is held out from `repeats` folds.
    """

    folds: tuple[FoldData, ...]
    y_validation: Tensor
    cross_fold: Tensor
    groups: np.ndarray | None
    labels: tuple[str, ...]
    repeats: int = 1

    @property
    def device(self) -> torch.device:
        """Where the tensors are, and so where training runs."""
        return self.y_validation.device

    @property
    def prevalence(self) -> dict[str, float]:
        """Share of positives of each label in the pool."""
        return dict(zip(self.labels, self.y_validation.mean(0).tolist(), strict=True))

    @cached_property
    def effective_share(self) -> tuple[float, ...]:
        """How many positives each one of a label counts for, by trainer.scores.promise."""
        return effective_share(self.y_validation.cpu().numpy(), self.groups)

    def pool(self, of_folds: Sequence[Tensor]) -> Tensor:
        """Return probabilities (..., V, L) of the pool from those of each fold (..., V_k, L).

        They may be on another device than the data. Where the folds are repeated, a row has the
        mean of what it was predicted.
        """
        size = (*of_folds[0].shape[:-2], *self.y_validation.shape)
        pooled = of_folds[0].new_zeros(size)
        for fold, probabilities in zip(self.folds, of_folds, strict=True):
            pooled.index_add_(-2, fold.places.to(pooled.device), probabilities)
        return pooled if self.repeats == 1 else pooled / self.repeats


def one_fold(data: TrainingData, k: int) -> TrainingData:
    """Return a fold of the data alone: its own held-out rows are the pool.

    They are dealt to cross-folds in turn, without regard to groups.
    """
    fold = data.folds[k]
    places = torch.arange(len(fold.places), device=data.device)
    return TrainingData(
        folds=(replace(fold, places=places),),
        y_validation=fold.y_validation,
        cross_fold=places % CROSS_FITTING_FOLDS,
        groups=None,
        labels=data.labels,
    )


def pooled_rows(splits: Sequence[Split]) -> np.ndarray:
    """Return the rows that are held out from some fold, (V,) sorted: the pool's, in its order."""
    return np.unique(np.concatenate([split.validation for split in splits]))


def make_data(
    table: Table, splits: Sequence[Split], *, device: str | torch.device = "cpu"
) -> tuple[tuple[Features, ...], TrainingData]:
    """Fit each fold's features on its own train rows; return them and the tensors.

    `splits` has one Split for each fold: those of `trainer.data.split.fold_splits`, or a single
    one. Test rows stay unread.
    """
    rows = pooled_rows(splits)
    made = [
        make_fold(table, split.train, split.validation, rows, device=device) for split in splits
    ]
    groups = None if table.groups is None else table.groups[rows]
    data = TrainingData(
        folds=tuple(fold for _, fold in made),
        y_validation=torch.from_numpy(table.labels[rows]).contiguous().to(device),
        cross_fold=torch.from_numpy(_cross_folds(table, splits, rows)).to(device),
        groups=groups,
        labels=table.roles.labels,
        repeats=sum(len(split.validation) for split in splits) // len(rows),
    )
    return tuple(features for features, _ in made), data


def make_fold(
    table: Table,
    train: np.ndarray,
    held_out: np.ndarray,
    pool: np.ndarray,
    *,
    device: str | torch.device = "cpu",
) -> tuple[Features, FoldData]:
    """Fit features on the train rows and place both parts' rows; `pool` are the pool's rows."""
    features = fit_features(table, train)
    y = torch.from_numpy(table.labels)

    def inputs(rows: np.ndarray) -> Tensor:
        x = torch.zeros(len(rows), Shape.input_width(len(features.names)))
        features.write(table.columns.iloc[rows], x.numpy())
        return x.to(device)

    fold = FoldData(
        x_train=inputs(train),
        y_train=Shape.pad_targets(y[train]).to(device),
        x_validation=inputs(held_out),
        y_validation=y[held_out].contiguous().to(device),
        places=torch.from_numpy(np.searchsorted(pool, held_out)).to(device),
        features=len(features.names),
    )
    return features, fold


def _cross_folds(table: Table, splits: Sequence[Split], rows: np.ndarray) -> np.ndarray:
    """(V,) int64: the fold that a row is held out from, of the first deal where they repeat.

    A single part has none that would do, so its rows are dealt into CROSS_FITTING_FOLDS.
    """
    if len(splits) == 1:
        groups = None if table.groups is None else table.groups[rows]
        return fold_rows(table.labels[rows], groups, n_folds=CROSS_FITTING_FOLDS, seed=0)
    cross_fold = np.full(len(rows), -1, dtype=np.int64)
    for k, split in enumerate(splits):
        places = np.searchsorted(rows, split.validation)
        cross_fold[places[cross_fold[places] < 0]] = k
    return cross_fold
