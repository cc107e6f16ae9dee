"""The job of benchmarks/loops.py as a user of PyTorch Lightning writes it."""

import logging
import warnings
from collections.abc import Sequence

import torch
from lightning import Callback, LightningModule, Trainer
from torch import Tensor
from torch.utils.data import DataLoader, TensorDataset

from benchmarks.job import AfterEpoch
from benchmarks.loops import make_loader, make_loss, make_network, unpadded, validate
from trainer.config import TrainConfig
from trainer.stack.optimizer import CLIP_NORM
from trainer.stack.tensors import TrainingData

logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)


class Classifier(LightningModule):
    def __init__(self, network, criterion, config: TrainConfig) -> None:
        super().__init__()
        self.network, self.criterion, self.config = network, criterion, config

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.Adam(self.parameters(), lr=self.config.lr)

    def training_step(self, batch: list[Tensor]) -> Tensor:
        x, y = batch
        return self.criterion(self.network(x), y)

    def validation_step(self, batch: list[Tensor]) -> None:
        x, y = batch
        probabilities = torch.sigmoid(self.network(x))
        self.log_dict(validate(y.cpu().numpy(), probabilities.cpu().numpy()))


class AskAfterEpoch(Callback):
    def __init__(self, after_epoch: AfterEpoch) -> None:
        self.after_epoch = after_epoch

    def on_train_epoch_end(self, trainer: Trainer, _: LightningModule) -> None:
        score = trainer.callback_metrics["average_precision"].item()
        trainer.should_stop = not self.after_epoch(score)


def train(data: TrainingData, configs: Sequence[TrainConfig], after_epoch: AfterEpoch) -> None:
    """Train one config on a table's only fold, on its device, until told to stop."""
    (config,), (fold,) = configs, data.folds
    rows = unpadded(fold)
    held_out = TensorDataset(rows.x_validation, rows.y_validation)
    trainer = Trainer(
        accelerator="gpu" if data.device.type == "cuda" else "cpu",
        devices=1,
        max_epochs=config.epochs,
        gradient_clip_val=CLIP_NORM,
        num_sanity_val_steps=0,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        callbacks=[AskAfterEpoch(after_epoch)],
    )
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module="lightning")  # no workers; a torch it lags behind
        trainer.fit(
            Classifier(make_network(rows, config), make_loss(rows, config), config),
            make_loader(rows, config),
            DataLoader(held_out, batch_size=len(rows.x_validation)),
        )
