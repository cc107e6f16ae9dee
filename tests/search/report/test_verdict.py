import pytest
from study_case import make_evidence, make_study

from search.report.verdict import compared, confirmation, remedy_words, verdict, warnings
from search.store.records import Confirmation, read_records


@pytest.fixture(scope="module")
def records():
    return {record.number: record for record in read_records(make_study(8))}


@pytest.mark.parametrize(
    ("low", "words"),
    [(0.004, "earned its place"), (-0.004, "not shown to beat")],
)
def test_a_remedy_earns_its_place_only_when_the_whole_interval_is_above_zero(records, low, words):
    assert words in verdict(make_evidence(low=low), records[3])


def test_where_remedies_are_certified_the_test_rows_say_nothing_of_them(records):
    told = verdict(make_evidence(low=0.004), records[3], certified=True)
    assert told.startswith("On the test rows, trial 3 with all its settings beats plain BCE")


def test_a_remedy_that_falls_behind_is_called_the_worse_choice(records):
    evidence = make_evidence()
    baseline = evidence.contenders[0].model_copy(
        update={"difference": -0.02, "difference_interval": (-0.03, -0.01)}
    )
    behind = evidence.model_copy(update={"contenders": [baseline]})
    assert "plain BCE is the better choice" in verdict(behind, records[3])


def test_plain_bce_as_the_best_trial_beats_no_remedy_over_itself(records):
    assert verdict(make_evidence(trial=0), records[0]).startswith("No remedy beat plain BCE")


def test_without_plain_bce_or_test_rows_nothing_is_claimed(records):
    evidence = make_evidence()
    alone = evidence.model_copy(update={"contenders": []})
    assert "nothing says" in verdict(alone, records[3])
    unseen = evidence.model_copy(update={"macro_f1": None, "interval": None, "contenders": []})
    assert "not known" in verdict(unseen, records[3])


def test_a_difference_is_told_in_words_with_its_interval():
    plain, guide, constant = make_evidence().contenders
    assert compared(plain) == "better than plain BCE by 0.012 (\u22120.004 to 0.028): not sure"
    assert compared(guide) == "better than the guide by 0.062 (0.040 to 0.080)"
    assert compared(constant) == "worse than every row positive by 0.088 (0.070 to 0.100)"


def test_labels_with_few_positives_are_warned_of():
    told = " ".join(warnings(make_evidence()))
    assert "never has few positives: 0 among the validation rows" in told
    assert "12 among the test rows" in told


def test_a_recipe_goes_by_its_name_and_other_trials_by_their_remedies(records):
    assert remedy_words(records[0]) == "plain BCE"
    config = records[3].config
    assert remedy_words(records[3]).startswith(config["loss_type"])


def test_a_confirmation_names_the_best_mean_and_says_if_the_search_was_lucky(records):
    seeds = [
        Confirmation(4, 0.2, [0.18, 0.2], 0.19, 0.014),
        Confirmation(3, 0.24, [0.16, 0.18], 0.17, 0.014),
    ]
    lucky = confirmation(seeds, records[3], "macro-F1")
    assert "2 trials again with 2 fresh seeds each" in lucky
    assert "Trial 4 has the best mean validated macro-F1, 0.1900" in lucky
    assert "Part of what trial 3 reached in the search was luck." in lucky
    assert "stays the best" in confirmation(seeds, records[4], "macro-F1")
