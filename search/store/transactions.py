"""What a search asks and writes while it trains, one transaction a time where that can be.

A storage that raretune opened is a search.store.database.Database. Others, journals, memory, and
databases of an Optuna whose tables are not known, get Optuna's own calls: the same, but slower.
Pruners, other processes and optuna-dashboard read what is written as ever.

What is private to Optuna's objects, and not to its tables, is used here and in the modules beside
this one only: what wraps the storage of a study, ids, and a trial's own copy of its values.
"""

import copy
import functools
import math
from collections.abc import Container, Iterable, Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import optuna
from optuna.distributions import BaseDistribution
from optuna.exceptions import UpdateFinishedTrialError
from optuna.storages import BaseStorage, RDBStorage
from optuna.trial import FrozenTrial, Trial, TrialState

from search.store import tables
from search.store.attributes import FAILURE, LOST
from search.store.complaints import StudyFullError
from trainer.errors import ConfigError

if TYPE_CHECKING:
    from search.store.database import Database


def database(study: optuna.Study) -> "Database | None":
    """Return the database of a study if it is one of ours."""
    if not tables.are_known():
        return None
    from search.store.database import Database  # its tables may not be there

    storage = backend(study)
    return storage if isinstance(storage, Database) else None


def backend(study: optuna.Study) -> BaseStorage:
    """Return the storage itself, without what Optuna may have wrapped around it."""
    storage = study._storage
    wrapped: BaseStorage = getattr(storage, "_backend", storage)
    return wrapped if isinstance(wrapped, BaseStorage) else storage


def ask(
    study: optuna.Study, space: Mapping[str, BaseDistribution], total: int | None = None
) -> Trial:
    """Ask a trial as Study.ask does, its parameters stored at once.

    Raises StudyFullError where the study has `total` trials that run or have ended by themselves,
    whichever process asked them. In our databases that is counted within the transaction; in other
    storages, of trials that were asked at once, the latest are ended again.
    """
    own = database(study)
    if own is not None:
        with own.one_ask(total):
            return study.ask(dict(space))
    trial = study.ask(dict(space))
    if total is not None and not _has_place(study, trial.number, total):
        frozen = trial_of(study, trial.number)
        end_lost(study, frozen, {LOST: "the study had all its trials"})
        raise StudyFullError
    return trial


def trial_of(study: optuna.Study, number: int) -> FrozenTrial:
    """Return a study's trial of a number; raises ConfigError if there is none."""
    for trial in study.get_trials(deepcopy=False):
        if trial.number == number:
            return trial
    raise ConfigError(f"study {study.study_name!r} has no trial {number} any more; search again")


def _has_place(study: optuna.Study, number: int, total: int) -> bool:
    trials = study.get_trials(deepcopy=False)
    running = [trial.number for trial in trials if trial.state == TrialState.RUNNING]
    ended = sum(trial.state.is_finished() and counts(trial) for trial in trials)
    return number in running[: max(0, total - ended)]


def counts(trial: FrozenTrial) -> bool:
    """Whether a trial is one of its study's: not lost with its process or given back untrained."""
    return trial.state != TrialState.FAIL or FAILURE in trial.user_attrs


def report_epoch(study: optuna.Study, reports: Sequence[tuple[Trial, int, float]]) -> list[int]:
    """Store (trial, step, value) of all members at once, as Trial.report would each.

    Values may be nan or infinite. A step that a trial has reported before keeps its first value.
    Returns the numbers of trials that another process has ended meanwhile; they store nothing.
    """
    fresh = [r for r in reports if r[1] not in r[0]._cached_frozen_trial.intermediate_values]
    own = database(study)
    if own is None:
        return [trial.number for trial, step, value in fresh if not _report(trial, step, value)]
    running = own.set_values([(trial._trial_id, step, value) for trial, step, value in fresh])
    for trial, step, value in fresh:
        if trial._trial_id in running:
            trial._cached_frozen_trial.intermediate_values[step] = float(value)
    return [trial.number for trial, _, _ in fresh if trial._trial_id not in running]


