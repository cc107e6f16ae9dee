"""Rates of programs that run in several processes at once, one thread each."""

import os
import pkgutil
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from multiprocessing import get_context
from typing import Any, TypeVar

import torch

from trainer.config import TrainConfig
from trainer.stack.tensors import FoldData, TrainingData

PATIENCE_SECONDS = 1800  # for the other processes to have warmed up


@dataclass(frozen=True)
class Rate:
    """Model-epochs per second of all processes; of the first one, its epochs and last score."""

    per_second: float
    epochs: int
    average_precision: float


class Clock:
    """Counts a program's epochs; told of each, it says whether to train another.

    The first epoch is the warm-up. Then all processes begin together, each counts whole epochs for
    so many seconds, at least one epoch, and goes on uncounted until the others are done too: none
    is measured beside an idle core.
    """

    def __init__(self, seconds: float, members: int) -> None:
        self.seconds, self.members = seconds, members
        self.started: float | None = None
        self.epochs = 0
        self.rate: Rate | None = None

    def __call__(self, score: float) -> bool:
        if self.started is None:
            _shared["barrier"].wait(PATIENCE_SECONDS)
            self.started = time.perf_counter()
            return True
        self.epochs += 1
        took = time.perf_counter() - self.started
        if self.rate is None and took >= self.seconds:
            self.rate = Rate(self.members * self.epochs / took, self.epochs, score)
            with _shared["done"].get_lock():
                _shared["done"].value += 1
        barrier = _shared["barrier"]
        return _shared["done"].value < barrier.parties and not barrier.broken


Held = TypeVar("Held", FoldData, TrainingData)
Measure = Callable[[str, Sequence[TrainConfig], float], Rate]

_shared: dict[str, Any] = {}  # by the tasks of a process: data, barrier, done


@contextmanager
def processes(count: int, data: TrainingData, device: torch.device) -> Iterator[Measure]:
    """Start processes that hold the data; hand out `measure(program, configs, seconds)`.

    A program is the name of a function, as "package.module:function", that trains the configs on
    the data and asks a Clock after each epoch. Each process runs it.
    """
    os.environ["OMP_NUM_THREADS"] = "1"
    context = get_context("spawn")
    done = context.Value("i", 0)
    given = data, device, context.Barrier(count), done
    with ProcessPoolExecutor(count, context, _enter, given) as pool:

        def measure(program: str, configs: Sequence[TrainConfig], seconds: float) -> Rate:
            done.value = 0
            running = [pool.submit(_run, program, configs, seconds) for _ in range(count)]
            rates = [future.result() for future in running]
            return replace(rates[0], per_second=sum(rate.per_second for rate in rates))

        yield measure


def _enter(data: TrainingData, device: torch.device, barrier: Any, done: Any) -> None:
    torch.set_num_threads(1)
    folds = tuple(_moved(fold, device) for fold in data.folds)
    moved = replace(_moved(data, device), folds=folds)
    _shared.update(data=moved, barrier=barrier, done=done)


def _moved(holder: Held, device: torch.device) -> Held:
    """Return a dataclass with all its tensors on the device."""
    held = {name: value for name, value in vars(holder).items() if torch.is_tensor(value)}
    return replace(holder, **{name: value.to(device) for name, value in held.items()})


def _run(program: str, configs: Sequence[TrainConfig], seconds: float) -> Rate:
    clock = Clock(seconds, len(configs))
    try:
        pkgutil.resolve_name(program)(_shared["data"], configs, clock)
    except BaseException:
        _shared["barrier"].abort()
        raise
    if clock.rate is None:
        raise AssertionError(f"{program} ended before it was told to")
    return clock.rate
