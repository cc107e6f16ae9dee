import json
import math

import numpy as np
import pytest
import torch
from sklearn import metrics as reference
from sklearn.calibration import calibration_curve

from trainer.scores import evaluation
from trainer.scores.evaluation import (
    INTERVAL_SCORES,
    MACRO_SCORES,
    bootstrap,
    evaluate,
    reliability,
    threshold_tensor,
)

NAMES = ("one", "two", "three")
CUTS = torch.tensor([0.2, 0.3, 0.45])


def draw(rows=240, seed=0, levels=None, rate=0.15, labels=3):
    """Probabilities and labels (rows, labels); `levels` rounds probabilities to so many steps."""
    generator = torch.Generator().manual_seed(seed)
    y = (torch.rand(rows, labels, generator=generator) < rate).float()
    p = torch.sigmoid(torch.randn(rows, labels, generator=generator) + y - 1)
    return ((p * levels).round() / levels if levels else p), y


def scores_of(p, y, cuts, weight):
    """Every interval score by scikit-learn with row weights, (L, 5)."""
    decided = (p >= cuts).numpy()
    return np.array(
        [
            [
                reference.precision_score(true, cut, sample_weight=weight),
                reference.recall_score(true, cut, sample_weight=weight),
                reference.f1_score(true, cut, sample_weight=weight),
                reference.average_precision_score(true, score, sample_weight=weight),
                reference.roc_auc_score(true, score, sample_weight=weight),
            ]
            for true, cut, score in zip(y.numpy().T, decided.T, p.numpy().T, strict=True)
        ]
    )


def lows(intervals):
    """Lower bounds as arrays: labels (L, 5) and macro (3,)."""
    per_label = [
        [scores[name][0] for name in INTERVAL_SCORES] for scores in intervals.labels.values()
    ]
    return np.array(per_label), np.array([intervals.macro[name][0] for name in MACRO_SCORES])


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


@pytest.mark.parametrize("levels", [None, 20, 4])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_a_resample_scores_as_scikit_learn_weighted_by_its_counts(levels, seed):
    """A single resample has no spread, so both bounds are its score."""
    p, y = draw(levels=levels)
    counts = np.bincount(np.random.default_rng(seed).integers(0, 240, 240), minlength=240)
    expected = scores_of(p, y, CUTS, counts)
    per_label, macro = lows(bootstrap(p, y, CUTS, NAMES, resamples=1, seed=seed))
    np.testing.assert_allclose(per_label, expected, rtol=1e-12)
    np.testing.assert_allclose(macro, expected[:, -3:].mean(axis=0), rtol=1e-12)


@pytest.mark.parametrize("levels", [None, 20])
def test_a_resample_of_groups_scores_as_the_rows_of_the_drawn_groups(levels):
    p, y = draw(levels=levels)
    groups = np.random.default_rng(5).integers(0, 60, 240) * 7
    codes = np.unique(groups)
    drawn = codes[np.random.default_rng(3).integers(0, len(codes), len(codes))]
    rows = np.concatenate([np.flatnonzero(groups == code) for code in drawn])
    expected = evaluate(p[rows], y[rows], CUTS, NAMES)
    intervals = bootstrap(p, y, CUTS, NAMES, groups, resamples=1, seed=3)
    assert (intervals.unit, intervals.units) == ("groups", len(codes))
    for name, scores in expected.labels.items():
        actual = [intervals.labels[name][score][0] for score in INTERVAL_SCORES]
        np.testing.assert_allclose(
            actual, [getattr(scores, score) for score in INTERVAL_SCORES], rtol=1e-12
        )


def test_bounds_are_percentiles_of_the_resamples():
    p, y = draw()
    random = np.random.default_rng(0)
    f1 = []
    for _ in range(60):
        rows = random.integers(0, 240, 240)
        f1.append([s.f1 for s in evaluate(p[rows], y[rows], CUTS, NAMES).labels.values()])
    intervals = bootstrap(p, y, CUTS, NAMES, resamples=60)
    for i, name in enumerate(NAMES):
        expected = np.quantile(np.array(f1)[:, i], [0.025, 0.975])
        np.testing.assert_allclose(intervals.labels[name]["f1"], expected, rtol=1e-12)
    expected = np.quantile(np.mean(f1, axis=1), [0.025, 0.975])
    np.testing.assert_allclose(intervals.macro["f1"], expected, rtol=1e-12)


