import math

import numpy as np
import pytest
import torch
from scores_case import CUTS, NAMES, draw, scores_of
from sklearn.metrics import f1_score

import trainer.scores.bootstrap as module
from trainer.scores.bootstrap import (
    INTERVAL_SCORES,
    MACRO_SCORES,
    bootstrap,
    compare_macro_f1,
    drawn_units,
    draws,
    intervals,
)
from trainer.scores.evaluation import evaluate


def lows(intervals):
    """Lower bounds as arrays: labels (L, 5) and macro (3,)."""
    per_label = [
        [scores[name][0] for name in INTERVAL_SCORES] for scores in intervals.labels.values()
    ]
    return np.array(per_label), np.array([intervals.macro[name][0] for name in MACRO_SCORES])


def test_a_row_is_drawn_with_its_group_or_alone():
    assert drawn_units(4, None).tolist() == [0, 1, 2, 3]
    assert drawn_units(4, np.array([7, 3, 7, 9])).tolist() == [1, 0, 1, 2]


def test_each_resample_draws_as_many_units_as_there_are():
    drawn = torch.cat(list(draws(30, 200, 64, seed=0)), dim=1)
    assert drawn.shape == (30, 200)
    assert (drawn.sum(dim=0) == 30).all()
    assert drawn.mean(dim=1).numpy() == pytest.approx(np.ones(30), abs=0.3)


@pytest.mark.parametrize("chunk", [1, 7, 100])
def test_the_chunk_changes_no_resample_and_the_seed_does(chunk):
    whole = next(draws(30, 20, 20, seed=1))
    assert torch.equal(torch.cat(list(draws(30, 20, chunk, seed=1)), dim=1), whole)
    assert not torch.equal(torch.cat(list(draws(30, 20, chunk, seed=2)), dim=1), whole)


def test_bounds_are_percentiles_over_what_is_defined():
    scores = torch.rand(2, 400, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    scores[1, ::3] = torch.nan
    found = intervals(scores)
    assert found[0] == pytest.approx(np.quantile(scores[0], [0.025, 0.975]))
    assert found[1] == pytest.approx(np.nanquantile(scores[1], [0.025, 0.975]))


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
    monkeypatch.setattr(module, "_CHUNK_ELEMENTS", 3000)
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


def decide(rows=300):
    """Labels (rows, 3), probabilities (rows, 3) and three sets of decisions (3, rows, 3)."""
    p, y = draw(rows)
    return y, p, torch.stack([p >= 0.4, p >= 0.6, torch.ones_like(y, dtype=torch.bool)])


def test_macro_f1_equals_scikit_learn():
    y, _, decisions = decide()
    for found, decided in zip(compare_macro_f1(decisions, y, resamples=5), decisions, strict=True):
        expected = f1_score(y.numpy(), decided.numpy(), average="macro")
        assert found.macro_f1 == pytest.approx(expected)


@pytest.mark.parametrize("grouped", [False, True])
def test_the_interval_is_the_bootstraps_own(grouped):
    y, p, decisions = decide()
    groups = np.arange(300) // 4 if grouped else None
    own = compare_macro_f1(decisions, y, groups, resamples=200)[0]
    cuts = torch.full((3,), 0.4)
    expected = bootstrap(p, y, cuts, NAMES, groups, resamples=200).macro["f1"]
    assert own.interval == pytest.approx(expected, abs=1e-12)


def test_both_sides_of_a_difference_are_scored_on_the_same_resamples():
    """Row by row with scikit-learn and the generator that the bootstrap draws from."""
    y, _, decisions = decide(rows=120)
    found = compare_macro_f1(decisions, y, resamples=40, seed=3)
    random, differences = np.random.default_rng(3), []
    for _ in range(40):
        rows = random.integers(0, 120, 120)
        first, second = (f1_score(y[rows], d[rows], average="macro") for d in decisions[:2])
        differences.append(first - second)
    expected = np.quantile(differences, [0.025, 0.975])
    assert found[1].difference_interval == pytest.approx(expected)
    assert found[1].difference == pytest.approx(found[0].macro_f1 - found[1].macro_f1)


def test_the_first_and_its_equals_differ_by_exactly_nothing():
    y, _, decisions = decide()
    for found in compare_macro_f1(decisions[[0, 0]], y, resamples=50):
        assert found.difference == 0
        assert found.difference_interval == (0, 0)


def test_a_paired_interval_is_narrower_than_those_of_either_side_apart():
    y, p, _ = decide(rows=2000)
    one, other = compare_macro_f1(torch.stack([p >= 0.4, p >= 0.41]), y, resamples=200)
    paired = other.difference_interval[1] - other.difference_interval[0]
    assert paired < 0.5 * (one.interval[1] - one.interval[0])


def test_every_row_positive_scores_what_prevalence_says():
    y, _, decisions = decide()
    p = y.mean(dim=0)
    expected = float((2 * p / (1 + p)).mean())
    assert compare_macro_f1(decisions, y, resamples=5)[2].macro_f1 == pytest.approx(expected)


def test_a_label_that_is_never_positive_counts_as_zero():
    y, _, decisions = decide()
    with_it = compare_macro_f1(decisions, y, resamples=20)
    y[:, 1] = 0
    without = compare_macro_f1(decisions, y, resamples=20)
    assert np.isfinite(without[0].interval).all()
    assert without[2].macro_f1 < with_it[2].macro_f1


def test_compared_decisions_of_a_single_group_have_a_score_and_no_interval():
    y, _, decisions = decide()
    found = compare_macro_f1(decisions, y, np.zeros(300, dtype=int), resamples=5)[1]
    assert np.isnan([*found.interval, *found.difference_interval]).all()
    assert np.isfinite([found.macro_f1, found.difference]).all()


def test_chunks_change_no_comparison(monkeypatch):
    y, _, decisions = decide()
    whole = compare_macro_f1(decisions, y, resamples=30)
    monkeypatch.setattr(module, "_CHUNK_ELEMENTS", 1)
    assert compare_macro_f1(decisions, y, resamples=30) == whole
