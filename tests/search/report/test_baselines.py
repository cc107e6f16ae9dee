from search.appraisal.baselines import Baseline, Comparison, Difference, Found, Scores
from search.report.baselines import baseline_rows

SCORES = Scores(
    macro_f1=0.2,
    interval=(0.18, 0.22),
    macro_average_precision=0.15,
    macro_roc_auc=0.8,
    calibration_error=0.01,
)
BEHIND = Difference(
    validation=-0.01, validation_interval=(-0.03, 0.01), test=None, test_interval=(None, None)
)
COMPARISON = Comparison(
    found={"trial 3": Found(validated=0.21, test=None, test_ap=None)},
    baselines={
        "forest": Baseline(
            validation=SCORES, difference={"trial 3": BEHIND}, unlearnable=["rare", "rarer"]
        ),
        "broken": Baseline(failed="ValueError: no"),
    },
)


def test_what_was_found_stands_first_and_each_model_has_its_distance_from_it():
    content = baseline_rows(COMPARISON)
    found, forest = content["rows"]
    assert (found.name, found.validated, found.test) == ("trial 3", 0.21, None)
    assert (forest.name, forest.validated, forest.validated_interval) == (
        *("forest", 0.2),
        (0.18, 0.22),
    )
    minus = "\N{MINUS SIGN}"
    assert forest.ahead == [(f"{minus}0.010", f"{minus}0.030 to 0.010")]
    assert content["ahead"] == ["ahead of trial 3"]


def test_failures_and_labels_that_could_not_be_learnt_are_sentences():
    failed, unlearnt = baseline_rows(COMPARISON)["sentences"]
    assert failed == "broken failed: ValueError: no."
    assert unlearnt.startswith("forest could not learn rare and rarer in some fold")
