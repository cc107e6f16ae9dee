"""Trials read by the rows of their tables are those that Optuna's mapper makes."""

import math

import optuna
import pytest
from optuna.distributions import (
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.storages import RDBStorage
from optuna.trial import TrialState, create_trial

from search.store.database import Database

SPACE = {
    "lr": FloatDistribution(1e-4, 1e-1, log=True),
    "depth": IntDistribution(0, 3),
    "loss": CategoricalDistribution(("bce", "focal", None)),
}


@pytest.fixture
def url(tmp_path):
    """A database with two studies, whose trials are of every kind."""
    url = f"sqlite:///{tmp_path}/studies.db"
    storage = RDBStorage(url)
    for name in ("one", "other"):
        study = optuna.create_study(study_name=name, storage=storage, direction="maximize")
        study.enqueue_trial({"lr": 1e-2}, user_attrs={"recipe": name})
        for value in (0.5, math.inf, -math.inf):
            trial = study.ask(SPACE)
            for step, reported in enumerate((0.25, math.nan, math.inf, -math.inf)):
                trial.report(reported, step)
            trial.set_user_attr("labels", {"a": [1, None, "é"]})
            study.tell(trial, value)
        study.tell(study.ask(SPACE), state=TrialState.FAIL)
        study.ask(SPACE)
        study.enqueue_trial({"depth": 1})
        params = {"lr": 1e-2, "depth": 0, "loss": None}
        study.add_trial(create_trial(params=params, distributions=SPACE, value=0.0))
    return url


def shown(trials):
    """All there is to a trial, nan equal to itself; attributes have no order."""
    return [
        repr({**vars(trial), "_user_attrs": sorted(trial.user_attrs.items())}) for trial in trials
    ]


def test_all_trials_are_those_of_optuna(url):
    ours, theirs = Database(url), RDBStorage(url)
    for study_id in (1, 2):
        expected = theirs.get_all_trials(study_id)
        assert len(expected) == 7
        assert shown(ours.get_all_trials(study_id)) == shown(expected)
        for trial in expected:
            assert shown([ours.get_trial(trial._trial_id)]) == shown([trial])


@pytest.mark.parametrize("states", [None, (TrialState.COMPLETE,), (TrialState.WAITING,)])
@pytest.mark.parametrize(("named", "after"), [(set(), -1), (set(), 4), ({1, 3}, 5), ({1, 9}, 4)])
def test_a_part_of_them_is_too(url, states, named, after):
    ours, theirs = Database(url), RDBStorage(url)
    expected = theirs._get_trials(1, states, named, after)
    assert shown(ours._get_trials(1, states, named, after)) == shown(expected)


def test_what_is_not_there_is_missed(url):
    storage = Database(url)
    with pytest.raises(KeyError, match="no trial has the id 99"):
        storage.get_trial(99)
    with pytest.raises(KeyError, match="no study has the id 99"):
        storage.get_all_trials(99)
