"""Baselines fitted on a search's own folds: each sees a fold's train rows and no other.

experiment -> a job for each baseline, fold and label -> probabilities of the pool and the test rows

Jobs are independent of each other, so that any number of processes comes to the same.
"""

import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, wait
from contextlib import closing
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from threadpoolctl import threadpool_limits
from torch import Tensor

from search.appraisal.estimators import Estimator, inputs_of, probabilities_of
from search.waves.forkserver import context, quiet_start, warm_up
from search.waves.runs import StoppedError
from trainer.experiment import Experiment

POLL_SECONDS = 0.5


@dataclass(frozen=True)
class Predictions:
    """What a baseline says of the V rows of the pool and the T test rows.

    Shapes: held_out (V, L), test (T, L), float32; of a pooled row by the model that did not train
    on it, of a test row the mean over all folds. `unlearnable` names labels that some fold's train
    rows have one value of only. `seconds` is the time of all its fits.
    """

    held_out: Tensor
    test: Tensor
    unlearnable: tuple[str, ...]
    seconds: float


class Job(NamedTuple):
    """One model: which baseline, fold and label, by their places."""

    baseline: int
    fold: int
    label: int


@dataclass(frozen=True)
class _Done:
    """A job's probabilities (V_k,) and (T,), or why it failed."""

    held_out: np.ndarray
    test: np.ndarray
    unlearnable: bool
    seconds: float
    failed: str = ""


@dataclass(frozen=True)
class _FoldRows:
    """A fold's rows as its own features have them; x (..., D), y (N, L)."""

    x_train: Tensor
    y_train: Tensor
    x_held_out: Tensor
    x_test: Tensor


@dataclass(frozen=True)
class _Task:
    """All that a job needs to know; `inputs` has for each baseline and fold its columns."""

    estimators: tuple[Estimator, ...]
    folds: tuple[_FoldRows, ...]
    inputs: tuple[tuple[np.ndarray, ...], ...]
    seed: int

    def do(self, job: Job) -> _Done:
        """Fit one model in one thread; what goes wrong in a library is its outcome."""
        estimator, rows = self.estimators[job.baseline], self.folds[job.fold]
        inputs, y = self.inputs[job.baseline][job.fold], rows.y_train.numpy()[:, job.label]
        started = time.perf_counter()
        try:
            x = [part.numpy()[:, inputs] for part in (rows.x_train, rows.x_held_out, rows.x_test)]
            with threadpool_limits(1):
                held_out, test = probabilities_of(estimator, self.seed, x[0], y, *x[1:])
        except Exception as error:
            lines = str(error).strip().splitlines() or [""]
            return _failed(f"{type(error).__name__}: {lines[0]}")
        took = time.perf_counter() - started
        return _Done(held_out, test, bool(y.min() == y.max()), took)


def _failed(reason: str) -> _Done:
    return _Done(np.zeros(0), np.zeros(0), unlearnable=False, seconds=0.0, failed=reason)


def fit_baselines(
    experiment: Experiment,
    estimators: Sequence[Estimator],
    *,
    seed: int,
    workers: int = 1,
    should_stop: Callable[[], bool] = lambda: False,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
) -> dict[str, Predictions | str]:
    """Return what each baseline predicts, or why it failed, by its name.

    `on_progress` is told how many models are fitted, and of how many. Raises StoppedError.
    """
    task = _task(experiment, estimators, seed)
    n_folds, labels = len(experiment.folds), experiment.data.labels
    jobs = [
        Job(b, k, j)
        for b in reversed(range(len(estimators)))  # the slow ones first, so that none waits alone
        for k in range(n_folds)
        for j in range(len(labels))
    ]
    run = _in_turn if workers == 1 or len(jobs) == 1 else _side_by_side
    done: dict[Job, _Done] = {}
    failed: dict[int, str] = {}
    with closing(run(task, jobs, min(workers, len(jobs)), failed, should_stop)) as outcomes:
        for job, outcome in outcomes:
            done[job] = outcome
            if outcome.failed:
                failed.setdefault(job.baseline, outcome.failed)
            on_progress(len(done), len(jobs))
    return {
        one.name: failed[b] if b in failed else _collected(experiment, b, done)
        for b, one in enumerate(estimators)
    }


