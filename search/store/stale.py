"""Trials that a dead process left running are failed, and each is tried once more.

A trial names its owner, the process that trains it. On the owner's own machine it is known at once
whether that process lives. Elsewhere its signs of life tell, which databases keep: none for
GRACE_SECONDS means dead. A trial that nobody has claimed is judged by its age. Journals keep no
signs of life; there a dead process of another machine is found only by who says that nobody else
runs.
"""

import os
import platform
import re
from collections.abc import Iterable
from datetime import datetime
from pathlib import Path

import optuna
import psutil
from optuna.trial import FrozenTrial, Trial, TrialState

from search.store.attributes import FIXED, FIXED_PARAMS, LOST, OWNER, RECIPE, RETRY_OF
from search.store.storage import GRACE_SECONDS
from search.store.transactions import (
    beat,
    end_lost,
    gives_signs_of_life,
    set_attributes,
    silence,
    trial_of,
)

BOOT, SPACE = Path("/proc/sys/kernel/random/boot_id"), Path("/proc/self/ns/pid")
TICKS = 100  # of a second, as Linux counts a process's start
CLOCK_SECONDS = 2  # by which a clock may be set while processes run
ORPHAN_SECONDS = 10  # after which a trial that no process has claimed is dead: they claim at once
KEPT = (RECIPE, FIXED)  # attributes that a retry inherits


def owner() -> str:
    """Name this process so that no other one, earlier or elsewhere, has its name."""
    return f"{_machine()} {os.getpid()} {_started(os.getpid())}"


def claim(study: optuna.Study, trials: Iterable[Trial]) -> None:
    """Write this process and its first sign of life into trials that it has just asked."""
    trials = list(trials)
    beat(study, trials)
    for trial in trials:
        set_attributes(study, trial, {OWNER: owner()})


def stale(study: optuna.Study, *, alone: bool = False) -> list[FrozenTrial]:
    """Return the running trials whose process is dead.

    `alone` says that no other process works on the study, so that every running trial is stale:
    only for a caller that has asked no trial yet.
    """
    running = study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
    silent, beats = silence(study), gives_signs_of_life(study)
    return [t for t in running if alone or _is_dead(t, silent.get(t.number), beats=beats)]


def reap(study: optuna.Study, *, alone: bool = False) -> list[int]:
    """Fail the stale trials, see `stale`, and put each once more into the queue; their numbers.

    A retry has the parameters of the lost trial, its recipe and fixed values, and `retry_of`, its
    number. A retry that is lost as well is not tried again. Several processes may reap at once.
    """
    reaped = []
    for trial in stale(study, alone=alone):
        if end_lost(study, trial, {LOST: "the process that trained it ended without a word"}):
            reaped.append(trial.number)
            _retry(study, trial)
    return reaped


def give_back(study: optuna.Study, trials: Iterable[Trial]) -> None:
    """Fail trials that this process asked but did not begin, and put each into the queue again."""
    for trial in trials:
        frozen = trial_of(study, trial.number)
        if end_lost(study, frozen, {LOST: "the search ended before it began"}):
            _enqueue_again(study, frozen)


def drop_retries(study: optuna.Study) -> None:
    """End the retries that still wait though their study has all its trials without them."""
    for trial in study.get_trials(deepcopy=False, states=(TrialState.WAITING,)):
        if RETRY_OF in trial.user_attrs:
            end_lost(study, trial, {LOST: "the study had all its trials without it"})


def _retry(study: optuna.Study, trial: FrozenTrial) -> None:
    if RETRY_OF in trial.user_attrs:
        return
    _enqueue_again(study, trial)


def _enqueue_again(study: optuna.Study, trial: FrozenTrial) -> None:
    asked = trial.system_attrs.get(FIXED_PARAMS, {})  # those of a trial from the queue
    kept = {key: trial.user_attrs[key] for key in KEPT if key in trial.user_attrs}
    study.enqueue_trial({**asked, **trial.params}, user_attrs={**kept, RETRY_OF: trial.number})


def _is_dead(trial: FrozenTrial, silent: float | None, *, beats: bool) -> bool:
    named = re.fullmatch(r"(\S+) (\d+) (\d+)", str(trial.user_attrs.get(OWNER)))
    if named and named[1] == _machine():
        return not _lives(int(named[2]), int(named[3]))
    if silent is None and beats and trial.datetime_start is not None:
        silent = (datetime.now() - trial.datetime_start).total_seconds()
    limit = GRACE_SECONDS if OWNER in trial.user_attrs else ORPHAN_SECONDS
    return silent is not None and silent > limit


def _machine() -> str:
    """Name this boot of this machine and, in containers, this space of process numbers."""
    if not BOOT.exists():
        return platform.node().replace(" ", "-") or "unnamed"
    return f"{BOOT.read_text().strip()}/{SPACE.readlink()}"


def _started(pid: int) -> int:
    """Return when a process began, in ticks since the machine did; numbers are used again."""
    return round((psutil.Process(pid).create_time() - psutil.boot_time()) * TICKS)


def _lives(pid: int, started: int) -> bool:
    """Whether a process is still the one that began then; the clock may have been set since."""
    try:
        same = abs(_started(pid) - started) <= CLOCK_SECONDS * TICKS
        return same and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
    except psutil.AccessDenied:
        return True  # it lives, under another user