def test_chunks_change_nothing_and_the_seed_does(monkeypatch):
    p, y = draw()
    whole, other = (lows(bootstrap(p, y, CUTS, NAMES, resamples=50, seed=s)) for s in (0, 1))
    monkeypatch.setattr(evaluation, "_CHUNK_ELEMENTS", 3000)
    chunked = lows(bootstrap(p, y, CUTS, NAMES, resamples=50))
    for all_at_once, in_chunks, reseeded in zip(whole, chunked, other, strict=True):
        np.testing.assert_allclose(in_chunks, all_at_once, rtol=1e-12)
        assert not np.allclose(reseeded, all_at_once)


def test_an_interval_covers_the_truth_about_as_often_as_it_says():
    """Macro-F1 of a population of which 100 samples are drawn; 95 of 100 is nominal."""
    p, y = draw(rows=200_000, rate=0.2, labels=2)
    cuts, names = torch.tensor([0.4, 0.5]), ("one", "two")
    truth = evaluate(p, y, cuts, names).macro_f1
    random = np.random.default_rng(0)
    covered = 0
    for _ in range(100):
        rows = random.integers(0, len(p), 300)
        low, high = bootstrap(p[rows], y[rows], cuts, names, resamples=200).macro["f1"]
        covered += low <= truth <= high
    assert 90 <= covered <= 99


def test_rows_drawn_together_give_wider_intervals():
    """Ten copies of each row carry no more information than one."""
    p, y = (x.repeat_interleave(10, dim=0) for x in draw())
    widths = []
    for groups in (None, np.arange(2400) // 10):
        low, high = bootstrap(p, y, CUTS, NAMES, groups, resamples=200).macro["f1"]
        widths.append(high - low)
    assert widths[1] > 2 * widths[0]


def test_resamples_that_leave_a_score_undefined_are_left_out():
    """Its one positive is missing from about a third of the resamples; recall is 1 in the rest."""
    p = torch.tensor([0.9] + [0.1] * 30)[:, None]
    y = torch.tensor([1.0] + [0.0] * 30)[:, None]
    intervals = bootstrap(p, y, torch.tensor([0.5]), ("rare",), resamples=100)
    assert intervals.labels["rare"] == dict.fromkeys(INTERVAL_SCORES, (1.0, 1.0))
    assert intervals.macro == dict.fromkeys(MACRO_SCORES, (1.0, 1.0))


def test_a_label_without_positives_has_no_interval_and_enters_the_means_as_in_evaluate():
    p, y = draw()
    y[:, 1] = 0
    single = bootstrap(p, y, CUTS, NAMES, resamples=1)
    absent = single.labels["two"]
    assert absent["precision"] == (0.0, 0.0)
    assert all(math.isnan(absent[name][0]) for name in INTERVAL_SCORES[1:])
    rows = np.random.default_rng(0).integers(0, 240, 240)
    expected = evaluate(p[rows], y[rows], CUTS, NAMES)
    for name in MACRO_SCORES:
        assert single.macro[name][0] == pytest.approx(getattr(expected, f"macro_{name}"))


def test_precision_has_no_interval_where_nothing_is_ever_predicted():
    p, y = draw()
    intervals = bootstrap(p, y, torch.ones(3), NAMES, resamples=20)
    for scores in intervals.labels.values():
        assert all(map(math.isnan, scores["precision"]))
        assert scores["recall"] == scores["f1"] == (0.0, 0.0)


def test_a_single_group_has_no_interval():
    p, y = draw()
    intervals = bootstrap(p, y, CUTS, NAMES, np.zeros(240, dtype=int), resamples=5)
    assert all(math.isnan(bound) for pair in intervals.macro.values() for bound in pair)


def test_thresholds_come_in_the_order_of_the_labels():
    assert threshold_tensor({"b": 0.25, "a": 0.5}, ("a", "b")).tolist() == [0.5, 0.25]
