"""The training loop as a good user writes it in an afternoon, one network at a time.

DataLoader, nn.Sequential, autograd, clipping, scikit-learn after each epoch. Where such scripts
differ, the faster way is taken: validation rows in one batch, and thresholds from the
precision-recall curve instead of an F1 score for each of many cuts.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from sklearn.metrics import average_precision_score, precision_recall_curve, roc_auc_score
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812
from torch.utils.data import DataLoader, TensorDataset, WeightedRandomSampler

from benchmarks.job import AfterEpoch
from trainer.config import TrainConfig
from trainer.stack.optimizer import CLIP_NORM
from trainer.stack.tensors import FoldData, TrainingData
from trainer.stack.weights import class_weights, sampling_weights


@dataclass(frozen=True)
class Rows:
    """Train and validation rows of a fold on the CPU: x (rows, D), y (rows, L), no padding."""

    x_train: Tensor
    y_train: Tensor
    x_validation: Tensor
    y_validation: Tensor


def unpadded(fold: FoldData) -> Rows:
    return Rows(
        x_train=fold.x_train[:, : fold.features].cpu().contiguous(),
        y_train=fold.y_train[:, : fold.n_labels].cpu().contiguous(),
        x_validation=fold.x_validation[:, : fold.features].cpu().contiguous(),
        y_validation=fold.y_validation.cpu(),
    )


class FocalLoss(nn.Module):
    """Focal loss with class weights, the mean over a batch; gamma 0 is weighted cross-entropy."""

    def __init__(self, gamma: float, pos_weight: Tensor) -> None:
        super().__init__()
        self.gamma = gamma
        self.register_buffer("pos_weight", pos_weight)

    def forward(self, logits: Tensor, targets: Tensor) -> Tensor:
        loss = F.binary_cross_entropy_with_logits(
            logits, targets, pos_weight=self.pos_weight, reduction="none"
        )
        if self.gamma:
            p = torch.sigmoid(logits)
            loss = loss * (1 - torch.where(targets > 0, p, 1 - p)) ** self.gamma
        return loss.mean()


def make_network(rows: Rows, config: TrainConfig) -> nn.Sequential:
    layers, width = [], rows.x_train.shape[1]
    for _ in range(config.num_layers):
        layers += [nn.Linear(width, config.hidden_dim), nn.ReLU(), nn.Dropout(config.dropout)]
        width = config.hidden_dim
    return nn.Sequential(*layers, nn.Linear(width, rows.y_train.shape[1]))


def make_loss(rows: Rows, config: TrainConfig) -> nn.Module:
    if config.loss_type == "bce":
        return nn.BCEWithLogitsLoss()
    weights = class_weights(
        rows.y_train, config.class_weight_method, config.class_weight_multiplier
    )
    return FocalLoss(config.focal_gamma if config.loss_type == "focal" else 0.0, weights)


def make_sampler(rows: Rows, config: TrainConfig) -> WeightedRandomSampler | None:
    if config.weight_method == "none":
        return None
    weights = sampling_weights(rows.y_train, config.weight_method)
    return WeightedRandomSampler(weights, len(weights))


def make_loader(rows: Rows, config: TrainConfig) -> DataLoader:
    sampler = make_sampler(rows, config)
    dataset = TensorDataset(rows.x_train, rows.y_train)
    return DataLoader(dataset, config.batch_size, shuffle=sampler is None, sampler=sampler)


def train_epoch(
    network: nn.Module,
    loader: DataLoader,
    criterion: nn.Module,
    optimizer: torch.optim.Optimizer,
    device: torch.device,
) -> None:
    network.train()
    for x, y in loader:
        x, y = x.to(device), y.to(device)
        optimizer.zero_grad()
        criterion(network(x), y).backward()
        nn.utils.clip_grad_norm_(network.parameters(), CLIP_NORM)
        optimizer.step()


@torch.no_grad()
def predict(network: nn.Module, x: Tensor) -> np.ndarray:
    network.eval()
    return torch.sigmoid(network(x)).cpu().numpy()


def best_f1(y: np.ndarray, probabilities: np.ndarray) -> tuple[float, np.ndarray]:
    """Return macro-F1 at the best threshold of each label, and the thresholds (L,)."""
    scores, thresholds = [], []
    for label in range(y.shape[1]):
        precision, recall, cuts = precision_recall_curve(y[:, label], probabilities[:, label])
        f1 = 2 * precision * recall / np.maximum(precision + recall, 1e-12)
        best = f1[:-1].argmax()
        scores.append(f1[best])
        thresholds.append(cuts[best])
    return float(np.mean(scores)), np.array(thresholds)


def validate(y: np.ndarray, probabilities: np.ndarray) -> dict[str, float]:
    """Return the means over the labels of the three scores."""
    return {
        "macro_f1": best_f1(y, probabilities)[0],
        "average_precision": float(average_precision_score(y, probabilities)),
        "roc_auc": float(roc_auc_score(y, probabilities)),
    }


def train(data: TrainingData, configs: Sequence[TrainConfig], after_epoch: AfterEpoch) -> None:
    """Train one config on a table's only fold, on its device, until told to stop."""
    (config,), (fold,), device = configs, data.folds, data.device
    rows = unpadded(fold)
    network = make_network(rows, config).to(device)
    criterion = make_loss(rows, config).to(device)
    optimizer = torch.optim.Adam(network.parameters(), lr=config.lr)
    loader = make_loader(rows, config)
    x, y = rows.x_validation.to(device), rows.y_validation.numpy()
    for _ in range(config.epochs):
        train_epoch(network, loader, criterion, optimizer, device)
        if not after_epoch(validate(y, predict(network, x))["average_precision"]):
            break
