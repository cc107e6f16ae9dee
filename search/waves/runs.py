"""Runs that are no trials of the study, trained by as many processes as it is searched with.

Each trains as if alone: which process it is in, and beside which others, changes no bit of it.
"""

import multiprocessing
import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from multiprocessing.connection import Connection, wait
from multiprocessing.context import ForkServerProcess
from typing import NamedTuple

import torch
from torch import Tensor

from search.waves.forkserver import context, quiet_start, warm_up
from trainer.config import TrainConfig
from trainer.errors import RaretuneError
from trainer.loop.fit import EpochReport, fit
from trainer.loop.history import HistoryRow
from trainer.stack.tensors import TrainingData
from trainer.steps.epoch import stacks_pay

POLL_SECONDS = 0.5


class StoppedError(RaretuneError):
    """The user asked to stop before all was done."""


class Run(NamedTuple):
    """A run's best epoch: its row of the history, and the pool's probabilities (V, L)."""

    config: TrainConfig
    scores: HistoryRow
    held_out: Tensor


def train_runs(
    data: TrainingData,
    configs: Sequence[TrainConfig],
    *,
    workers: int,
    stack: int,
    should_stop: Callable[[], bool] = lambda: False,
    on_run: Callable[[int], None] = lambda ended: None,
) -> list[Run]:
    """Train the configs and return their runs.

    At most `stack` train side by side in a process, and `on_run` hears how many have ended. Raises
    StoppedError if `should_stop` says so, RaretuneError if a process dies or a run has no finite
    epoch.
    """
    found: dict[int, Run] = {}
    processes = max(1, min(workers, len(configs))) if data.device.type == "cpu" else 1
    arriving = (
        _trained(data, list(enumerate(configs)), stack, should_stop)
        if processes == 1
        else _from_processes(data, configs, processes, stack, should_stop)
    )
    for number, run in arriving:
        found[number] = run
        on_run(len(found))
    return [found[number] for number in range(len(configs))]


Numbered = tuple[int, TrainConfig]


def _trained(
    data: TrainingData,
    numbered: Sequence[Numbered],
    stack: int,
    should_stop: Callable[[], bool],
) -> Iterator[tuple[int, Run]]:
    """Train some runs in this process, as many side by side as pays."""
    at_once = stack if stacks_pay(data.device) else 1

    def go_on(report: EpochReport) -> list[bool]:
        if should_stop():
            raise StoppedError("stopped before all runs had ended")
        return [True] * len(report.runs)

    for start in range(0, len(numbered), at_once):
        numbers, configs = zip(*numbered[start : start + at_once], strict=True)
        for number, result in zip(numbers, fit(data, configs, go_on), strict=True):
            if result.held_out is None:
                raise RaretuneError("a loss was not finite from the first epoch")
            row = result.history[result.best_epoch - 1]
            yield number, Run(result.config, row, result.held_out)


def _from_processes(
    data: TrainingData,
    configs: Sequence[TrainConfig],
    processes: int,
    stack: int,
    should_stop: Callable[[], bool],
) -> Iterator[tuple[int, Run]]:
    """Deal the runs out to processes and yield what they send, as it comes."""
    warm_up()
    dealt = [list(enumerate(configs))[i::processes] for i in range(processes)]
    with quiet_start():
        started = [_start(data, numbered, stack) for numbered in dealt]
    running: dict[Connection, ForkServerProcess] = dict(started)
    left = len(configs)
    try:
        while left:
            ready = wait(list(running), POLL_SECONDS)
            for pipe in [pipe for pipe in running if pipe in ready]:
                received = _received(pipe)
                if received is None:
                    del running[pipe]
                else:
                    left -= 1
                    yield received
            if should_stop():
                raise StoppedError("stopped before all runs had ended")
            if left and not running:
                raise RaretuneError("a process that trained has ended too early")
    finally:
        for pipe, process in started:
            process.kill()
            process.join()
            pipe.close()


def _received(pipe: Connection) -> tuple[int, Run] | None:
    """Return a run that a process sends; None once it has ended, whether well or not.

    Raises what it could not train for.
    """
    try:
        sent = pipe.recv()
    except EOFError:
        return None
    if isinstance(sent, str):
        raise RaretuneError(sent)
    number, (config, scores, held_out) = sent
    return number, Run(config, scores, torch.from_numpy(held_out))


def _start(
    data: TrainingData, numbered: list[Numbered], stack: int
) -> tuple[Connection, ForkServerProcess]:
    receiver, sender = context().Pipe(duplex=False)
    process = context().Process(target=_work, args=(data, numbered, stack, sender), daemon=True)
    process.start()
    sender.close()
    return receiver, process


def _work(data: TrainingData, numbered: list[Numbered], stack: int, sender: Connection) -> None:
    """Train some runs in this process and send each, until killed or left alone."""
    torch.set_num_threads(1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        for number, run in _trained(data, numbered, stack, _is_alone):
            sender.send((number, (run.config, run.scores, run.held_out.numpy())))
    except RaretuneError as error:
        with suppress(BrokenPipeError):
            sender.send(str(error))


def _is_alone() -> bool:
    parent = multiprocessing.parent_process()
    return parent is None or not parent.is_alive()
