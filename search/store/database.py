"""Optuna's database storage, with a trial's parameters written at once and trials read quickly.

Optuna reads each trial through its mapper, a third of a millisecond a time, and running trials anew
with every call. Here the rows of a table are read together and put into trials.

All that is private to Optuna is used here and in search.store.transactions only.
"""

from collections import defaultdict
from collections.abc import Container, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import lru_cache
from json import loads
from typing import Any

from optuna.distributions import (
    BaseDistribution,
    check_distribution_compatibility,
    distribution_to_json,
    json_to_distribution,
)
from optuna.storages import RDBStorage
from optuna.storages._rdb.models import (
    TrialIntermediateValueModel,
    TrialModel,
    TrialParamModel,
    TrialValueModel,
)
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy import ColumnElement, Connection, Row, bindparam, insert, or_, select

TABLES = TrialModel.metadata.tables
STUDIES, TRIALS = TABLES["studies"], TABLES["trials"]
PARTS = {  # of a trial
    "params": TABLES["trial_params"],
    "values": TABLES["trial_values"],
    "reported": TABLES["trial_intermediate_values"],
    "user": TABLES["trial_user_attributes"],
    "system": TABLES["trial_system_attributes"],
}


class Database(RDBStorage):
    """A database that can be asked for a trial in few transactions."""

    _held: list[dict[str, Any]] | None = None
    _has_read = False

    @contextmanager
    def one_ask(self) -> Iterator[None]:
        """Write the parameters set within the block at its end; read a study's trials once only.

        Whoever asks again gets no news, so that what wraps this storage goes by its own copies.
        """
        self._held, self._has_read = [], False
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

    def get_trial(self, trial_id: int) -> FrozenTrial:
        """Return a trial; raises KeyError if there is none."""
        with self.engine.connect() as connection:
            found = BY_ID.read(connection, trial=trial_id)
        if not found:
            raise KeyError(f"no trial has the id {trial_id}")
        return found[0]

    def _get_trials(
        self,
        study_id: int,
        states: Container[TrialState] | None,
        included_trial_ids: set[int],
        trial_id_greater_than: int,
    ) -> list[FrozenTrial]:
        """Return a study's trials after an id, and those named before it; KeyError without it."""
        if self._held is not None and self._has_read:
            return []
        self._has_read = True
        named = [one for one in included_trial_ids if one <= trial_id_greater_than]
        with self.engine.connect() as connection:
            if connection.scalar(THERE, {"study": study_id}) is None:
                raise KeyError(f"no study has the id {study_id}")
            after = trial_id_greater_than
            found = OF_STUDY.read(connection, study=study_id, after=after, named=named)
        return found if states is None else [trial for trial in found if trial.state in states]


class Reading:
    """Reads the trials that a condition holds for; statements are made once, as that takes longer.

    What belongs to a trial is read after its state: of an ended one all is there by then.
    """

    def __init__(self, wanted: ColumnElement[bool]) -> None:
        ids = select(TRIALS.c.trial_id).where(wanted).scalar_subquery()
        self.trials = select(TRIALS).where(wanted).order_by(TRIALS.c.trial_id)
        self.parts = {
            name: select(table).where(table.c.trial_id.in_(ids)).order_by(*table.primary_key)
            for name, table in PARTS.items()
        }

    def read(self, connection: Connection, **values: object) -> list[FrozenTrial]:
        """Return the trials, by their ids; `values` are those of the condition."""
        trials = connection.execute(self.trials, values).all()
        if not trials:
            return []
        parts: dict[str, dict[int, list[Row[Any]]]] = {}
        for name, statement in self.parts.items():
            parts[name] = defaultdict(list)
            for row in connection.execute(statement, values):
                parts[name][row.trial_id].append(row)
        return [
            _trial(trial, {name: rows[trial.trial_id] for name, rows in parts.items()})
            for trial in trials
        ]


def _trial(trial: Row[Any], rows: Mapping[str, Sequence[Row[Any]]]) -> FrozenTrial:
    spaces = {row.param_name: _distribution(row.distribution_json) for row in rows["params"]}
    value_of = TrialValueModel.stored_repr_to_value
    reported_of = TrialIntermediateValueModel.stored_repr_to_intermediate_value
    return FrozenTrial(
        number=trial.number,
        state=trial.state,
        value=None,
        values=[value_of(row.value, row.value_type) for row in rows["values"]] or None,
        datetime_start=_local(trial.datetime_start),
        datetime_complete=_local(trial.datetime_complete),
        params={
            row.param_name: spaces[row.param_name].to_external_repr(row.param_value)
            for row in rows["params"]
        },
        distributions=spaces,
        user_attrs={row.key: loads(row.value_json) for row in rows["user"]},
        system_attrs={row.key: loads(row.value_json) for row in rows["system"]},
        intermediate_values={
            row.step: reported_of(row.intermediate_value, row.intermediate_value_type)
            for row in rows["reported"]
        },
        trial_id=trial.trial_id,
    )


def _local(utc: datetime | None) -> datetime | None:
    """Return this machine's time of a database's, both without a zone, as Optuna has them."""
    return None if utc is None else utc.replace(tzinfo=UTC).astimezone().replace(tzinfo=None)


@lru_cache(maxsize=4096)
def _distribution(text: str) -> BaseDistribution:
    return json_to_distribution(text)


THERE = select(STUDIES.c.study_id).where(STUDIES.c.study_id == bindparam("study"))
BY_ID = Reading(TRIALS.c.trial_id == bindparam("trial"))
OF_STUDY = Reading(
    (TRIALS.c.study_id == bindparam("study"))
    & or_(
        TRIALS.c.trial_id > bindparam("after"),
        TRIALS.c.trial_id.in_(bindparam("named", expanding=True)),
    )
)
