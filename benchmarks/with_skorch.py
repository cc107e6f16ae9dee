"""The job of benchmarks/loops.py as a user of skorch writes it."""

from collections.abc import Sequence

import torch
from sklearn.metrics import average_precision_score, roc_auc_score
from skorch import NeuralNet
from skorch.callbacks import Callback, EpochScoring, GradientNormClipping
from skorch.dataset import Dataset
from skorch.helper import predefined_split

from benchmarks.job import AfterEpoch
from benchmarks.loops import best_f1, make_loss, make_network, make_sampler, unpadded
from trainer.config import TrainConfig
from trainer.stack.optimizer import CLIP_NORM
from trainer.stack.tensors import TrainingData


class AskAfterEpoch(Callback):
    """Ends training when told to, the way skorch's own EarlyStopping does."""

    def __init__(self, after_epoch: AfterEpoch) -> None:
        self.after_epoch = after_epoch

    def on_epoch_end(self, net: NeuralNet, **_: object) -> None:
        if not self.after_epoch(net.history[-1, "average_precision"]):
            raise KeyboardInterrupt


def scoring(name, score):
    return EpochScoring(
        lambda net, x, y: score(y, net.predict_proba(x)), name=name, lower_is_better=False
    )


def train(data: TrainingData, configs: Sequence[TrainConfig], after_epoch: AfterEpoch) -> None:
    """Train one config on a table's only fold, on its device, until told to stop."""
    (config,), (fold,) = configs, data.folds
    rows = unpadded(fold)
    x_validation, y_validation = rows.x_validation.numpy(), rows.y_validation.numpy()
    net = NeuralNet(
        make_network(rows, config),
        make_loss(rows, config),
        optimizer=torch.optim.Adam,
        lr=config.lr,
        max_epochs=config.epochs,
        batch_size=config.batch_size,
        iterator_train__sampler=make_sampler(rows, config),
        iterator_valid__batch_size=len(x_validation),
        train_split=predefined_split(Dataset(x_validation, y_validation)),
        predict_nonlinearity=torch.sigmoid,
        callbacks=[
            GradientNormClipping(CLIP_NORM),
            scoring("macro_f1", lambda y, p: best_f1(y, p)[0]),
            scoring("average_precision", average_precision_score),
            scoring("roc_auc", roc_auc_score),
            AskAfterEpoch(after_epoch),
        ],
        verbose=0,
        device=data.device,
    )
    net.fit(rows.x_train.numpy(), rows.y_train.numpy())
