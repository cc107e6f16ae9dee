import json

import numpy as np
import pytest
from scores_case import CUTS, NAMES, draw, scores_of
from sklearn import metrics as reference

from trainer.scores.bootstrap import bootstrap
from trainer.scores.evaluation import evaluate, threshold_tensor


def test_counts_and_probability_scores_equal_scikit_learn():
    p, y = draw()
    for i, scores in enumerate(evaluate(p, y, CUTS, NAMES).labels.values()):
        true, score = y[:, i].numpy(), p[:, i].numpy()
        decided = score >= CUTS[i].numpy()
        assert [
            [scores.true_negatives, scores.false_positives],
            [scores.false_negatives, scores.true_positives],
        ] == reference.confusion_matrix(true, decided).tolist()
        assert scores.brier == pytest.approx(reference.brier_score_loss(true, score), rel=1e-6)
        assert scores.prevalence == pytest.approx(true.mean())
        assert scores.predicted_share == pytest.approx(decided.mean())
        assert scores.support == true.sum()


def test_macro_scores_are_means_over_the_labels():
    p, y = draw()
    result = evaluate(p, y, CUTS, NAMES)
    expected = scores_of(p, y, CUTS, None).mean(axis=0)[-3:]
    actual = [result.macro_f1, result.macro_average_precision, result.macro_roc_auc]
    np.testing.assert_allclose(actual, expected, rtol=1e-12)


def test_an_evaluation_and_its_intervals_are_plain_json():
    p, y = draw()
    result = evaluate(p, y, CUTS, NAMES).to_json()
    assert json.loads(json.dumps(result)) == result
    assert result["labels"]["two"]["threshold"] == pytest.approx(0.3)
    intervals = bootstrap(p, y, CUTS, NAMES, resamples=20).to_json()
    read = json.loads(json.dumps(intervals))
    assert tuple(read["labels"]["two"]["f1"]) == intervals["labels"]["two"]["f1"]


def test_thresholds_come_in_the_order_of_the_labels():
    assert threshold_tensor({"b": 0.25, "a": 0.5}, ("a", "b")).tolist() == [0.5, 0.25]
