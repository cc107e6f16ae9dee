import math
import multiprocessing
from contextlib import suppress

import optuna
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.exceptions import UpdateFinishedTrialError
from optuna.pruners import MedianPruner, PatientPruner
from optuna.trial import TrialState
from sqlalchemy import event

from search.space.pruning import Halving
from search.store.attributes import FAILURE, LOST, RETRY_OF
from search.store.complaints import StudyFullError
from search.store.stale import drop_retries, reap
from search.store.storage import open_storage, open_study
from search.store.transactions import (
    ask,
    beat,
    database,
    end_lost,
    report_epoch,
    set_attributes,
    set_study_attributes,
    should_prune,
    silence,
)

SPACE = {
    "lr": FloatDistribution(1e-5, 1e-1, log=True),
    "depth": IntDistribution(1, 4),
    "loss": CategoricalDistribution(["bce", "focal"]),
}
VALUES = [0.25, math.nan, math.inf, -math.inf, 1e-300, 0.1 + 0.2]


@pytest.fixture(params=["sqlite", "journal", "memory"])
def url(request, tmp_path):
    return {
        "sqlite": f"sqlite:///{tmp_path}/s.db",
        "journal": f"journal:///{tmp_path}/s.log",
        "memory": "memory",
    }[request.param]


def commits(study):
    """Count transactions that wrote."""
    counted = []
    event.listen(database(study).engine, "commit", lambda connection: counted.append(1))
    return counted


def same(left, right):
    return repr(sorted(left.items())) == repr(sorted(right.items()))


def test_what_is_stored_at_once_is_what_optuna_would_have_stored(url):
    """Notices a change of Optuna's tables: its own calls write one study, ours the other."""
    storage = open_storage(url)
    pair = [open_study(storage, name, {}) for name in ("ours", "optunas")]
    for study in pair:
        study.sampler = optuna.samplers.RandomSampler(seed=0)
    ours, optunas = pair
    mine = [ask(ours, SPACE) for _ in range(3)]
    its = [optunas.ask(SPACE) for _ in range(3)]
    for step, value in enumerate(VALUES):
        assert report_epoch(ours, [(t, step, value) for t in mine]) == []
        for trial in its:
            trial.report(value, step)
    attributes = {"text": "\u00fc", "number": 0.5, "nested": {"list": [1, None, True]}}
    set_attributes(ours, mine[0], {**attributes, "text": "replaced below"})
    set_attributes(ours, mine[0], attributes)
    for key, value in attributes.items():
        its[0].set_user_attr(key, value)
    for left, right in zip(ours.trials, optunas.trials, strict=True):
        assert left.params == right.params
        assert left.distributions == right.distributions
        assert left.user_attrs == right.user_attrs
        assert same(left.intermediate_values, right.intermediate_values)
    for left, right in zip(mine, its, strict=True):  # the copies that pruners get
        assert left.user_attrs == right.user_attrs
        assert same(
            left._cached_frozen_trial.intermediate_values,
            right._cached_frozen_trial.intermediate_values,
        )


def test_running_trials_show_their_curves_to_another_process(tmp_path):
    url = f"sqlite:///{tmp_path}/s.db"
    study = open_study(open_storage(url), "s", {})
    trial = ask(study, SPACE)
    report_epoch(study, [(trial, 1, 0.5)])
    assert optuna.load_study(study_name="s", storage=url).trials[0].intermediate_values == {1: 0.5}
    report_epoch(study, [(trial, 2, 0.6), (trial, 1, 0.9)])  # as Trial.report, the first stays
    again = optuna.load_study(study_name="s", storage=url).trials[0]
    assert again.intermediate_values == {1: 0.5, 2: 0.6}


def test_an_epoch_attributes_parameters_and_signs_of_life_are_one_transaction_each(tmp_path):
    study = open_study(open_storage(f"sqlite:///{tmp_path}/s.db"), "s", {})
    trials = [study.ask(SPACE) for _ in range(8)]
    counted = commits(study)
    report_epoch(study, [(trial, 1, 0.5) for trial in trials])
    assert len(counted) == 1
    set_attributes(study, trials[0], {str(i): i for i in range(8)})
    assert len(counted) == 2
    beat(study, trials)
    assert len(counted) == 3
    before = len(counted)
    ask(study, {f"x{i}": FloatDistribution(0, 1) for i in range(20)})  # new ones: one by one
    first = len(counted) - before
    ask(study, {f"x{i}": FloatDistribution(0, 1) for i in range(20)})
    assert len(counted) - before - first <= first - 19


@pytest.mark.parametrize(
    "pruner",
    [
        Halving(first_rung=1, reduction_factor=2),
        MedianPruner(n_startup_trials=1, n_warmup_steps=0),
        PatientPruner(MedianPruner(n_startup_trials=1, n_warmup_steps=0), patience=0),
    ],
    ids=lambda pruner: type(pruner).__name__,
)
def test_pruners_judge_by_what_was_reported_at_once(pruner, url, monkeypatch):
    study = open_study(open_storage(url), "s", {}, pruner=pruner)
    done = ask(study, SPACE)
    report_epoch(study, [(done, 1, 0.6), (done, 2, 0.6)])
    study.tell(done, 0.6)
    good, bad = ask(study, SPACE), ask(study, SPACE)
    for step in (1, 2):
        report_epoch(study, [(good, step, 0.7 + step / 10), (bad, step, 0.2 - step / 10)])
    assert [good.should_prune(), bad.should_prune()] == [False, True]
    reads, read = [], study.get_trials
    monkeypatch.setattr(study, "get_trials", lambda **k: reads.append(1) or read(**k))
    assert should_prune(study, [good, bad, bad]) == [False, True, True]
    assert len(reads) == 1


