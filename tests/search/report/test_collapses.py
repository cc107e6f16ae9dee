import pytest
from study_case import make_study

from search.report.collapses import TROUBLES, collapses, failures
from search.store.records import read_records
from trainer.diagnosis import SIGNS


def test_every_sign_has_its_words():
    assert [look.__name__ for look in SIGNS] == list(TROUBLES)


def test_trials_are_grouped_by_each_of_their_signs_the_most_frequent_first():
    found = collapses({1: "", 2: "overfitting", 5: "all_negative; overfitting"})
    assert [(one.trouble.name, one.trials) for one in found] == [
        ("overfitting", [2, 5]),
        ("all negative", [5]),
    ]


def test_a_sign_of_another_version_keeps_its_own_name():
    assert collapses({1: "new_sign"})[0].trouble.name == "new_sign"


@pytest.mark.parametrize("trials", [5, 30])
def test_failed_trials_are_grouped_by_their_reason(trials):
    found = failures(read_records(make_study(trials)))
    assert [numbers for _, numbers in found] == ([[9, 19, 29]] if trials == 30 else [])
