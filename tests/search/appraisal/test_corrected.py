import pytest
from study_case import make_study

from search.appraisal.corrected import corrected_macro_f1, validated_sentence
from search.store.attributes import RESAMPLED
from search.store.records import complete, read_records
from trainer.scores.selection import Corrected


def with_scores(record, drawn, left_out, **more):
    scores = {"drawn": drawn, "left_out": left_out, **more}
    return type(record)(**{**vars(record), "resampled": scores})


@pytest.fixture(scope="module")
def ranked():
    return complete(read_records(make_study(12)))


def test_the_best_on_the_rows_drawn_is_scored_on_those_left_out(ranked):
    trials = [
        with_scores(ranked[0], [0.5, 0.1, 0.5], [0.3, 0.9, 0.1]),
        with_scores(ranked[1], [0.4, 0.2, 0.4], [0.8, 0.2, 0.8]),
    ]
    assert corrected_macro_f1(trials).value == pytest.approx((0.3 + 0.2 + 0.1) / 3)


def test_another_objective_chooses_but_macro_f1_is_told(ranked):
    trials = [with_scores(ranked[0], [0.5, 0.5], [0.9, 0.9], macro_f1=[0.2, 0.4])]
    assert corrected_macro_f1(trials).value == pytest.approx(0.3)


def test_undefined_scores_count_for_nothing(ranked):
    trials = [with_scores(ranked[0], [0.5, 0.5], [-1.0, 0.4])]
    assert corrected_macro_f1(trials).value == pytest.approx(0.4)
    assert corrected_macro_f1([with_scores(ranked[0], [0.5], [-1.0])]) is None


def test_trials_of_earlier_versions_have_no_correction(ranked):
    bare = [type(one)(**{**vars(one), "resampled": {}}) for one in ranked]
    assert corrected_macro_f1(bare) is None
    assert corrected_macro_f1([]) is None
    later = [*bare[:1], with_scores(ranked[1], [0.4], [0.4])]
    assert corrected_macro_f1(later) is None


def test_the_sentence_names_both_scores_and_what_chose():
    sentence = validated_sentence(0.25, Corrected(0.21, (0.18, 0.24)), 30, "macro-F1")
    assert sentence == (
        "The validated macro-F1 is 0.2100 (0.180 to 0.240), corrected for choosing the best of "
        "30 trials by macro-F1; the uncorrected maximum is 0.2500."
    )
    plain = validated_sentence(0.25, None, 30, "F1 of x")
    assert "best of 30 by validated F1 of x" in plain
    assert "too high on average" in plain


def test_the_attribute_is_the_one_that_is_documented():
    assert RESAMPLED == "resampled"