def _task(experiment: Experiment, estimators: Sequence[Estimator], seed: int) -> _Task:
    columns = experiment.table.columns.iloc[experiment.test_rows]
    n_labels = len(experiment.data.labels)
    folds = tuple(
        _FoldRows(
            x_train=fold.x_train[:, : fold.features].cpu(),
            y_train=fold.y_train[:, :n_labels].cpu(),
            x_held_out=fold.x_validation[:, : fold.features].cpu(),
            x_test=torch.from_numpy(features.transform(columns)),
        )
        for fold, features in zip(experiment.data.folds, experiment.features, strict=True)
    )
    inputs = tuple(tuple(inputs_of(one, f) for f in experiment.features) for one in estimators)
    return _Task(tuple(estimators), folds, inputs, seed)


def _collected(experiment: Experiment, baseline: int, done: dict[Job, _Done]) -> Predictions:
    """Pool the held-out rows of a baseline's models and take the mean of the test rows."""
    data, n_folds = experiment.data, len(experiment.folds)
    own = {job: outcome for job, outcome in done.items() if job.baseline == baseline}
    labels = range(len(data.labels))

    def of_fold(k: int, part: str) -> Tensor:
        columns = [getattr(own[Job(baseline, k, j)], part) for j in labels]
        return torch.from_numpy(np.stack(columns, axis=1))

    unlearnable = {job.label for job, outcome in own.items() if outcome.unlearnable}
    return Predictions(
        held_out=data.pool([of_fold(k, "held_out") for k in range(n_folds)]),
        test=torch.stack([of_fold(k, "test") for k in range(n_folds)]).mean(dim=0),
        unlearnable=tuple(data.labels[j] for j in sorted(unlearnable)),
        seconds=sum(outcome.seconds for outcome in own.values()),
    )


Outcomes = Generator[tuple[Job, _Done], None, None]


def _in_turn(
    task: _Task,
    jobs: Sequence[Job],
    workers: int,
    failed: Mapping[int, str],
    should_stop: Callable[[], bool],
) -> Outcomes:
    """Yield the jobs' outcomes; what belongs to a baseline that failed meanwhile is left out."""
    for job in jobs:
        if should_stop():
            raise StoppedError("stopped before all baselines were fitted")
        if job.baseline not in failed:
            yield job, task.do(job)


def _side_by_side(
    task: _Task,
    jobs: Sequence[Job],
    workers: int,
    failed: Mapping[int, str],
    should_stop: Callable[[], bool],
) -> Outcomes:
    """Yield the same from several processes, as they come; None has more than one thread."""
    warm_up()
    others = set(multiprocessing.active_children())
    pool = ProcessPoolExecutor(workers, context(), _enter, (task,))
    running: dict[Future[_Done], Job] = {}
    try:
        with quiet_start():
            running = {pool.submit(_do, job): job for job in jobs}
        while running:
            if should_stop():
                raise StoppedError("stopped before all baselines were fitted")
            for future in wait(running, POLL_SECONDS, "FIRST_COMPLETED").done:
                job = running.pop(future)
                if job.baseline in failed:
                    continue
                error = future.exception()
                yield job, future.result() if error is None else _failed(f"{error}")
    finally:
        if running:  # nobody waits for what is being fitted
            for process in {*multiprocessing.active_children()} - others:
                process.kill()
        pool.shutdown(wait=True, cancel_futures=True)


_held: dict[str, Any] = {}  # by a process that fits: its task


def _enter(task: _Task) -> None:
    torch.set_num_threads(1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _held["task"] = task
    threading.Thread(target=_leave_with_parent, daemon=True).start()


def _leave_with_parent() -> None:
    """End this process when the one that started it is gone: nobody would take its results."""
    if parent := multiprocessing.parent_process():
        parent.join()
        os._exit(1)


def _do(job: Job) -> _Done:
    task: _Task = _held["task"]
    return task.do(job)
