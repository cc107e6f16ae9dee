import numpy as np
import pytest
import torch
from scores_case import draw

from trainer.pages.calibration import (
    ALL,
    CALIBRATED,
    RAW,
    decision_curve_caption,
    decision_curve_figure,
    reliability_caption,
    reliability_figure,
)
from trainer.scores.reliability import decision_curve, reliability


@pytest.fixture(scope="module")
def rows():
    """Probabilities and labels of one label, each (600,)."""
    p, y = draw(rows=600)
    return p[:, 0], y[:, 0]


def test_a_reliability_figure_shows_the_bins_within_its_range(rows):
    bins = reliability(*rows)
    figure = reliability_figure(bins)
    points = figure.data[1]
    np.testing.assert_array_equal(points.x, bins.predicted)
    np.testing.assert_array_equal(points.y, bins.observed)
    top = figure.layout.yaxis.range[1]
    assert (points.y + points.error_y.array).max() < top
    assert points.x.max() < top == figure.layout.xaxis.range[1]


def test_bins_before_calibration_are_drawn_beside_those_after(rows):
    p, y = rows
    before, after = reliability(p, y), reliability(p / 2, y)
    figure = reliability_figure(after, before)
    _, raw, calibrated = figure.data
    np.testing.assert_array_equal(raw.x, before.predicted)
    np.testing.assert_array_equal(calibrated.x, after.predicted)
    assert {CALIBRATED, RAW} <= set(
        figure.layout.annotations[0].text.replace("</span>", "").split()
    )
    assert figure.layout.xaxis.range[1] < before.predicted.max()
    assert "before calibration" in reliability_caption(after, before)
    assert "before calibration" not in reliability_caption(after)


def test_a_decision_curve_is_drawn_with_acting_on_all_rows(rows):
    p, y = rows
    curve = decision_curve({RAW: p, CALIBRATED: p / 2}, y)
    of_all, raw, calibrated = decision_curve_figure(curve).data
    np.testing.assert_allclose(of_all.y, curve.treat_all, rtol=1e-6, atol=1e-9)
    np.testing.assert_allclose(raw.y, curve.net_benefit[RAW], rtol=1e-6, atol=1e-9)
    np.testing.assert_allclose(calibrated.x, curve.thresholds, rtol=1e-6)
    assert ALL in decision_curve_figure(curve).layout.annotations[0].text


@pytest.mark.parametrize(("p", "words"), [([0.9, 0.1] * 40, "at "), ([0.0] * 80, "nowhere")])
def test_the_caption_says_where_acting_on_probabilities_is_worth_it(p, words):
    curve = decision_curve({RAW: torch.tensor(p)}, torch.tensor([1.0, 0.0] * 10 + [0.0] * 60))
    assert words in decision_curve_caption(curve)
