import numpy as np
import pytest
import torch
from sklearn import metrics as reference

from trainer.pages.curves import (
    MOST_POINTS,
    precision_recall_figure,
    precision_recall_points,
    roc_figure,
    roc_points,
    wilson_interval,
)
from trainer.scores.evaluation import evaluate


def draw(rows=300, levels=None):
    """Probabilities and labels of one label, each (rows,)."""
    generator = torch.Generator().manual_seed(0)
    y = (torch.rand(rows, generator=generator) < 0.2).float()
    p = torch.sigmoid(torch.randn(rows, generator=generator) + y - 1)
    return ((p * levels).round() / levels if levels else p), y


@pytest.mark.parametrize("levels", [None, 10])
def test_roc_points_equal_scikit_learn(levels):
    p, y = draw(levels=levels)
    curve = roc_points(p, y)
    for actual, expected in zip(
        (curve.x, curve.y, curve.thresholds), reference.roc_curve(y, p), strict=True
    ):
        np.testing.assert_array_equal(actual, expected)


@pytest.mark.parametrize("levels", [None, 10])
def test_precision_recall_points_lie_on_scikit_learns_and_enclose_the_average_precision(levels):
    p, y = draw(levels=levels)
    curve = precision_recall_points(p, y)
    precision, recall, thresholds = reference.precision_recall_curve(y, p)
    known = set(zip(recall, precision, thresholds, strict=False))
    assert set(zip(curve.x[1:], curve.y[1:], curve.thresholds[1:], strict=True)) <= known
    assert set(curve.x) == set(recall)
    for x, best in zip(curve.x[1:], curve.y[1:], strict=True):
        assert best == precision[recall == x].max()
    area = np.sum(np.diff(curve.x) * curve.y[1:])
    assert area == pytest.approx(reference.average_precision_score(y, p))


def test_thinned_curves_keep_their_ends_and_their_area():
    p, y = draw(rows=20_000)
    whole = roc_points(p, y)
    thin = whole.thinned()
    assert len(thin.x) <= MOST_POINTS < len(whole.x)
    assert [thin.x[0], thin.y[0], thin.x[-1], thin.y[-1]] == [0, 0, 1, 1]
    assert reference.auc(thin.x, thin.y) == pytest.approx(reference.roc_auc_score(y, p), abs=2e-3)
    thin = precision_recall_points(p, y).thinned()
    area = np.sum(np.diff(thin.x) * thin.y[1:])
    assert area == pytest.approx(reference.average_precision_score(y, p), abs=2e-3)


def test_a_short_curve_is_not_thinned():
    p, y = draw(rows=40)
    curve = roc_points(p, y)
    np.testing.assert_array_equal(curve.thinned().x, curve.x)


def test_wilson_intervals_equal_known_values():
    """Newcombe 1998, doi:10.1002/(SICI)1097-0258(19980430)17:8<857::AID-SIM777>3.0.CO;2-E."""
    rows = np.array([263, 148, 20, 29])
    shares = np.array([81, 15, 0, 1]) / rows
    low, high = wilson_interval(shares, rows)
    np.testing.assert_allclose(low, [0.2553, 0.0624, 0.0, 0.0061], atol=5e-5)
    np.testing.assert_allclose(high, [0.3662, 0.1605, 0.1611, 0.1718], atol=5e-5)


def test_figures_mark_the_decisions_in_use_and_the_score_of_guessing():
    p, y = draw()
    scores = evaluate(p[:, None], y[:, None], torch.tensor([0.2]), ["rare"]).labels["rare"]
    guess, curve, dot = precision_recall_figure(precision_recall_points(p, y), scores).data
    assert list(guess.y) == [scores.prevalence] * 2
    assert curve.line.shape == "vh"
    assert (dot.x[0], dot.y[0]) == (scores.recall, scores.precision)
    guess, curve, dot = roc_figure(roc_points(p, y), scores).data
    assert list(guess.x) == list(guess.y) == [0, 1]
    at_cut = np.flatnonzero(curve.customdata >= scores.threshold).max()
    assert curve.y[at_cut] <= dot.y[0] <= curve.y[at_cut + 1]
    assert curve.x[at_cut] <= dot.x[0] <= curve.x[at_cut + 1]
