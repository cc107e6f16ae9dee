import dataclasses

import pytest
from study_case import make_study

from search.appraisal.certificate import ALL, Certificate, Worth, keep, kept
from search.store.attributes import CERTIFICATE
from search.store.records import complete, read_records


def worth(remedy, difference, low, high):
    return Worth(remedy=remedy, without={}, difference=difference, interval=(low, high))


def certificate(*remedies, objective="macro_f1", trial=3):
    return Certificate(
        trial=trial, objective=objective, seeds=3, epochs=40, remedies=list(remedies)
    )


HELPS = worth("focal loss", 0.0123, 0.0031, 0.0214)
UNSURE = worth("class weights", 0.004, -0.002, 0.011)
HARMS = worth("row sampling", -0.0101, -0.0179, -0.0022)


@pytest.mark.parametrize(
    ("remedies", "verdict"),
    [
        ([HELPS], "Focal loss is worth +0.012 (0.003 to 0.021) macro-F1 here."),
        (
            [UNSURE, HELPS],
            "Focal loss is worth +0.012 (0.003 to 0.021) macro-F1 here; class weights nothing that "
            "can be told from chance.",
        ),
        ([UNSURE], "Class weights are worth nothing that can be told from chance."),
        (
            [worth("focal loss", 0.001, -0.1, 0.1)],
            "Focal loss is worth nothing that can be told from chance.",
        ),
        ([HARMS], "Row sampling costs 0.010 (0.002 to 0.018) macro-F1 here."),
        (
            [worth("class weights", -0.0101, -0.0179, -0.0022)],
            "Class weights cost 0.010 (0.002 to 0.018) macro-F1 here.",
        ),
        (
            [HARMS, UNSURE, HELPS, worth(ALL, 0.02, 0.01, 0.03)],
            "Focal loss is worth +0.012 (0.003 to 0.021) macro-F1 here; row sampling costs 0.010 "
            "(0.002 to 0.018); class weights nothing that can be told from chance. Together they "
            "are worth +0.020 (0.010 to 0.030).",
        ),
        (
            [UNSURE, worth("row sampling", 0.0, -1, 1), worth(ALL, 0.02, -0.01, 0.03)],
            "Class weights and row sampling are worth nothing that can be told from chance, "
            "neither one by one nor together.",
        ),
        (
            [UNSURE, worth("row sampling", 0.0, -1, 1), worth(ALL, -0.02, -0.03, -0.01)],
            "Class weights and row sampling are worth nothing that can be told from chance. "
            "Together they cost 0.020 (0.010 to 0.030) macro-F1 here.",
        ),
        (
            [worth("focal loss", 0.01, None, None)],
            "Focal loss is worth nothing that can be told from chance.",
        ),
        (
            [],
            "Trial 3 uses no remedy for imbalance but tuned thresholds, so there is none to "
            "certify.",
        ),
    ],
)
def test_the_verdict_says_in_words_what_each_remedy_is_worth(remedies, verdict):
    assert certificate(*remedies).verdict == verdict


def test_the_verdict_is_of_the_studys_objective():
    assert (
        "(0.003 to 0.021) average precision here"
        in certificate(HELPS, objective="average_precision").verdict
    )


@pytest.fixture
def study():
    return make_study(8)


def test_what_is_kept_is_read_again_whole(study):
    best = complete(read_records(study))[0]
    made = certificate(HELPS, UNSURE, worth(ALL, 0.01, None, None), trial=best.number)
    assert kept(study, best) is None
    keep(study, best, made)
    assert kept(study, best) == made


def test_it_is_of_one_trial_as_that_was_and_of_no_other(study):
    best, second, *_ = complete(read_records(study))
    keep(study, best, certificate(HELPS, trial=best.number))
    assert kept(study, second) is None
    assert kept(study, None) is None
    assert kept(study, dataclasses.replace(best, value=best.value + 0.1)) is None
    assert kept(study, dataclasses.replace(best, config={**best.config, "lr": 0.5})) is None


@pytest.mark.parametrize("change", [None, 3, {"content": 4}, {"content": {"trial": "first"}}])
def test_what_is_not_as_raretune_writes_it_is_no_certificate(study, change):
    best = complete(read_records(study))[0]
    keep(study, best, certificate(HELPS, trial=best.number))
    there = study.user_attrs[CERTIFICATE]
    study.set_user_attr(CERTIFICATE, {**there, **change} if isinstance(change, dict) else change)
    assert kept(study, best) is None
