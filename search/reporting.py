"""What a search writes while it trains, one transaction a time, and the signs of life it leaves.

Optuna commits each parameter, reported value and attribute by itself. Here a trial's parameters, an
epoch of all members, a trial's attributes, a wave's signs of life are one transaction each, in the
rows that Optuna would have written: pruners, other processes and optuna-dashboard read them as
ever. Storages other than databases get Optuna's own calls.

All that is private to Optuna is used in this module only: the tables of optuna.storages._rdb, what
wraps the storage of a study, and a trial's own copy of its values.
"""

import copy
import functools
import json
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import optuna
from optuna.distributions import (
    BaseDistribution,
    check_distribution_compatibility,
    distribution_to_json,
)
from optuna.exceptions import UpdateFinishedTrialError
from optuna.storages import RDBStorage
from optuna.storages._cached_storage import _CachedStorage
from optuna.storages._rdb.models import (
    StudySystemAttributeModel,
    TrialHeartbeatModel,
    TrialIntermediateValueModel,
    TrialModel,
    TrialParamModel,
    TrialUserAttributeModel,
)
from optuna.trial import FrozenTrial, Trial, TrialState
from sqlalchemy import Connection, Insert, func, insert, select
from sqlalchemy.dialects import mysql, postgresql, sqlite


class Database(RDBStorage):
    """A database that can hold a trial's parameters back until all are known."""

    _held: list[dict[str, Any]] | None = None

    @contextmanager
    def params_at_once(self) -> Iterator[None]:
        """Write the parameters that are set within the block at its end."""
        self._held = []
        try:
            yield
            if self._held:
                with self.engine.begin() as connection:
                    connection.execute(insert(TrialParamModel), self._held)
        finally:
            self._held = None

    def _set_trial_param(
        self,
        trial_id: int,
        param_name: str,
        param_value_internal: float,
        distribution: BaseDistribution,
        previous_distribution: BaseDistribution | None,
    ) -> None:
        """Hold a parameter back, unless the study's stored distribution is yet to be compared."""
        if self._held is None or previous_distribution is None:
            super()._set_trial_param(
                trial_id, param_name, param_value_internal, distribution, previous_distribution
            )
            return
        check_distribution_compatibility(previous_distribution, distribution)
        row = {
            "trial_id": trial_id,
            "param_name": param_name,
            "param_value": param_value_internal,
            "distribution_json": distribution_to_json(distribution),
        }
        self._held.append(row)


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
    with rdb.params_at_once():
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
            keys = ("trial_id", "step")
            connection.execute(_upsert(rdb, TrialIntermediateValueModel, keys, rows[0]), rows)
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
            keys = ("trial_id", "key")
            connection.execute(_upsert(rdb, TrialUserAttributeModel, keys, rows[0]), rows)
    trial._cached_frozen_trial.user_attrs.update(attributes)


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
            keys = ("study_id", "key")
            connection.execute(_upsert(rdb, StudySystemAttributeModel, keys, rows[0]), rows)


def beat(study: optuna.Study, trials: Iterable[Trial]) -> None:
    """Record that the trials' process lives, by the database's clock; databases only."""
    rdb = database(study)
    rows = [{"trial_id": trial._trial_id} for trial in trials]
    if rdb is None or not rows:
        return
    now = {"heartbeat": func.current_timestamp()}
    with rdb.engine.begin() as connection:
        connection.execute(_upsert(rdb, TrialHeartbeatModel, ("trial_id",), rows[0], now), rows)


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
    query = select(TrialModel.trial_id).where(
        TrialModel.trial_id.in_(trial_ids), TrialModel.state == TrialState.RUNNING
    )
    return set(connection.scalars(query))


def _upsert(
    rdb: RDBStorage,
    table: Any,
    keys: Sequence[str],
    row: Mapping[str, Any],
    computed: Mapping[str, Any] | None = None,
) -> Insert:
    """Return an insert of rows like `row` that replaces what is not a key where the keys exist."""
    computed = computed or {}
    if rdb.engine.name in ("mysql", "mariadb"):
        other = mysql.insert(table).values(computed)
        new = {name: other.inserted[name] for name in row if name not in keys}
        replacing: Insert = other.on_duplicate_key_update({**new, **computed})
        return replacing
    dialect = sqlite if rdb.engine.name == "sqlite" else postgresql
    into = dialect.insert(table).values(computed)
    new = {name: into.excluded[name] for name in row if name not in keys}
    updating: Insert = into.on_conflict_do_update(
        index_elements=list(keys), set_={**new, **computed}
    )
    return updating
