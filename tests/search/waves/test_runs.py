import os
import signal
from contextlib import suppress
from dataclasses import replace

import psutil
import pytest
import torch

from search.waves.runs import StoppedError, train_runs
from trainer.config import TrainConfig
from trainer.errors import RaretuneError
from trainer.loop.fit import fit

CONFIGS = [
    TrainConfig(epochs=3, hidden_dim=width, batch_size=64, seed=seed)
    for width in (16, 32)
    for seed in range(3)
]


@pytest.mark.parametrize("workers", [1, 2, 9])
def test_runs_come_in_order_and_each_trains_as_if_alone(data, workers):
    ended = []
    runs = train_runs(data, CONFIGS, workers=workers, stack=2, on_run=ended.append)
    assert ended == [1, 2, 3, 4, 5, 6]
    for config, run in zip(CONFIGS, runs, strict=True):
        alone = fit(data, [config])[0]
        assert run.config == config
        assert run.scores == alone.history[alone.best_epoch - 1]
        assert torch.equal(run.held_out, alone.held_out)


def test_nothing_to_train_is_no_run(data):
    assert train_runs(data, [], workers=2, stack=4) == []


@pytest.mark.parametrize("workers", [1, 2])
def test_they_stop_when_asked_to(data, workers):
    with pytest.raises(StoppedError):
        train_runs(data, CONFIGS, workers=workers, stack=4, should_stop=lambda: True)


@pytest.mark.parametrize("workers", [1, 2])
def test_a_loss_that_is_not_finite_is_said_to_be_so(data, workers):
    fold = replace(data.folds[0], x_train=data.folds[0].x_train + torch.inf)
    with pytest.raises(RaretuneError, match="a loss was not finite from the first epoch"):
        train_runs(replace(data, folds=(fold,)), CONFIGS, workers=workers, stack=4)


def test_a_process_that_dies_is_told(data):
    long = [config.model_copy(update={"epochs": 2000}) for config in CONFIGS]

    def kill(ended):
        for child in psutil.Process().children(recursive=True):
            with suppress(psutil.NoSuchProcess):  # one that has ended meanwhile, a zombie too
                if "forkserver" in " ".join(child.cmdline()) and child.ppid() != os.getpid():
                    child.send_signal(signal.SIGKILL)

    with pytest.raises(RaretuneError, match="ended too early"):
        train_runs(data, [CONFIGS[0], CONFIGS[1], *long], workers=2, stack=4, on_run=kill)
