"""Optuna's database storage, with a trial's parameters written at once and trials read quickly.

Optuna reads each trial through its mapper, a third of a millisecond a time, and running trials anew
with every call. Here the rows of a table are read together and put into trials.

What a search writes while it trains is one transaction a time, in the rows that Optuna would have
written: an epoch of all members, a trial's attributes, a wave's signs of life. search.store.tables
says whether the tables are those that all this was written for.
"""

from collections import defaultdict
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import cache, lru_cache
from json import dumps, loads
from typing import Any

from optuna.distributions import (
    BaseDistribution,
    check_distribution_compatibility,
    distribution_to_json,
    json_to_distribution,
)
from optuna.exceptions import StorageInternalError
from optuna.storages import RDBStorage
from optuna.storages._rdb.models import (
    StudySystemAttributeModel,
    TrialHeartbeatModel,
    TrialIntermediateValueModel,
    TrialModel,
    TrialParamModel,
    TrialUserAttributeModel,
    TrialValueModel,
)
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy import (
    ColumnElement,
    Connection,
    Insert,
    Row,
    bindparam,
    exists,
    func,
    or_,
    select,
    update,
)
from sqlalchemy.dialects import mysql, postgresql, sqlite
from sqlalchemy.orm import Session

from search.store.attributes import FAILURE
from search.store.complaints import StudyFullError

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
    _total: int | None = None
    _has_read = False

    @contextmanager
    def one_ask(self, total: int | None = None) -> Iterator[None]:
        """Write the parameters set within the block at its end; read a study's trials once only.

        Whoever asks again gets no news, so that what wraps this storage goes by its own copies.
        Raises StudyFullError where the trial that is asked would be one more than `total`.
        """
        self._held, self._has_read, self._total = [], False, total
        try:
            yield
            if self._held:
                self.set_parameters(self._held)
        finally:
            self._held = self._total = None

    def set_parameters(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Store parameters of trials at once."""
        keys, rest = ("trial_id", "param_name"), ("param_value", "distribution_json")
        with self.engine.begin() as connection:
            connection.execute(self._upsert(TrialParamModel, keys, rest), list(rows))

    def _get_prepared_new_trial(
        self, study_id: int, template_trial: FrozenTrial | None, session: Session
    ) -> TrialModel:
        """Make a trial; the study is locked meanwhile, so that no other process makes one."""
        if template_trial is None:
            self._check_place(session.connection(), study_id)
        return super()._get_prepared_new_trial(study_id, template_trial, session)

    def set_trial_state_values(
        self, trial_id: int, state: TrialState, values: Sequence[float] | None = None
    ) -> bool:
        """Set a trial's state; a waiting one begins only where the study has a place for it."""
        if self._total is None or state != TrialState.RUNNING:
            return super().set_trial_state_values(trial_id, state, values)
        with self.engine.begin() as connection:
            locked = connection.execute(LOCKED, {"trial": trial_id}).one()
            self._check_place(connection, locked.study_id)
            now = datetime.now(UTC).replace(tzinfo=None)
            begun = connection.execute(BEGIN, {"trial": trial_id, "now": now})
        return begun.rowcount == 1

    def _check_place(self, connection: Connection, study_id: int) -> None:
        if self._total is not None:
            there = connection.scalar(COUNTED, {"study": study_id})
            if there is not None and there >= self._total:
                raise StudyFullError

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
        named = [one for one in included_trial_ids if one <= trial_id_greater_than]
        with self.engine.connect() as connection:
            if connection.scalar(THERE, {"study": study_id}) is None:
                raise KeyError(f"no study has the id {study_id}")
            after = trial_id_greater_than
            found = OF_STUDY.read(connection, study=study_id, after=after, named=named)
        self._has_read = True
        return found if states is None else [trial for trial in found if trial.state in states]

    def running(self, connection: Connection, trial_ids: Iterable[int]) -> set[int]:
        """Return those of some trials that run."""
        return set(connection.scalars(RUNNING, {"ids": list(trial_ids)}))

    def set_values(self, reports: Sequence[tuple[int, int, float]]) -> set[int]:
        """Store (trial's id, step, value) of the trials that run, at once; return those."""
        with self.engine.begin() as connection:
            running = self.running(connection, [trial for trial, _, _ in reports])
            rows = [_value_row(*report) for report in reports if report[0] in running]
            if rows:
                keys, rest = ("trial_id", "step"), ("intermediate_value", "intermediate_value_type")
                connection.execute(self._upsert(TrialIntermediateValueModel, keys, rest), rows)
        return running

    def set_trial_attributes(self, trial_id: int, attributes: Mapping[str, Any]) -> bool:
        """Set user attributes of a trial at once; False if it does not run."""
        rows = [
            {"trial_id": trial_id, "key": key, "value_json": dumps(value)}
            for key, value in attributes.items()
        ]
        with self.engine.begin() as connection:
            if not self.running(connection, [trial_id]):
                return False
            if rows:
                keys, rest = ("trial_id", "key"), ("value_json",)
                connection.execute(self._upsert(TrialUserAttributeModel, keys, rest), rows)
        return True

    def set_study_attributes(self, study_id: int, attributes: Mapping[str, Any]) -> None:
        """Set system attributes of a study at once."""
        rows = [
            {"study_id": study_id, "key": key, "value_json": dumps(value)}
            for key, value in attributes.items()
        ]
        if rows:
            with self.engine.begin() as connection:
                keys, rest = ("study_id", "key"), ("value_json",)
                connection.execute(self._upsert(StudySystemAttributeModel, keys, rest), rows)

    def record_heartbeats(self, trial_ids: Sequence[int]) -> None:
        """Record that the process of some trials lives, by the database's clock."""
        rows = [{"trial_id": trial_id} for trial_id in trial_ids]
        if rows:
            with self.engine.begin() as connection:
                upsert = self._upsert(TrialHeartbeatModel, ("trial_id",), (), ("heartbeat",))
                connection.execute(upsert, rows)

    def silence(self, study_id: int) -> dict[int, float]:
        """Return the seconds since the last sign of life by the running trials' numbers."""
        query = (
            select(TRIALS.c.number, TrialHeartbeatModel.heartbeat, func.now())
            .join(TrialHeartbeatModel, TrialHeartbeatModel.trial_id == TRIALS.c.trial_id)
            .where(TRIALS.c.study_id == study_id, TRIALS.c.state == TrialState.RUNNING)
        )
        with self.engine.connect() as connection:
            rows = connection.execute(query).all()
        return {number: (now.replace(tzinfo=None) - at).total_seconds() for number, at, now in rows}

    def _upsert(
        self, table: Any, keys: Sequence[str], rest: Sequence[str], stamped: Sequence[str] = ()
    ) -> Insert:
        return upsert(self.engine.name, table, tuple(keys), tuple(rest), tuple(stamped))


def _value_row(trial_id: int, step: int, value: float) -> dict[str, Any]:
    stored, kind = TrialIntermediateValueModel.intermediate_value_to_stored_repr(float(value))
    return {
        "trial_id": trial_id,
        "step": step,
        "intermediate_value": stored,
        "intermediate_value_type": kind,
    }


@cache
def upsert(
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
    try:
        return _read(trial, rows)
    except (ValueError, LookupError, TypeError, AttributeError, AssertionError) as error:
        raise StorageInternalError(f"trial {trial.number} is damaged: {error}") from None


def _read(trial: Row[Any], rows: Mapping[str, Sequence[Row[Any]]]) -> FrozenTrial:
    spaces = {row.param_name: _distribution(row.distribution_json) for row in rows["params"]}
    value_of = TrialValueModel.stored_repr_to_value
    reported_of = TrialIntermediateValueModel.stored_repr_to_intermediate_value
    values = [float(value_of(row.value, row.value_type)) for row in rows["values"]]
    if type(trial.number) is not int or trial.number < 0:
        raise ValueError(f"its number is {trial.number!r}")
    if trial.state == TrialState.COMPLETE and not values:
        raise ValueError("it is complete and has no value")
    return FrozenTrial(
        number=trial.number,
        state=trial.state,
        value=None,
        values=values or None,
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


RUNNING = select(TRIALS.c.trial_id).where(
    TRIALS.c.trial_id.in_(bindparam("ids", expanding=True)),
    TRIALS.c.state == TrialState.RUNNING,
)
LOCKED = (
    select(STUDIES.c.study_id)
    .join(TRIALS, TRIALS.c.study_id == STUDIES.c.study_id)
    .where(TRIALS.c.trial_id == bindparam("trial"))
    .with_for_update(of=STUDIES)
)
BEGIN = (
    update(TRIALS)
    .where(TRIALS.c.trial_id == bindparam("trial"), TRIALS.c.state == TrialState.WAITING)
    .values(state=TrialState.RUNNING, datetime_start=bindparam("now"))
)
HAS_FAILED_BY_ITSELF = exists().where(
    PARTS["user"].c.trial_id == TRIALS.c.trial_id, PARTS["user"].c.key == FAILURE
)
COUNTED = select(func.count(TRIALS.c.trial_id)).where(
    TRIALS.c.study_id == bindparam("study"),
    TRIALS.c.state.in_([TrialState.RUNNING, TrialState.COMPLETE, TrialState.PRUNED])
    | ((TRIALS.c.state == TrialState.FAIL) & HAS_FAILED_BY_ITSELF),
)
THERE = select(STUDIES.c.study_id).where(STUDIES.c.study_id == bindparam("study"))
BY_ID = Reading(TRIALS.c.trial_id == bindparam("trial"))
OF_STUDY = Reading(
    (TRIALS.c.study_id == bindparam("study"))
    & or_(
        TRIALS.c.trial_id > bindparam("after"),
        TRIALS.c.trial_id.in_(bindparam("named", expanding=True)),
    )
)
