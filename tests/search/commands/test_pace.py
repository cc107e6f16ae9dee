import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from search.commands.pace import WINDOW, Pace, about
from search.waves.progress import Progress


def searched(looks, *, total=100, timeout=0.0):
    """A Pace that began at 0 and has had (time, trials done, model-epochs) told."""
    pace = Pace(0.0)
    for now, done, epochs in looks:
        pace.look(now, Progress(total, timeout, complete=done, model_epochs=epochs))
    return pace


@given(st.integers(1, 50), st.integers(2, 200), st.floats(0.1, 20), st.integers(0, 10**6))
def test_a_steady_search_shows_its_own_speed_whatever_was_done_before(rate, looks, step, before):
    pace = searched([(i * step, 0, before + i * rate) for i in range(looks)])
    assert pace.speed((looks - 1) * step) == pytest.approx(rate / step)


def test_the_speed_is_that_of_the_last_half_minute():
    slow = [(second, 0, second) for second in range(0, 100)]
    fast = [(100 + second, 0, 100 + 9 * second) for second in range(int(WINDOW) + 1)]
    assert searched(slow + fast).speed(100 + WINDOW) == pytest.approx(9)


def test_a_search_that_stands_still_slows_down():
    pace = searched([(0, 0, 0), (10, 0, 100)])
    assert pace.speed(10) == 10
    assert pace.speed(100) == 1


def test_the_time_left_follows_from_the_trials_that_ended_in_this_run():
    assert searched([(0, 40, 0), (20, 50, 0)]).left(20) == pytest.approx(100)


def test_a_timeout_that_comes_first_is_the_time_left():
    looks = [(0, 0, 0), (20, 10, 0)]
    assert searched(looks, timeout=50.0).left(20) == 30
    assert searched(looks, timeout=5000.0).left(20) == pytest.approx(180)
    assert searched(looks, timeout=50.0).left(70) == 0


def test_before_any_trial_has_ended_only_a_timeout_is_known():
    assert searched([(0, 7, 0), (9, 7, 50)]).left(9) == math.inf
    assert searched([(0, 7, 0), (9, 7, 50)], timeout=20.0).left(9) == 11
    assert Pace(0.0).left(1.0) == math.inf
    assert Pace(0.0).speed(1.0) == 0


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (1, "5 s"),
        (33, "35 s"),
        (55, "55 s"),
        (56, "1 min"),
        (130, "2 min"),
        (5300, "88 min"),
        (5400, "1.5 h"),
    ],
)
def test_a_time_is_told_no_finer_than_it_is_known(seconds, words):
    assert about(seconds) == words
