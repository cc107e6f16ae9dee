import io
import json

import numpy as np
import pyarrow as pa
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from pyarrow import csv
from scipy.optimize import minimize

from trainer.scores.calibration import (
    LEAST,
    PULL,
    Calibration,
    calibrate,
    calibrated,
    calibrated_thresholds,
    cross_fitted,
    fit_calibrations,
)
from trainer.scores.reliability import reliability

SLOPES = st.floats(0, 20) | st.just(0.0)
CURVES = st.builds(Calibration, a=SLOPES, b=SLOPES, c=st.floats(-30, 30))
PROBABILITIES = st.floats(0, 1, width=32) | st.sampled_from([0.0, 1.0, 0.5, 1e-45, 1 - 2.0**-24])


def draw(rows, seed=0, shift=-3.0):
    """Right probabilities (rows, 1) and labels drawn from them."""
    generator = torch.Generator().manual_seed(seed)
    logit = 1.3 * torch.randn(rows, 1, generator=generator) + shift
    p = torch.sigmoid(logit)
    return p, (torch.rand(rows, 1, generator=generator) < p).float()


def distorted(p, a, b, c):
    """Raw probabilities of which the curve (a, b, c) would make p, by bisection."""
    low, high = torch.zeros_like(p).double(), torch.ones_like(p).double()
    for _ in range(60):
        middle = (low + high) / 2
        below = calibrate(middle, [Calibration(a, b, c)]) < p
        low, high = torch.where(below, middle, low), torch.where(below, high, middle)
    return ((low + high) / 2).float()


def loss(values, p, y):
    p, y = p.numpy().astype(float)[:, 0], y.numpy()[:, 0] > 0
    logit = values[0] * np.log(p) - values[1] * np.log1p(-p) + values[2]
    pulled = PULL * ((values[0] - 1) ** 2 + (values[1] - 1) ** 2) / 2
    return (np.logaddexp(0, logit) - y * logit).sum() + pulled


@pytest.mark.parametrize(("a", "b", "c"), [(1.0, 1.0, -2.0), (2.0, 0.5, -1.0), (0.6, 3.0, 0.5)])
def test_a_curve_that_was_bent_is_bent_back(a, b, c):
    p, y = draw(60_000)
    raw = distorted(p, a, b, c)
    found = calibrate(raw, fit_calibrations(raw, y))
    assert (found - p).abs().mean() < 0.004
    assert reliability(found[:, 0], y[:, 0]).error < 0.005


@pytest.mark.parametrize("upside_down", [False, True])
@pytest.mark.parametrize("rows", [60, 3000])
@pytest.mark.parametrize("seed", range(3))
def test_the_fit_is_the_best_that_has_no_negative_slope(rows, seed, upside_down):
    """Held against a search within the same bounds by scipy."""
    p, y = draw(rows, seed, shift=-1.0)
    p = (1 - p if upside_down else p).clamp(1e-6, 1 - 1e-6)
    (found,) = fit_calibrations(p, y)
    bounds = [(0, None), (0, None), (None, None)]
    reference = minimize(loss, (1, 1, 0), (p, y), "L-BFGS-B", bounds=bounds, tol=1e-12)
    assert min(found.a, found.b) >= 0
    assert loss((found.a, found.b, found.c), p, y) <= reference.fun + 1e-6
    if upside_down:
        assert (found.a, found.b) == (0, 0)
        assert float(calibrate(p, [found]).mean()) == pytest.approx(float(y.mean()))


def test_where_every_row_is_alike_each_gets_the_share_of_positives():
    y = (torch.arange(200) < 9).float()[:, None]
    p = torch.full((200, 1), 0.4)
    found = calibrate(p, fit_calibrations(p, y))
    assert found.unique().tolist() == pytest.approx([9 / 200])


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_a_label_of_one_value_keeps_its_probabilities(value):
    p, _ = draw(50)
    found = fit_calibrations(p, torch.full((50, 1), value))
    assert found == [Calibration()]
    np.testing.assert_allclose(calibrate(p, found), p, rtol=1e-6)


