"""What a search writes while it trains, one transaction a time, and the signs of life it leaves.

Optuna commits each parameter, reported value and attribute by itself. Here a trial's parameters, an
epoch of all members, a trial's attributes, a wave's signs of life are one transaction each, in the
rows that Optuna would have written: pruners, other processes and optuna-dashboard read them as
ever. Storages other than databases get Optuna's own calls.

All that is private to Optuna is used here and in search.store.database only: the tables of
optuna.storages._rdb, what wraps the storage of a study, and a trial's own copy of its values.
"""

import copy
import functools
import json
from collections.abc import Container, Iterable, Mapping, Sequence
from typing import Any

import optuna
from optuna.distributions import BaseDistribution
from optuna.exceptions import UpdateFinishedTrialError
from optuna.storages import RDBStorage
from optuna.storages._cached_storage import _CachedStorage
from optuna.storages._rdb.models import (
    StudySystemAttributeModel,
    TrialHeartbeatModel,
    TrialIntermediateValueModel,
    TrialModel,
    TrialUserAttributeModel,
)
from optuna.trial import FrozenTrial, Trial, TrialState
from sqlalchemy import Connection, Insert, bindparam, func, select
from sqlalchemy.dialects import mysql, postgresql, sqlite

from search.store.database import Database


def database(study: optuna.Study) -> RDBStorage | None:
    """Return the database of a study; None if it is in memory or a journal."""
    storage = study._storage
    if isinstance(storage, _CachedStorage):
        storage = storage._backend
    return storage if isinstance(storage, RDBStorage) else None


def ask(study: optuna.Study, space: Mapping[str, BaseDistribution]) -> Trial:
    """Ask a trial as Study.ask does, its parameters stored at once."""
    rdb = database(study)
    if not isinstance(rdb, Database):
        return study.ask(dict(space))
    with rdb.one_ask():
        return study.ask(dict(space))


def report_epoch(study: optuna.Study, reports: Sequence[tuple[Trial, int, float]]) -> list[int]:
    """Store (trial, step, value) of all members at once, as Trial.report would each.

    Values may be nan or infinite. A step that a trial has reported before keeps its first value.
    Returns the numbers of trials that another process has ended meanwhile; they store nothing.
    """
    fresh = [r for r in reports if r[1] not in r[0]._cached_frozen_trial.intermediate_values]
    rdb = database(study)
    if rdb is None:
        return [trial.number for trial, step, value in fresh if not _report(trial, step, value)]
    with rdb.engine.begin() as connection:
        running = _running(connection, [trial._trial_id for trial, _, _ in fresh])
        rows = [
            _value_row(trial, step, value)
            for trial, step, value in fresh
            if trial._trial_id in running
        ]
        if rows:
            keys, rest = ("trial_id", "step"), ("intermediate_value", "intermediate_value_type")
            table = TrialIntermediateValueModel
            connection.execute(_upsert(rdb.engine.name, table, keys, rest), rows)
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


def _value_row(trial: Trial, step: int, value: float) -> dict[str, Any]:
    stored, kind = TrialIntermediateValueModel.intermediate_value_to_stored_repr(float(value))
    return {
        "trial_id": trial._trial_id,
        "step": step,
        "intermediate_value": stored,
        "intermediate_value_type": kind,
    }


def judge(study: optuna.Study, trials: Sequence[Trial]) -> list[bool]:
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
    rdb = database(study)
    if rdb is None:
        for key, value in attributes.items():
            trial.set_user_attr(key, value)
        return
    rows = [
        {"trial_id": trial._trial_id, "key": key, "value_json": json.dumps(value)}
        for key, value in attributes.items()
    ]
    with rdb.engine.begin() as connection:
        if not _running(connection, [trial._trial_id]):
            raise UpdateFinishedTrialError(f"trial {trial.number} was ended by another process")
        if rows:
            keys, rest = ("trial_id", "key"), ("value_json",)
            table = TrialUserAttributeModel
            connection.execute(_upsert(rdb.engine.name, table, keys, rest), rows)
    trial._cached_frozen_trial.user_attrs.update(attributes)