def _report(trial: Trial, step: int, value: float) -> bool:
    try:
        trial.report(value, step)
    except UpdateFinishedTrialError:
        return False
    return True


def should_prune(study: optuna.Study, trials: Sequence[Trial]) -> list[bool]:
    """Return for each trial whether to prune it, as Trial.should_prune would, from one reading."""
    still = copy.copy(study)
    reading = functools.cache(lambda: study.get_trials(deepcopy=False))

    def get_trials(
        deepcopy: bool = True, states: Container[TrialState] | None = None
    ) -> list[FrozenTrial]:
        return [trial for trial in reading() if states is None or trial.state in states]

    still.get_trials = get_trials  # type: ignore[method-assign]
    return [study.pruner.prune(still, trial._get_latest_trial()) for trial in trials]


def set_attributes(study: optuna.Study, trial: Trial, attributes: Mapping[str, Any]) -> None:
    """Set user attributes of a running trial at once, as Trial.set_user_attr would each.

    Raises UpdateFinishedTrialError if another process has ended the trial.
    """
    own = database(study)
    if own is None:
        for key, value in attributes.items():
            trial.set_user_attr(key, value)
        return
    if not own.set_trial_attributes(trial._trial_id, attributes):
        raise UpdateFinishedTrialError(f"trial {trial.number} was ended by another process")
    trial._cached_frozen_trial.user_attrs.update(attributes)


def study_attributes(study: optuna.Study) -> dict[str, Any]:
    """Return a study's system attributes, where optuna-dashboard keeps its notes.

    SQLite takes any value in any column: what is named by other than text is not ours.
    """
    kept = study._storage.get_study_system_attrs(study._study_id)
    return {name: value for name, value in kept.items() if isinstance(name, str)}


def set_study_attributes(study: optuna.Study, attributes: Mapping[str, Any]) -> None:
    """Set system attributes of a study at once."""
    own = database(study)
    if own is not None:
        own.set_study_attributes(study._study_id, attributes)
        return
    for key, value in attributes.items():
        study._storage.set_study_system_attr(study._study_id, key, value)


def study_id(study: optuna.Study) -> int:
    """Return the number of a study in its storage, which optuna-dashboard's addresses have."""
    return study._study_id


def is_writable(study: optuna.Study) -> bool:
    """Whether the storage of a study was opened to be written."""
    return getattr(backend(study), "writable", True)


def gives_signs_of_life(study: optuna.Study) -> bool:
    """Whether the storage of a study is a database, which keeps when a trial's process lived."""
    return isinstance(backend(study), RDBStorage)


def beat(study: optuna.Study, trials: Iterable[Trial]) -> None:
    """Record that the trials' process lives, by the database's clock; databases only."""
    own, storage = database(study), backend(study)
    ids = [trial._trial_id for trial in trials]
    if own is not None:
        own.record_heartbeats(ids)
    elif isinstance(storage, RDBStorage):
        for one in ids:
            storage.record_heartbeat(one)


def silence(study: optuna.Study) -> dict[int, float]:
    """Return the seconds since the last sign of life of each running trial that gave one.

    Optuna alone tells only which have been silent for too long: infinitely, then.
    """
    own, storage = database(study), backend(study)
    if own is not None:
        return own.silence(study._study_id)
    if not isinstance(storage, RDBStorage):
        return {}
    silent = set(storage._get_stale_trial_ids(study._study_id))
    running = study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
    return {trial.number: math.inf for trial in running if trial._trial_id in silent}


def end_lost(study: optuna.Study, trial: FrozenTrial, reason: Mapping[str, str]) -> bool:
    """Fail a trial that another process left running; False if it ended by itself meanwhile."""
    storage = study._storage
    with suppress(UpdateFinishedTrialError):
        for key, text in reason.items():
            storage.set_trial_user_attr(trial._trial_id, key, text)
        return storage.set_trial_state_values(trial._trial_id, TrialState.FAIL)
    return False