def test_a_studys_attributes_set_at_once_are_those_that_optuna_would_have_set(url):
    storage = open_storage(url)
    ours, optunas = (open_study(storage, name, {}) for name in ("ours", "optunas"))
    attributes = {"text": "\u00fc", "number": 1, "nested": {"list": [1, None, True]}}
    set_study_attributes(ours, {})
    set_study_attributes(ours, {**attributes, "number": 0})
    set_study_attributes(ours, attributes)
    for key, value in attributes.items():
        optunas._storage.set_study_system_attr(optunas._study_id, key, value)
    left, right = (storage.get_study_system_attrs(study._study_id) for study in (ours, optunas))
    assert left == right
    assert attributes.items() <= left.items()


def test_a_trial_that_another_process_has_ended_is_named_and_stores_nothing(url):
    study = open_study(open_storage(url), "s", {})
    mine, ended = ask(study, SPACE), ask(study, SPACE)
    study.tell(ended.number, state=optuna.trial.TrialState.FAIL)
    assert report_epoch(study, [(mine, 1, 0.5), (ended, 1, 0.5)]) == [ended.number]
    assert [t.intermediate_values for t in study.trials] == [{1: 0.5}, {}]
    with pytest.raises(UpdateFinishedTrialError):
        set_attributes(study, ended, {"a": 1})


def test_another_distribution_of_a_parameter_is_refused_as_by_optuna(tmp_path):
    study = open_study(open_storage(f"sqlite:///{tmp_path}/s.db"), "s", {})
    for _ in range(2):
        ask(study, SPACE)
    with pytest.raises(ValueError, match="distribution"):
        ask(study, {"lr": CategoricalDistribution(["a", "b"])})


def test_signs_of_life_are_as_old_as_they_are(tmp_path):
    study = open_study(open_storage(f"sqlite:///{tmp_path}/s.db"), "s", {})
    alive, mute = ask(study, SPACE), ask(study, SPACE)
    beat(study, [alive])
    beat(study, [alive])
    assert set(silence(study)) == {alive.number} != {mute.number}
    assert 0 <= silence(study)[alive.number] <= 2


def take(url, start, results, total):
    """Ask trials until the study is full."""
    start.wait()
    study = open_study(open_storage(url), "s", {})
    taken = []
    with suppress(StudyFullError):
        while True:
            taken.append(ask(study, SPACE, total).number)
    results.put(taken)


@pytest.mark.parametrize("kind", ["sqlite", "journal"])
@pytest.mark.parametrize("waiting", [0, 30])
def test_processes_that_share_a_study_ask_no_trial_too_many(waiting, kind, tmp_path):
    context = multiprocessing.get_context("fork")
    end = {"sqlite": "db", "journal": "log"}[kind]
    url, start, results = f"{kind}:///{tmp_path}/s.{end}", context.Event(), context.Queue()
    study = open_study(open_storage(url), "s", {})
    for _ in range(waiting):
        study.enqueue_trial({"lr": 0.01})
    if kind == "sqlite":
        database(study).engine.dispose()
    workers = [context.Process(target=take, args=(url, start, results, 10)) for _ in range(4)]
    for worker in workers:
        worker.start()
    start.set()
    taken = [number for _ in workers for number in results.get(timeout=60)]
    for worker in workers:
        worker.join()
    states = [trial.state.name for trial in study.trials]
    assert len(taken) == len(set(taken)) == 10
    assert states.count("RUNNING") == 10
    if kind == "sqlite":
        assert len(states) == max(10, waiting)


def test_a_trial_that_was_lost_leaves_its_place_and_one_that_failed_by_itself_does_not(url):
    study = open_study(open_storage(url), "s", {})
    trials = [ask(study, SPACE, 2) for _ in range(2)]
    with pytest.raises(StudyFullError):
        ask(study, SPACE, 2)
    set_attributes(study, trials[0], {FAILURE: "too large"})
    study.tell(trials[0], state=TrialState.FAIL)
    with pytest.raises(StudyFullError):
        ask(study, SPACE, 2)
    end_lost(study, study.trials[1], {LOST: "its process died"})
    assert ask(study, SPACE, 2).number > 1
    with pytest.raises(StudyFullError):
        ask(study, SPACE, 2)


def test_a_retry_that_no_place_is_left_for_is_ended(url):
    study = open_study(open_storage(url), "s", {})
    ask(study, SPACE)
    reap(study, alone=True)
    study.tell(ask(study, SPACE), 0.5)
    study.enqueue_trial({"lr": 0.01})
    study.enqueue_trial({"lr": 0.01}, user_attrs={RETRY_OF: 0})
    drop_retries(study)
    assert [trial.state.name for trial in study.trials] == ["FAIL", "COMPLETE", "WAITING", "FAIL"]
