"""Optuna's private parts stay in one room, and only as long as they are those that we know."""

import ast
import json
from pathlib import Path

import optuna
import pytest
from optuna.storages import RDBStorage
from optuna.trial import TrialState

from search.doctor import examine
from search.retrain import retrain
from search.store import storage, tables
from search.store.artifacts import Shelf
from search.store.records import complete, read_records
from search.store.stale import claim, reap
from search.store.storage import open_storage, open_study
from search.store.transactions import (
    ask,
    backend,
    beat,
    database,
    report_epoch,
    set_attributes,
    set_study_attributes,
    silence,
    study_attributes,
)
from search.waves.searching import begin, search_study

ROOT = Path(storage.__file__).parents[2]


def private_names(source):
    """Names with a leading underscore, of other things than self and cls, that a source uses."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Attribute) and node.attr.startswith("_"):
            own = isinstance(node.value, ast.Name) and node.value.id in ("self", "cls")
            if not own and not node.attr.startswith("__"):
                yield node.attr
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("optuna"):
            yield from (part for part in node.module.split(".") if part.startswith("_"))
            yield from (name.name for name in node.names if name.name.startswith("_"))


def test_nothing_private_to_optuna_is_used_outside_the_store():
    seen = []
    for package in ("search", "studies", "trainer"):
        for path in (ROOT / package).rglob("*.py"):
            names = set(private_names(path.read_text(encoding="utf-8")))
            if (ROOT / "search" / "store") in path.parents:
                seen += names
            else:
                assert not names & PRIVATE, path
    assert {"_storage", "_study_id", "_trial_id"} <= set(seen)


PRIVATE = {
    name
    for thing in (optuna.Study, optuna.trial.Trial, optuna.trial.FrozenTrial, RDBStorage)
    for name in dir(thing)
    if name.startswith("_") and not name.startswith("__")
} | {"_storage", "_study_id", "_trial_id", "_backend", "_cached_frozen_trial", "_rdb", "_frozen"}


def test_the_tables_of_the_installed_optuna_are_those_that_our_sql_was_written_for():
    assert tables.digest() == tables.KNOWN, "read what has changed, mend database.py, then KNOWN"


def test_a_change_of_the_tables_is_seen(monkeypatch):
    column = optuna.storages._rdb.models.TrialModel.__table__.columns["number"]
    monkeypatch.setattr(column, "nullable", not column.nullable)
    assert tables.digest.__wrapped__() != tables.KNOWN
    monkeypatch.setattr(tables, "MODELS", "optuna.storages.nowhere")
    assert tables.digest.__wrapped__() == ""


@pytest.fixture
def unknown(monkeypatch):
    monkeypatch.setattr(tables, "KNOWN", "those of another Optuna")


def test_a_search_on_unknown_tables_goes_on_resumes_and_is_retrained(
    unknown, searched_session, caplog
):
    session = searched_session(
        "slow",
        budget={"trials": 5},
        training={"epochs": 3},
        pruner="none",
        space={"batch_size": [64], "hidden_dim": [16]},
    )
    more = session.definition.model_copy(
        update={"budget": session.definition.budget.model_copy(update={"trials": 7})}
    )
    again = type(session)(more, session.experiment, session.workspace, session.url)
    study = begin(again)
    assert type(backend(study)) is RDBStorage
    assert database(study) is None
    search_study(again, should_stop=lambda: False, on_progress=lambda progress: None)
    records = complete(read_records(study))
    assert len(records) == 7
    assert retrain(again, records[0]).difference == ""
    assert Shelf(study, session.shelf_folder).fetch(study.best_trial) is not None


def test_on_unknown_tables_the_same_is_written_and_the_dead_are_found(unknown, tmp_path):
    url = f"sqlite:///{tmp_path}/s.db"
    study = open_study(open_storage(url), "s", {})
    space = {"lr": optuna.distributions.FloatDistribution(0, 1)}
    trial = ask(study, space)
    claim(study, [trial])
    beat(study, [trial])
    assert report_epoch(study, [(trial, 1, 0.5)]) == []
    set_attributes(study, trial, {"a": [1]})
    set_study_attributes(study, {"b": 2})
    assert study_attributes(study)["b"] == 2
    assert silence(study) == {}
    assert reap(study) == []
    set_attributes(study, trial, {"owner": "elsewhere 1 1"})
    with backend(study).engine.begin() as connection:
        connection.exec_driver_sql("UPDATE trial_heartbeats SET heartbeat = '2020-01-01 00:00:00'")
    assert reap(study) == [0]
    assert report_epoch(study, [(trial, 2, 0.5)]) == [0]
    seen = study.trials[0]
    assert (seen.state, seen.intermediate_values) == (TrialState.FAIL, {1: 0.5})
    assert seen.user_attrs["a"] == [1]
    assert json.dumps(seen.params) == json.dumps(trial.params)


def test_doctor_says_that_the_tables_are_unknown(unknown, tmp_path):
    url = f"sqlite:///{tmp_path}/studies.db"
    open_study(open_storage(url), "s", {})
    found = [one for one in examine(url, tmp_path) if "tables of Optuna" in one.what]
    assert [one.level for one in found] == ["warning"]
    assert "slower" in found[0].what
    assert "pip install" in found[0].remedy
