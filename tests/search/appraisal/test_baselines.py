import pytest
from study_case import make_study

from search.appraisal.baselines import (
    ENSEMBLE,
    Baseline,
    Comparison,
    Difference,
    Found,
    Scores,
    better_sentence,
    difference_words,
    store,
    stored,
)


def scores(macro_f1):
    return Scores(
        macro_f1=macro_f1,
        interval=(macro_f1 - 0.02, macro_f1 + 0.02),
        macro_average_precision=0.2,
        macro_roc_auc=None,
        calibration_error=0.01,
    )


def baseline(validated, ahead, low=-0.004, test=-0.002, of=("trial 3",)):
    difference = Difference(
        validation=ahead,
        validation_interval=(low, ahead + 0.01),
        test=test,
        test_interval=(None, None) if test is None else (test - 0.02, test + 0.02),
    )
    return Baseline(
        validation=scores(validated),
        test=None if test is None else scores(0.19),
        difference=dict.fromkeys(of, difference),
    )


def comparison(**baselines):
    return Comparison(
        found={"trial 3": Found(validated=0.21, test=0.2, test_ap=0.18)},
        baselines={"broken": Baseline(failed="ValueError: no"), **baselines},
    )


def test_the_better_baseline_is_told_with_both_differences():
    found = comparison(weak=baseline(0.2, -0.01), strong=baseline(0.223, 0.013))
    assert better_sentence(found) == (
        "Strong is better than what the search found: its validated macro-F1 is 0.223, that of "
        "trial 3 0.210, a difference of 0.013 (\N{MINUS SIGN}0.004 to 0.023), which may be chance; "
        "on the test rows it is behind, by \N{MINUS SIGN}0.002 (\N{MINUS SIGN}0.022 to 0.018)."
    )
    sure = better_sentence(comparison(strong=baseline(0.223, 0.013, low=0.001, test=None)))
    assert sure.endswith("a difference of 0.013 (0.001 to 0.023).")


def test_without_a_better_baseline_nothing_is_said():
    assert better_sentence(comparison(weak=baseline(0.21, 0.0))) == ""
    assert better_sentence(comparison()) == ""
    assert better_sentence(None) == ""


def test_the_best_of_what_was_found_is_what_must_be_beaten():
    strong = baseline(0.223, 0.013, of=("trial 3", ENSEMBLE))
    found = comparison(strong=strong)
    ensemble = Found(validated=0.23, test=0.2, test_ap=0.18)
    both = found.model_copy(update={"found": {**found.found, ENSEMBLE: ensemble}})
    assert better_sentence(both) == ""
    told = difference_words(strong.difference[ENSEMBLE])
    assert told == "+0.013 (\N{MINUS SIGN}0.004 to 0.023)"


def test_baselines_are_ranked_and_failures_stand_apart():
    found = comparison(weak=baseline(0.2, -0.01), strong=baseline(0.223, 0.013))
    assert list(found.scored) == ["strong", "weak"]
    assert found.failed == {"broken": "ValueError: no"}
    assert found.to_json()["strong"]["validation"]["macro_f1"] == 0.223


def test_a_comparison_is_kept_with_its_trial_and_no_other():
    study, found = make_study(6), comparison(strong=baseline(0.223, 0.013))
    store(study, 3, found)
    assert stored(study, 3) == found
    assert stored(study, 0) is None


@pytest.mark.parametrize("kept", [None, 3, {}, {"format": 1}])
def test_what_is_not_as_we_write_it_is_not_taken(kept):
    from search.store.attributes import BASELINES
    from search.store.transactions import set_study_attributes, study_attributes

    study = make_study(6)
    store(study, 3, comparison())
    whole = study_attributes(study)[BASELINES]
    set_study_attributes(study, {BASELINES: kept})
    assert stored(study, 3) is None
    set_study_attributes(study, {BASELINES: {**whole, "content": kept}})
    assert stored(study, 3) is None


def test_an_ensemble_that_was_made_anew_is_not_held_against_the_baselines():
    strong = baseline(0.223, 0.013, of=("trial 3", ENSEMBLE))
    found = comparison(strong=strong)
    ensemble = Found(validated=0.23, test=0.2, test_ap=0.18)
    both = found.model_copy(update={"found": {**found.found, ENSEMBLE: ensemble}})
    assert both.with_ensemble(0.23) == both
    for score in (0.21, None):
        alone = both.with_ensemble(score)
        assert list(alone.found) == list(alone.baselines["strong"].difference) == ["trial 3"]
        assert alone.failed == both.failed
