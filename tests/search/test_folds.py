"""How many folds a study has: chosen, kept, and as versions before folds had it."""

import dataclasses

import numpy as np
import pytest
import torch

from search.folds import by_positives, by_time
from search.reopen import reopen, stored_definition
from search.retrain import retrain
from search.session import prepare
from search.store.attributes import DEFINITION, FINGERPRINT
from search.store.records import read_records
from search.store.storage import stored_folds
from search.waves.searching import begin, open_session_study, search_study
from search.workspace import Place
from studies.definition import Budget, load_definition
from trainer.data.split import Split
from trainer.data.table import Roles, read_table
from trainer.errors import ConfigError
from trainer.experiment import SplitSettings, place_experiment
from trainer.scores.selection import RESAMPLES

QUICK = {
    "budget": {"trials": 4},
    "training": {"epochs": 2},
    "pruner": "none",
    "space": {"batch_size": [64], "hidden_dim": [16]},
}


@pytest.fixture(scope="module")
def table(table_csv):
    return read_table(table_csv, Roles(("rare", "rarer"), group="family", id=("person",)))


@pytest.fixture(scope="module")
def one_part(searched_session):
    """A study on one part, its attributes as a version that knew no folds left them."""
    session = searched_session("older", split={"folds": 1}, **QUICK)
    study = open_session_study(session)
    definition = study.user_attrs[DEFINITION]
    for name in ("folds", "repeats"):
        del definition["split"][name]
    study.set_user_attr(DEFINITION, definition)
    assert "folds" not in study.user_attrs[FINGERPRINT]["split"]
    return session


def test_a_study_of_the_version_before_folds_is_reopened_and_retrained_exactly(one_part):
    study, session = reopen(Place("older", one_part.workspace, one_part.url))
    assert stored_definition(study).split.folds == 1
    assert len(session.experiment.folds) == 1
    for record in read_records(study):
        if record.state == "complete":
            assert retrain(session, record).difference == ""


def test_it_goes_on_with_its_one_part_where_folds_are_left_to_the_search(one_part):
    settings = {**QUICK, "budget": {"trials": 6}, "split": {"folds": "auto"}}
    table = one_part.definition.table.model_dump(mode="json")
    definition = load_definition("default", {"name": "older", "table": table, **settings})
    session = prepare(definition, one_part.workspace, one_part.url, "cpu")
    assert session.definition.split.folds == 1
    assert session.why_folds == ""
    begin(session)
    progress = search_study(session, should_stop=lambda: False, on_progress=lambda p: None)
    assert progress.done == 6


def test_other_folds_are_another_study(one_part):
    table = one_part.definition.table.model_dump(mode="json")
    overrides = {"name": "older", "table": table, "split": {"folds": 3}, **QUICK}
    session = prepare(
        load_definition("default", overrides), one_part.workspace, one_part.url, "cpu"
    )
    with pytest.raises(ConfigError, match="exists with another definition"):
        begin(session)


def test_a_study_on_folds_is_retrained_exactly_and_keeps_its_folds(searched_session):
    session = searched_session("folded", split={"folds": 3}, **QUICK)
    assert stored_folds(session.url, "folded") == 3
    study, again = reopen(Place("folded", session.workspace, session.url))
    assert len(again.experiment.folds) == 3
    complete = [record for record in read_records(study) if record.state == "complete"]
    assert complete
    for record in complete:
        assert len(record.resampled["drawn"]) == RESAMPLES
        found = retrain(again, record)
        assert found.difference == ""
        assert len(found.checkpoint.networks) == 3


@pytest.mark.parametrize(("positives", "folds"), [(499, 5), (500, 1)])
def test_one_part_is_enough_where_the_rarest_label_has_500_positives(positives, folds, table):
    labels = np.zeros_like(table.labels)
    labels[: positives + 20, 0] = 1
    labels[:positives, 1] = 1
    rows = np.arange(len(labels))
    choice = by_positives(
        dataclasses.replace(table, labels=labels), Split(rows[:0], rows, rows[:0])
    )
    assert choice.folds == folds
    assert f"rarer, has {positives} positives" in choice.why


def test_a_time_limit_that_allows_few_trials_takes_one_part(table):
    experiment = place_experiment(table, SplitSettings(0.2, 0.2, 0, 5), torch.device("cpu"))
    assert by_time(experiment, Budget(trials=10, timeout_seconds=0), 1) is None
    assert by_time(experiment, Budget(trials=10, timeout_seconds=3600), 1) is None
    choice = by_time(experiment, Budget(trials=10, timeout_seconds=0.001), 1)
    assert choice.folds == 1
    assert "too few to search with" in choice.why