def study_attributes(study: optuna.Study) -> dict[str, Any]:
    """Return a study's system attributes, where optuna-dashboard keeps its notes."""
    return study._storage.get_study_system_attrs(study._study_id)


def set_study_attributes(study: optuna.Study, attributes: Mapping[str, Any]) -> None:
    """Set system attributes of a study, where optuna-dashboard keeps its notes, at once."""
    rdb = database(study)
    if rdb is None:
        for key, value in attributes.items():
            study._storage.set_study_system_attr(study._study_id, key, value)
        return
    rows = [
        {"study_id": study._study_id, "key": key, "value_json": json.dumps(value)}
        for key, value in attributes.items()
    ]
    if rows:
        with rdb.engine.begin() as connection:
            keys, rest = ("study_id", "key"), ("value_json",)
            table = StudySystemAttributeModel
            connection.execute(_upsert(rdb.engine.name, table, keys, rest), rows)


def beat(study: optuna.Study, trials: Iterable[Trial]) -> None:
    """Record that the trials' process lives, by the database's clock; databases only."""
    rdb = database(study)
    rows = [{"trial_id": trial._trial_id} for trial in trials]
    if rdb is None or not rows:
        return
    keys, stamped = ("trial_id",), ("heartbeat",)
    with rdb.engine.begin() as connection:
        connection.execute(_upsert(rdb.engine.name, TrialHeartbeatModel, keys, (), stamped), rows)


def silence(study: optuna.Study) -> dict[int, float]:
    """Return the seconds since the last sign of life of each running trial that gave one."""
    rdb = database(study)
    if rdb is None:
        return {}
    query = (
        select(TrialModel.number, TrialHeartbeatModel.heartbeat, func.now())
        .join(TrialHeartbeatModel, TrialHeartbeatModel.trial_id == TrialModel.trial_id)
        .where(TrialModel.study_id == study._study_id, TrialModel.state == TrialState.RUNNING)
    )
    with rdb.engine.connect() as connection:
        rows = connection.execute(query).all()
    return {number: (now.replace(tzinfo=None) - at).total_seconds() for number, at, now in rows}


def end_lost(study: optuna.Study, trial: FrozenTrial, reason: Mapping[str, str]) -> bool:
    """Fail a trial that another process left running; False if it ended by itself meanwhile."""
    storage = study._storage
    try:
        for key, text in reason.items():
            storage.set_trial_user_attr(trial._trial_id, key, text)
        return storage.set_trial_state_values(trial._trial_id, TrialState.FAIL)
    except UpdateFinishedTrialError:
        return False


def _running(connection: Connection, trial_ids: Sequence[int]) -> set[int]:
    return set(connection.scalars(RUNNING, {"ids": list(trial_ids)}))


RUNNING = select(TrialModel.trial_id).where(
    TrialModel.trial_id.in_(bindparam("ids", expanding=True)),
    TrialModel.state == TrialState.RUNNING,
)


@functools.cache
def _upsert(
    dialect: str, table: Any, keys: Sequence[str], rest: Sequence[str], stamped: Sequence[str] = ()
) -> Insert:
    """Return an insert of keys and the rest that replaces the rest where the keys exist.

    What is `stamped` becomes the database's own time. Made once: that takes longer than running it.
    """
    now = {name: func.current_timestamp() for name in stamped}
    if dialect in ("mysql", "mariadb"):
        other = mysql.insert(table).values(now)
        replacing: Insert = other.on_duplicate_key_update(
            {**{name: other.inserted[name] for name in rest}, **now}
        )
        return replacing
    into = (sqlite if dialect == "sqlite" else postgresql).insert(table).values(now)
    updating: Insert = into.on_conflict_do_update(
        index_elements=list(keys), set_={**{name: into.excluded[name] for name in rest}, **now}
    )
    return updating
