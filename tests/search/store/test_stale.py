import multiprocessing
import os
import signal
from datetime import datetime, timedelta

import pytest
from optuna.distributions import FloatDistribution
from optuna.trial import TrialState
from sqlalchemy import text

from search.store import stale
from search.store.attributes import OWNER, RETRY_OF
from search.store.stale import claim, owner, reap
from search.store.storage import GRACE_SECONDS, open_storage, open_study
from search.store.transactions import ask, beat, database, set_attributes

SPACE = {"lr": FloatDistribution(0, 1), "decay": FloatDistribution(0, 1)}
LONG_AGO = str(datetime.now() - timedelta(days=2, seconds=GRACE_SECONDS))


@pytest.fixture
def url(tmp_path):
    return f"sqlite:///{tmp_path}/s.db"


@pytest.fixture
def study(url):
    return open_study(open_storage(url), "s", {})


def states(study):
    return [trial.state.name for trial in study.trials]


def set_back(study, table, column):
    """Make what the database says of a time older than the grace."""
    with database(study).engine.begin() as connection:
        connection.execute(text(f"UPDATE {table} SET {column} = :at"), {"at": LONG_AGO})


def test_trials_of_a_killed_process_are_failed_at_once_and_retried_as_they_were(url, study):
    study.enqueue_trial({"lr": 0.25}, user_attrs={"recipe": "plain BCE", "fixed": {"gamma": 0}})
    context = multiprocessing.get_context("fork")
    claimed = context.Event()

    def work():
        mine = open_study(open_storage(url), "s", {})
        claim(mine, [ask(mine, SPACE)])
        claimed.set()
        signal.pause()

    database(study).engine.dispose()
    worker = context.Process(target=work)
    worker.start()
    assert claimed.wait(20)
    assert reap(study) == []
    os.kill(worker.pid, signal.SIGKILL)
    worker.join()
    assert reap(study) == [0]
    assert states(study) == ["FAIL", "WAITING"]
    retry = ask(study, SPACE)
    assert retry.params == study.trials[0].params
    kept = {"recipe": "plain BCE", "fixed": {"gamma": 0}, RETRY_OF: 0}
    assert retry.user_attrs == kept


def test_a_retry_that_is_lost_too_is_not_tried_again(study):
    ask(study, SPACE)
    assert reap(study, alone=True) == [0]
    ask(study, SPACE)
    assert reap(study, alone=True) == [1]
    assert states(study) == ["FAIL", "FAIL"]


def test_a_trial_taken_from_the_queue_and_lost_before_its_parameters_keeps_them(study):
    study.enqueue_trial({"lr": 0.25, "decay": 0.5})
    study.ask()
    reap(study, alone=True)
    assert ask(study, SPACE).params == {"lr": 0.25, "decay": 0.5}


def test_a_slow_process_on_this_machine_is_not_taken_for_dead(study):
    """An epoch may last longer than the grace."""
    claim(study, [ask(study, SPACE)])
    set_back(study, "trial_heartbeats", "heartbeat")
    assert reap(study) == []


@pytest.mark.parametrize("beats", [True, False])
def test_a_process_elsewhere_is_dead_once_silent_for_the_grace(beats, study):
    trial = ask(study, SPACE)
    set_attributes(study, trial, {OWNER: "elsewhere 1 1"})
    if beats:
        beat(study, [trial])
    assert reap(study) == []
    set_back(study, "trials", "datetime_start")
    assert reap(study) == ([] if beats else [0])
    if beats:
        set_back(study, "trial_heartbeats", "heartbeat")
        assert reap(study) == [0]


def test_a_number_used_again_by_another_process_does_not_keep_a_trial(study):
    trial = ask(study, SPACE)
    machine, pid, _ = owner().split(" ")
    set_attributes(study, trial, {OWNER: f"{machine} {pid} 1"})
    assert reap(study) == [0]


def test_two_reapers_retry_a_trial_once(url, study, monkeypatch):
    ask(study, SPACE)
    other = open_study(open_storage(url), "s", {})
    found = stale.stale(other, alone=True)
    assert reap(study, alone=True) == [0]
    monkeypatch.setattr(stale, "stale", lambda *_, **__: found)
    assert reap(other) == []
    assert states(study) == ["FAIL", "WAITING"]


@pytest.mark.parametrize("kind", ["journal", "memory"])
def test_without_signs_of_life_only_who_is_alone_may_judge(kind, tmp_path):
    url = "memory" if kind == "memory" else f"journal:///{tmp_path}/s.log"
    study = open_study(open_storage(url), "s", {})
    trial = ask(study, SPACE)
    set_attributes(study, trial, {OWNER: "elsewhere 1 1"})
    assert reap(study) == []
    assert reap(study, alone=True) == [0]
    assert TrialState.RUNNING not in {t.state for t in study.trials}
