from dataclasses import replace

import pytest
from study_case import make_study

from search.report.diagnoses import SIGN_TEXTS, group_failures, group_signs
from search.store.records import read_records
from trainer.diagnosis import SIGNS


def test_every_sign_has_its_words():
    assert [look.__name__ for look in SIGNS] == list(SIGN_TEXTS)


def diagnosed(**names):
    """Records of trials 1, 2 ... with these diagnoses."""
    record = read_records(make_study(1))[0]
    return [
        replace(record, number=int(number[1:]), diagnosis=found) for number, found in names.items()
    ]


def test_trials_are_grouped_by_each_of_their_signs_the_most_frequent_first():
    found = group_signs(
        diagnosed(t1=(), t2=("overfitting",), t3=None, t5=("all_negative", "overfitting"))
    )
    assert [(one.text.name, one.trials) for one in found] == [
        ("overfitting", [2, 5]),
        ("all negative", [5]),
    ]


def test_a_sign_of_another_version_keeps_its_own_name():
    assert group_signs(diagnosed(t1=("new_sign",)))[0].text.name == "new_sign"


@pytest.mark.parametrize("trials", [5, 30])
def test_failed_trials_are_grouped_by_their_reason(trials):
    found = group_failures(read_records(make_study(trials)))
    assert [numbers for _, numbers in found] == ([[9, 19, 29]] if trials == 30 else [])
