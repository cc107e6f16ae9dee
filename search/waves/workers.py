"""N processes that search one study side by side; this one watches over them.

The table is prepared once, here, and handed over; tensors lie in shared memory. Each worker has one
torch thread. A worker that dies loses nothing but its running trials: they are failed, tried once
more, and another worker takes its place.
"""

import math
import multiprocessing
import os
import signal
import sys
from collections.abc import Callable
from multiprocessing.connection import wait
from multiprocessing.context import ForkServerProcess

import optuna
import psutil
import torch
from optuna.trial import FrozenTrial, TrialState

from search.session import Session
from search.space.space import resolve_config
from search.store.attributes import FIXED
from search.store.stale import reap
from search.waves.forkserver import context, quiet_start, warm_up
from search.waves.progress import Config, Progress, run_of_failures
from search.waves.searching import search_study
from studies.definition import StudyDefinition
from trainer.commands.interrupt import interruptible
from trainer.errors import RaretuneError

POLL_SECONDS = 0.5
WORKERS_A_CORE, WORKERS_ANYWHERE = 4, 8  # more share cores that are busy already
WORKER_BYTES = 250 * 2**20  # that a worker may come to need of its own
MAX_DEATHS = 20  # workers that may die, with no trial ended between, before the search gives up


def affordable(workers: int, trials: int) -> tuple[int, str]:
    """Return how many workers of those asked for are worth starting, and what sets the bound."""
    cores, memory = _cores(), int(psutil.virtual_memory().available)
    bounds = [
        (trials, f"the search has {trials} trials"),
        (max(WORKERS_ANYWHERE, WORKERS_A_CORE * cores), f"this machine has {cores} cores"),
        (max(1, memory // WORKER_BYTES), f"this machine has {memory / 1e9:.1f} GB of memory free"),
    ]
    most, why = min(bounds)
    return min(workers, most), why


def _cores() -> int:
    """Return how many cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def run_workers(
    session: Session,
    study: optuna.Study,
    workers: int,
    *,
    should_stop: Callable[[], bool],
    on_progress: Callable[[Progress], None],
) -> Progress:
    """Search with `workers` processes until the study has its trials or `should_stop` says so."""
    definition = session.definition
    progress = Progress(definition.budget.trials, definition.budget.timeout_seconds)
    warm_up()
    running: list[ForkServerProcess] = []
    deaths, asked_to_stop = 0, False
    with quiet_start():
        running = [_start(session, index) for index in range(workers)]
    started = workers
    try:
        while running:
            wait([process.sentinel for process in running], POLL_SECONDS)
            if should_stop() and not asked_to_stop:
                asked_to_stop = True
                for process in running:
                    process.terminate()
            dead = [process for process in running if not process.is_alive()]
            running = [process for process in running if process.is_alive()]
            if killed := [process for process in dead if process.exitcode != 0]:
                deaths += len(killed)
                reap(study)
            done = progress.done
            _look(progress, study, definition)
            deaths = 0 if progress.done > done else deaths
            on_progress(progress)
            if deaths > MAX_DEATHS:
                progress.gave_up = f"{deaths} workers died and no trial ended between"
                break
            if killed and progress.left and not asked_to_stop:
                with quiet_start():
                    running.append(_start(session, started))
                started += 1
    finally:
        for process in running:
            process.kill()
            process.join()
        if running:
            reap(study)
    _look(progress, study, definition)
    progress.gave_up = progress.gave_up or run_of_failures(study.get_trials(deepcopy=False))
    on_progress(progress)
    return progress


def _look(progress: Progress, study: optuna.Study, definition: StudyDefinition) -> None:
    """Count the trials, and how far each running one is."""
    trials = study.get_trials(deepcopy=False)
    progress.tally(trials)
    progress.model_epochs = sum(len(trial.intermediate_values) for trial in trials)
    running = [trial for trial in trials if trial.state == TrialState.RUNNING]
    progress.running = {trial.number: _latest(trial) for trial in running}
    progress.configs = {t.number: _config(t, definition) for t in running}
    progress.peaks = {
        t.number: max(t.intermediate_values.values(), default=math.nan) for t in running
    }


def _latest(trial: FrozenTrial) -> tuple[int, float]:
    epoch = trial.last_step or 0
    return epoch, trial.intermediate_values.get(epoch, math.nan)


def _config(trial: FrozenTrial, definition: StudyDefinition) -> Config:
    """Return a running trial's config, nothing if its parameters are still being asked."""
    fixed = trial.user_attrs.get(FIXED, {})
    if definition.space.keys() - trial.params.keys() - fixed.keys():
        return {}
    config = resolve_config(definition, trial.params, fixed, trial.number)
    return config.model_dump(mode="json")


def _start(session: Session, index: int) -> ForkServerProcess:
    process = context().Process(target=_work, args=(session, index), daemon=True)
    process.start()
    return process


def _work(session: Session, index: int) -> None:
    """Search in this process, until told to stop or left alone."""
    torch.set_num_threads(1)
    parent = multiprocessing.parent_process()
    with interruptible() as interrupt:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        try:
            search_study(
                session,
                worker=index,
                should_stop=lambda: interrupt() or not (parent and parent.is_alive()),
                on_progress=lambda progress: None,
            )
        except RaretuneError:
            sys.exit(1)  # the search finds that out by itself, and says so once
