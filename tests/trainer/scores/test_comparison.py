import numpy as np
import pytest
import torch
from sklearn.metrics import f1_score

from trainer.scores import comparison
from trainer.scores.comparison import compare_macro_f1
from trainer.scores.evaluation import bootstrap

NAMES = ("one", "two", "three")


def draw(rows=300, seed=0, rate=0.15):
    """Labels (rows, 3), probabilities (rows, 3) and three sets of decisions (3, rows, 3)."""
    generator = torch.Generator().manual_seed(seed)
    y = (torch.rand(rows, 3, generator=generator) < rate).float()
    p = torch.sigmoid(torch.randn(rows, 3, generator=generator) + y - 1)
    return y, p, torch.stack([p >= 0.4, p >= 0.6, torch.ones_like(y, dtype=torch.bool)])


def test_macro_f1_equals_scikit_learn():
    y, _, decisions = draw()
    for found, decided in zip(compare_macro_f1(decisions, y, resamples=5), decisions, strict=True):
        expected = f1_score(y.numpy(), decided.numpy(), average="macro")
        assert found.macro_f1 == pytest.approx(expected)


@pytest.mark.parametrize("grouped", [False, True])
def test_the_interval_is_the_bootstraps_own(grouped):
    y, p, decisions = draw()
    groups = np.arange(300) // 4 if grouped else None
    own = compare_macro_f1(decisions, y, groups, resamples=200)[0]
    cuts = torch.full((3,), 0.4)
    expected = bootstrap(p, y, cuts, NAMES, groups, resamples=200).macro["f1"]
    assert own.interval == pytest.approx(expected, abs=1e-12)


def test_both_sides_of_a_difference_are_scored_on_the_same_resamples():
    """Row by row with scikit-learn and the generator that the bootstrap draws from."""
    y, _, decisions = draw(rows=120)
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
    y, _, decisions = draw()
    for found in compare_macro_f1(decisions[[0, 0]], y, resamples=50):
        assert found.difference == 0
        assert found.difference_interval == (0, 0)


def test_a_paired_interval_is_narrower_than_those_of_either_side_apart():
    y, p, _ = draw(rows=2000)
    one, other = compare_macro_f1(torch.stack([p >= 0.4, p >= 0.41]), y, resamples=200)
    paired = other.difference_interval[1] - other.difference_interval[0]
    assert paired < 0.5 * (one.interval[1] - one.interval[0])


def test_every_row_positive_scores_what_prevalence_says():
    y, _, decisions = draw()
    p = y.mean(dim=0)
    expected = float((2 * p / (1 + p)).mean())
    assert compare_macro_f1(decisions, y, resamples=5)[2].macro_f1 == pytest.approx(expected)


def test_a_label_that_is_never_positive_counts_as_zero():
    y, _, decisions = draw()
    with_it = compare_macro_f1(decisions, y, resamples=20)
    y[:, 1] = 0
    without = compare_macro_f1(decisions, y, resamples=20)
    assert np.isfinite(without[0].interval).all()
    assert without[2].macro_f1 < with_it[2].macro_f1


def test_a_single_group_has_a_score_and_no_interval():
    y, _, decisions = draw()
    found = compare_macro_f1(decisions, y, np.zeros(300, dtype=int), resamples=5)[1]
    assert np.isnan([*found.interval, *found.difference_interval]).all()
    assert np.isfinite([found.macro_f1, found.difference]).all()


def test_chunks_change_nothing(monkeypatch):
    y, _, decisions = draw()
    whole = compare_macro_f1(decisions, y, resamples=30)
    monkeypatch.setattr(comparison, "_CHUNK_ELEMENTS", 1)
    assert compare_macro_f1(decisions, y, resamples=30) == whole
