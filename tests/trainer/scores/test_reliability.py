from dataclasses import asdict

import numpy as np
import pytest
import torch
from scores_case import draw
from sklearn import metrics as reference
from sklearn.calibration import calibration_curve
from sklearn.linear_model import LogisticRegression

from trainer.scores.reliability import (
    before_and_after,
    calibration_scores,
    decision_curve,
    net_benefit,
    reliability,
)


@pytest.mark.parametrize("levels", [None, 20])
def test_reliability_bins_equal_scikit_learn(levels):
    p, y = draw(rows=2000, levels=levels)
    bins = reliability(p[:, 0], y[:, 0])
    observed, predicted = calibration_curve(
        y[:, 0].numpy(), p[:, 0].double().numpy(), n_bins=10, strategy="quantile"
    )
    np.testing.assert_allclose(bins.predicted, predicted, rtol=1e-12)
    np.testing.assert_allclose(bins.observed, observed, rtol=1e-12)
    assert bins.rows.sum() == 2000
    error = sum(bins.rows / 2000 * np.abs(predicted - observed))
    assert bins.error == pytest.approx(error)


@pytest.mark.parametrize(("positives", "bins"), [(0, 2), (19, 2), (35, 3), (500, 10)])
def test_few_positives_make_few_bins(positives, bins):
    y = (torch.arange(1000) < positives).float()
    assert len(reliability(torch.linspace(0, 1, 1000), y).rows) == bins


def test_perfectly_calibrated_probabilities_have_no_calibration_error():
    p = torch.tensor([0.25] * 80 + [0.5] * 80)
    y = torch.tensor([1.0, 0, 0, 0] * 20 + [1.0, 0] * 40)
    assert reliability(p, y).error == pytest.approx(0, abs=1e-12)


def test_the_error_by_chance_is_that_of_probabilities_that_are_right():
    generator = torch.Generator().manual_seed(0)
    p = torch.sigmoid(1.5 * torch.randn(2000, generator=generator) - 3)
    bins = [reliability(p, (torch.rand(2000, generator=generator) < p).float()) for _ in range(200)]
    errors = [one.error for one in bins]
    assert np.mean(errors) == pytest.approx(np.mean([b.error_by_chance for b in bins]), rel=0.1)


def test_calibration_scores_equal_scikit_learn():
    p, y = draw(rows=3000)
    p, y = p[:, 0].double(), y[:, 0]
    found = calibration_scores(p, y)
    line = LogisticRegression(C=np.inf, tol=1e-10).fit(p.logit()[:, None], y)
    assert found.slope == pytest.approx(line.coef_[0, 0], rel=1e-4)
    assert found.intercept == pytest.approx(line.intercept_[0], rel=1e-4)
    assert found.brier == pytest.approx(reference.brier_score_loss(y, p))
    assert found.mean_probability == pytest.approx(float(p.mean()))


@pytest.mark.parametrize(
    ("p", "y"),
    [
        ([0.1, 0.2, 0.7, 0.9], [0, 0, 1, 1]),
        ([0.1, 0.2, 0.7, 0.9], [0, 0, 0, 0]),
        ([0.1, 0.2, 0.7, 0.9], [1, 1, 0, 0]),
        ([0.3, 0.3, 0.3, 0.3], [0, 0, 1, 1]),
        ([0.1, 0.2, 0.2, 0.9], [0, 0, 1, 1]),
    ],
)
def test_a_line_that_does_not_exist_is_nan(p, y):
    found = calibration_scores(torch.tensor(p), torch.tensor(y))
    assert np.isnan([found.slope, found.intercept]).all()
    assert np.isfinite([found.brier, found.calibration_error, found.error_by_chance]).all()


def test_scores_stand_before_and_after_under_each_label():
    p, y = draw()
    found = before_and_after(p, p / 2, y, ["one", "two", "three"])
    assert list(found) == ["one", "two", "three"]
    assert found["two"]["after"] == asdict(calibration_scores(p[:, 1] / 2, y[:, 1]))
    assert found["two"]["before"] == asdict(calibration_scores(p[:, 1], y[:, 1]))


def test_net_benefit_is_that_of_the_decisions_counted_one_by_one():
    p, y = draw(levels=20)
    p, y = p[:, 0], y[:, 0]
    cuts = np.array([0.05, 0.1, 0.35, 0.8])
    expected = []
    for cut in cuts:
        decided = p.double() >= cut
        true, false = int((decided & (y > 0)).sum()), int((decided & (y == 0)).sum())
        expected.append(true / len(y) - false / len(y) * cut / (1 - cut))
    np.testing.assert_allclose(net_benefit(p, y, cuts), expected, atol=1e-12)


def test_a_decision_curve_reaches_three_times_the_prevalence_beside_acting_on_all():
    p, y = draw(rows=2000)
    p, y = p[:, 0], y[:, 0]
    curve = decision_curve({"own": p, "all": torch.ones_like(p)}, y)
    assert curve.thresholds[-1] == pytest.approx(3 * float(y.mean()))
    np.testing.assert_allclose(curve.net_benefit["all"], curve.treat_all, atol=1e-12)
    at_prevalence = np.interp(float(y.mean()), curve.thresholds, curve.treat_all)
    assert at_prevalence == pytest.approx(0, abs=1e-3)


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_a_decision_curve_of_one_value_is_finite(value):
    curve = decision_curve({"own": torch.rand(50)}, torch.full((50,), value))
    assert np.isfinite([*curve.treat_all, *curve.net_benefit["own"]]).all()
    assert 0 < curve.thresholds[0] < curve.thresholds[-1] < 1
