"""The tensors that training reads: features fitted on train rows only, placed on a device once."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from trainer.data.features import Features, fit_features
from trainer.data.split import Split, fold_rows
from trainer.data.table import Table
from trainer.stack.model import Shape

FOLDS = 5  # in which the validation rows are cross-fitted


@dataclass(frozen=True)
class TrainingData:
    """Train and validation rows of one table as float32 tensors on one device.

    Shapes (N train rows, V validation rows, D features, L labels):
        x_train       (N, D padded to 16)  padding is 0
        y_train       (N, L padded to 8)   0.0 or 1.0; padding is 1, which a zero weight silences
        x_validation  (V, D padded to 16)
        y_validation  (V, L)               0.0 or 1.0
        folds         (V,)                 int64, the cross-fitting fold of each validation row
    """

    x_train: Tensor
    y_train: Tensor
    x_validation: Tensor
    y_validation: Tensor
    folds: Tensor
    features: int
    labels: tuple[str, ...]

    @property
    def device(self) -> torch.device:
        """Where the tensors are, and so where training runs."""
        return self.x_train.device


def make_data(
    table: Table, split: Split, *, device: str | torch.device = "cpu"
) -> tuple[Features, TrainingData]:
    """Fit the features on the train rows, return them and the tensors; test rows stay unread."""
    features = fit_features(table, split.train)
    y = torch.from_numpy(table.labels)
    validation = split.validation
    folds = fold_rows(
        table.labels[validation],
        None if table.groups is None else table.groups[validation],
        n_folds=FOLDS,
        seed=0,
    )

    def inputs(rows: np.ndarray) -> Tensor:
        x = torch.zeros(len(rows), Shape.input_width(len(features.names)))
        features.write(table.columns.iloc[rows], x.numpy())
        return x.to(device)

    data = TrainingData(
        x_train=inputs(split.train),
        y_train=Shape.pad_targets(y[split.train]).to(device),
        x_validation=inputs(validation),
        y_validation=y[validation].contiguous().to(device),
        folds=torch.from_numpy(folds).to(device),
        features=len(features.names),
        labels=table.roles.labels,
    )
    return features, data