@settings(max_examples=60, deadline=None)
@given(
    p=arrays.arrays(np.float32, st.integers(2, 80), elements=PROBABILITIES),
    seed=st.integers(0, 99),
)
def test_any_probabilities_give_a_finite_curve_that_never_falls(p, seed):
    """Also 0 and 1 to the bit, one single positive, and positives wholly apart."""
    p = torch.from_numpy(p)[:, None]
    y = (torch.rand(p.shape, generator=torch.Generator().manual_seed(seed)) < 0.2).float()
    y[0], y[1] = 1.0, 0.0
    for labels in (y, (p >= p.median()).float()):
        (one,) = fit_calibrations(p, labels)
        assert np.isfinite([one.a, one.b, one.c]).all()
        assert min(one.a, one.b) >= 0
        rising = calibrate(p.sort(dim=0).values, [one])[:, 0]
        assert (rising.diff() >= 0).all()
        assert rising.isfinite().all()


@given(one=CURVES.filter(lambda one: one.a > 0.01), p=st.floats(1e-11, 0.9))
def test_where_a_slope_is_there_a_greater_probability_stays_greater(one, p):
    one = Calibration(one.a, one.b, one.c / 10)
    low, high = calibrate(torch.tensor([[p], [p * 1.05]], dtype=torch.float64), [one])[:, 0]
    assert low < high or low > 1 - 1e-12


@settings(max_examples=200, deadline=None)
@given(
    p=arrays.arrays(np.float32, (40, 2), elements=PROBABILITIES),
    curves=st.lists(CURVES, min_size=2, max_size=2),
    thresholds=st.lists(st.floats(0, 1, width=32), min_size=2, max_size=2),
    at_a_row=st.booleans(),
)
def test_every_decision_stays_the_same(p, curves, thresholds, at_a_row):
    """In float32, and in whatever reads the decimal numbers that are written."""
    p, raw = torch.from_numpy(p), torch.tensor(thresholds)
    if at_a_row:
        raw = p[0].clone()
        p[1] = torch.nextafter(raw, torch.zeros(2))
        p[2] = torch.nextafter(raw, torch.ones(2))
    decided = p >= raw
    found = calibrated(p, raw, curves)
    assert torch.equal(found.probabilities >= torch.tensor(found.thresholds), decided)
    assert ((found.probabilities >= 0) & (found.probabilities <= 1)).all()
    buffer = io.BytesIO()
    csv.write_csv(pa.table({f"{i}": found.probabilities[:, i].numpy() for i in range(2)}), buffer)
    lines = buffer.getvalue().decode().splitlines()[1:]
    written = np.array([[float(cell) for cell in line.split(",")] for line in lines])
    np.testing.assert_array_equal(written >= json.loads(json.dumps(found.thresholds)), decided)
    assert found.thresholds == calibrated_thresholds(raw, curves)


def test_a_threshold_has_six_digits_and_lies_where_its_probability_does():
    p = torch.tensor([[0.9123456]])
    one = Calibration(1.4, 0.7, -3.0)
    (threshold,) = calibrated_thresholds(p[0], [one])
    assert len(f"{threshold}".strip("0.")) <= 6
    assert threshold == pytest.approx(float(calibrate(p, [one])), rel=1e-5)


def test_rows_are_calibrated_by_curves_that_never_saw_them():
    p, y = draw(900)
    folds = torch.arange(900) % 3
    found = cross_fitted(p, y, folds)
    for fold in range(3):
        others = fit_calibrations(p[folds != fold], y[folds != fold])
        assert torch.equal(found[folds == fold], calibrate(p[folds == fold], others))
    changed = torch.where((folds == 1)[:, None], 1 - y, y)
    again = cross_fitted(p, changed, folds)
    assert torch.equal(again[folds == 1], found[folds == 1])
    assert not torch.equal(again[folds == 0], found[folds == 0])


def test_the_rows_beside_a_row_do_not_change_its_bits():
    p, _ = draw(400)
    one = [Calibration(1.7, 0.4, -2.0)]
    whole = calibrate(p, one)
    alone = torch.cat([calibrate(p[i : i + 1], one) for i in range(400)])
    assert torch.equal(whole, alone)


def test_what_a_float32_can_not_tell_from_0_or_1_is_finite():
    ends = torch.tensor([[0.0], [LEAST / 2], [1.0]])
    low, lower, high = calibrate(ends, [Calibration(3.0, 3.0)])[:, 0].tolist()
    assert 0 < low == lower < high <= 1
