import numpy as np
import pytest
import torch
from sklearn.metrics import average_precision_score, f1_score

from trainer.scores.metrics import Counts
from trainer.scores.selection import Resamples, corrected_best


def draw(rows=300, rate=0.1, seed=0):
    random = np.random.default_rng(seed)
    y = torch.from_numpy((random.random((rows, 2)) < rate).astype(np.float32))
    p = torch.from_numpy(random.random((rows, 2)).astype(np.float32))
    return (p * 20).round() / 20, y, random.integers(0, rows // 3, rows)


@pytest.mark.parametrize("grouped", [False, True])
def test_scores_are_those_of_scikit_learn_on_the_rows_drawn_and_left_out(grouped):
    p, y, groups = draw()
    resamples = Resamples(y, groups if grouped else None, resamples=6)
    weights = resamples.times_drawn[:, resamples.unit].numpy()
    decided = p >= 0.7
    f1 = resamples.decided(decided, Counts.f_beta)
    precision = resamples.average_precision(p)
    for r in range(6):
        for part, of_rows in enumerate((weights[r], (weights[r] == 0).astype(int))):
            for label in range(2):
                true, guess = y[:, label].numpy(), decided[:, label].numpy()
                expected = f1_score(true, guess, sample_weight=of_rows)
                assert float(f1[part][r, label]) == pytest.approx(expected)
                expected = average_precision_score(true, p[:, label], sample_weight=of_rows)
                assert float(precision[part][r, label]) == pytest.approx(expected)


def test_whole_groups_are_drawn_or_left_out():
    _, y, groups = draw()
    resamples = Resamples(y, groups, resamples=4)
    of_rows = resamples.times_drawn[:, resamples.unit].numpy()
    for group in np.unique(groups):
        assert (of_rows[:, groups == group] == of_rows[:, groups == group][:, :1]).all()


def test_a_label_without_a_positive_has_no_score():
    y = torch.zeros(40, 1)
    y[3] = 1
    decided = torch.ones(40, 1, dtype=torch.bool)
    resamples = Resamples(y, None, resamples=30)
    there = resamples.times_drawn[:, 3] > 0
    drawn, left_out = resamples.decided(decided, Counts.f_beta)
    assert torch.equal(drawn[:, 0].isnan(), ~there)
    assert torch.equal(left_out[:, 0].isnan(), there)


def test_one_trial_alone_is_worth_what_it_scores_on_the_rows_left_out():
    left_out = torch.tensor([[0.2, 0.4, torch.nan]], dtype=torch.float64)
    found = corrected_best(torch.tensor([[0.9, 0.8, 0.7]]), left_out)
    assert found.value == pytest.approx(0.3)


def test_the_corrected_score_of_noise_is_within_chance_of_the_truth_and_the_maximum_above_it():
    """Trials that decide at random: none is better than another, whatever the best one scores."""
    truths, corrected, maxima = [], [], []
    for seed in range(12):
        random = np.random.default_rng(seed)
        y = torch.from_numpy((random.random((600, 1)) < 0.1).astype(np.float32))
        trials = [torch.from_numpy(random.random((600, 1)) < 0.1) for _ in range(60)]
        resamples = Resamples(y, None, resamples=100, seed=seed)
        drawn, left_out = zip(
            *(resamples.decided(decided, Counts.f_beta) for decided in trials), strict=True
        )
        found = corrected_best(
            torch.stack([one[:, 0] for one in drawn]), torch.stack([one[:, 0] for one in left_out])
        )
        corrected.append(found.value)
        maxima.append(max(f1_score(y[:, 0], one[:, 0]) for one in trials))
        truths.append(0.1)  # F1 of independent decisions at the prevalence
    error = np.std(corrected, ddof=1) / np.sqrt(len(corrected))
    assert abs(np.mean(corrected) - np.mean(truths)) < 4 * error
    assert np.mean(maxima) - np.mean(truths) > 0.05
