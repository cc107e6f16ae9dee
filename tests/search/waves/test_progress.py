import math
from datetime import datetime, timedelta

import optuna
import pytest
from hypothesis import given
from hypothesis import strategies as st
from optuna.trial import TrialState, create_trial

from search.waves.progress import MAX_FAILURES, Progress, run_of_failures

START = datetime(2024, 1, 1)


def complete(value=0.5, **attributes):
    return create_trial(state=TrialState.COMPLETE, value=value, user_attrs=attributes)


def failed(reason="the loss was not finite"):
    return create_trial(state=TrialState.FAIL, user_attrs={"failure": reason})


def lost():
    return create_trial(state=TrialState.FAIL, user_attrs={"lost": "its process ended"})


def in_order(trials):
    """Number trials and let each end a second after the one before."""
    for number, trial in enumerate(trials):
        trial.number = number
        if trial.state.is_finished():
            trial.datetime_complete = START + timedelta(seconds=number)
    return trials


def test_each_trial_counts_once_and_a_lost_one_not_at_all():
    study = optuna.create_study(direction="maximize")
    study.add_trials([complete(0.2), complete(0.7, config={"lr": 1}), failed(), lost()])
    study.add_trial(create_trial(state=TrialState.PRUNED))
    study.ask()
    progress = Progress(10)
    progress.count(study)
    assert (progress.complete, progress.pruned, progress.failed, progress.asked) == (2, 1, 1, 1)
    assert (progress.done, progress.left) == (4, 5)
    assert (progress.best_number, progress.best_value) == (1, 0.7)
    assert progress.best_config == {"lr": 1}


def test_of_equal_trials_the_earlier_is_the_best():
    progress = Progress(10)
    progress.tally(in_order([complete(0.5), complete(0.5)]))
    assert progress.best_number == 0


@given(st.lists(st.one_of(st.floats(0, 1), st.just(math.nan)), min_size=1))
def test_a_peak_is_the_largest_objective_so_far_and_no_nan(values):
    progress = Progress(10)
    progress.begin(3, {"lr": 1})
    for epoch, value in enumerate(values, start=1):
        progress.running[3] = (epoch, value)
        progress.climb()
    finite = [value for value in values if not math.isnan(value)]
    assert progress.peaks[3] == max(finite, default=-math.inf)


def test_a_trial_that_has_ended_is_forgotten():
    progress = Progress(10)
    progress.begin(3, {"lr": 1})
    progress.begin(4, {"lr": 2})
    progress.climb()
    del progress.running[3]
    progress.climb()
    assert progress.configs == {4: {"lr": 2}}
    assert progress.peaks.keys() == {4}


def test_a_frozen_progress_does_not_follow_the_search():
    progress = Progress(10)
    progress.begin(3, {"lr": 1})
    before = progress.frozen()
    progress.begin(4, {"lr": 2})
    progress.running[3] = (1, 0.5)
    progress.climb()
    assert before.running.keys() == before.configs.keys() == {3}
    assert before.peaks == {}


def test_a_run_of_failures_names_the_latest_reason():
    trials = [complete(), *(failed() for _ in range(MAX_FAILURES - 1)), failed("out of memory")]
    assert run_of_failures(in_order(trials)) == (
        f"the last {MAX_FAILURES} trials failed, the latest because out of memory"
    )


@pytest.mark.parametrize("place", [0, 4, MAX_FAILURES - 1])
def test_one_trial_that_did_not_fail_breaks_the_run(place):
    trials = [failed() for _ in range(MAX_FAILURES)]
    trials[place] = complete()
    assert run_of_failures(in_order(trials)) == ""


@pytest.mark.parametrize("place", [0, 4, MAX_FAILURES])
def test_a_lost_trial_neither_breaks_the_run_nor_counts(place):
    trials = [failed() for _ in range(MAX_FAILURES)]
    trials.insert(place, lost())
    assert run_of_failures(in_order(trials))
    assert not run_of_failures(in_order([failed() for _ in range(MAX_FAILURES - 1)] + [lost()]))


def test_a_run_is_told_by_when_trials_ended_not_by_their_numbers():
    trials = in_order([complete(), *(failed() for _ in range(MAX_FAILURES))])
    assert run_of_failures(trials)
    trials[0].datetime_complete = START + timedelta(hours=1)
    assert not run_of_failures(trials)


def test_trials_that_run_or_wait_say_nothing_of_failures():
    unfinished = [create_trial(state=TrialState.WAITING), create_trial(state=TrialState.RUNNING)]
    failures = [failed() for _ in range(MAX_FAILURES)]
    assert run_of_failures(in_order([*failures, *unfinished]))
    assert not run_of_failures(in_order([*failures[1:], *unfinished]))
