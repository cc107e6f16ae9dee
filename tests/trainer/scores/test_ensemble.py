import itertools
from functools import partial

import numpy as np
import pytest
import torch
from sklearn.metrics import average_precision_score

from trainer.scores.ensemble import Chosen, choose, cross_fitted_choice, gain, weighted_mean
from trainer.scores.thresholds import best_thresholds, parse_threshold_metric

F1 = partial(best_thresholds, metric=parse_threshold_metric("f1"))


def simulated(runs, rows, labels=2, *, own=1.0, shared=1.0, seed=0):
    """Runs (T, V, L) that see the same signal, each with a noise of its own; labels (V, L)."""
    generator = torch.Generator().manual_seed(seed)
    truth = torch.randn(rows, labels, generator=generator)
    y = (truth + torch.randn(rows, labels, generator=generator) > 2.3).float()
    seen = truth + shared * torch.randn(rows, labels, generator=generator)
    noise = torch.randn(runs, rows, labels, generator=generator)
    return torch.sigmoid(seen + own * noise - 2), y


def macro_precision(probabilities, y):
    found = [
        average_precision_score(label, p) if label.any() else 0.0
        for p, label in zip(probabilities.double().numpy().T, y.numpy().T, strict=True)
    ]
    return float(np.mean(found))


def by_brute_force(probabilities, y, picks, members):
    """Greedy selection written out: every mean is made and scored by scikit-learn."""
    picked, prefixes = [], []
    for _ in range(picks):
        full = len(set(picked)) >= members
        runs = sorted(set(picked)) if full else range(len(probabilities))
        scores = {run: macro_precision(probabilities[[*picked, run]].sum(0), y) for run in runs}
        best = max(scores.values())
        picked.append(next(run for run in runs if scores[run] == best))
        prefixes.append((best, -len(picked)))
    kept = picked[: -max(prefixes)[1]]
    return {run: kept.count(run) / len(kept) for run in kept}


@pytest.mark.parametrize("members", [1, 2, 8])
@pytest.mark.parametrize("seed", range(4))
def test_greedy_selection_is_that_of_brute_force(seed, members):
    probabilities, y = simulated(5, 150, 3, seed=seed)
    probabilities = (probabilities * 64).round() / 64  # many ties, and sums that are exact
    chosen = choose(probabilities, y, picks=7, members=members)
    expected = by_brute_force(probabilities, y, 7, members)
    assert dict(zip(chosen.runs, chosen.weights, strict=True)) == pytest.approx(expected)
    assert len(chosen.runs) <= members


def test_its_first_pick_is_the_best_run_by_scikit_learns_average_precision():
    probabilities, y = simulated(12, 400, 3, seed=5)
    chosen = choose(probabilities, y, picks=1)
    scores = [macro_precision(one, y) for one in probabilities]
    assert chosen == Chosen((int(np.argmax(scores)),), (1.0,))


def test_no_pair_of_equal_weights_beats_what_two_picks_find_by_much():
    """Two picks are the best run and the one that helps it most, among all pairs with it."""
    probabilities, y = simulated(6, 300, seed=2)
    chosen = choose(probabilities, y, picks=2)
    found = macro_precision(chosen.mean(probabilities), y)
    first = choose(probabilities, y, picks=1).runs[0]
    pairs = [(first, first), *((first, other) for other in range(6))]
    assert found == pytest.approx(
        max(macro_precision(probabilities[list(pair)].mean(0), y) for pair in pairs)
    )


def test_half_precision_chooses_what_brings_as_much():
    probabilities, y = simulated(10, 2000, seed=3)
    whole, half = choose(probabilities, y), choose(probabilities.half(), y)
    scores = [macro_precision(chosen.mean(probabilities), y) for chosen in (whole, half)]
    assert scores[1] == pytest.approx(scores[0], abs=2e-3)


def test_a_label_without_positives_and_a_nan_are_borne():
    probabilities, y = simulated(4, 100, seed=1)
    y[:, 1] = 0
    probabilities[2, :50] = torch.nan
    chosen = choose(probabilities, y)
    assert sum(chosen.weights) == pytest.approx(1)


def test_the_mean_of_one_run_is_that_run_to_the_bit():
    probabilities, _ = simulated(3, 50)
    assert torch.equal(Chosen((1,), (1.0,)).mean(probabilities), probabilities[1])
    expected = 0.75 * probabilities[0] + 0.25 * probabilities[2]
    torch.testing.assert_close(weighted_mean(list(probabilities[::2]), (0.75, 0.25)), expected)


def test_rows_are_decided_by_choices_that_they_had_no_part_in():
    """Whatever the labels of a fold's rows are, its own probabilities and decisions stay."""
    probabilities, y = simulated(6, 500, seed=4)
    folds = torch.arange(500) % 5

    def fitted(labels):
        def best_of(rows):
            return int(np.argmax([macro_precision(p[rows], labels[rows]) for p in probabilities]))

        return cross_fitted_choice(probabilities, labels, folds, F1, best_of, picks=5)

    changed = y.clone()
    changed[folds == 2] = 1 - changed[folds == 2]
    before, after = fitted(y), fitted(changed)
    own = folds == 2
    assert torch.equal(before.ranks[:, own], after.ranks[:, own])
    assert torch.equal(before.decisions[:, own], after.decisions[:, own])
    assert not torch.equal(before.decisions, after.decisions)


def gains(repeats, **simulation):
    found = []
    for seed in range(repeats):
        probabilities, y = simulated(seed=seed, **simulation)

        def best_of(rows, probabilities=probabilities, y=y):
            return choose(probabilities[:, rows], y[rows], picks=1).runs[0]

        folds = torch.arange(len(y)) % 5
        fitted = cross_fitted_choice(probabilities, y, folds, F1, best_of, picks=10)
        found.append(gain(fitted, y, None))
    return found


def test_where_no_run_is_better_and_a_mean_brings_nothing_the_gain_is_within_chance_of_nothing():
    """All runs see the same, but for the least noise: what is chosen is chosen by chance."""
    found = gains(24, runs=15, rows=1000, own=0.02)
    for of in ("macro_f1", "average_precision"):
        differences = np.array([getattr(one, of).difference for one in found])
        error = differences.std() / np.sqrt(len(differences))
        assert abs(differences.mean()) <= 3 * error + 1e-3
    covered = [one.macro_f1.interval[0] <= 0 <= one.macro_f1.interval[1] for one in found]
    assert np.mean(covered) >= 0.7


def test_where_runs_err_apart_the_gain_is_seen():
    found = gains(6, runs=15, rows=2000, own=1.5, shared=0.0)
    assert np.mean([one.average_precision.difference for one in found]) > 0.03
    assert np.mean([one.macro_f1.difference for one in found]) > 0.02
    for one in found:
        assert one.macro_f1.difference == pytest.approx(one.macro_f1.ensemble - one.macro_f1.best)


def test_groups_are_drawn_whole():
    probabilities, y = simulated(5, 600, seed=7)
    fitted = cross_fitted_choice(
        probabilities, y, torch.arange(600) % 3, F1, lambda rows: 0, picks=3
    )
    alone, together = gain(fitted, y, None), gain(fitted, y, np.arange(600) // 60)
    assert alone.macro_f1.difference == together.macro_f1.difference
    assert alone.macro_f1.interval != together.macro_f1.interval
    assert np.isnan(gain(fitted, y, np.zeros(600, dtype=int)).macro_f1.interval).all()


def test_every_round_counts_once(monkeypatch):
    """So many scores are made as there are candidates: all until the ensemble is full."""
    asked = itertools.count()
    real = choose.__globals__["_macro_average_precision"]
    monkeypatch.setitem(
        choose.__globals__, "_macro_average_precision", lambda *a: (next(asked), real(*a))[1]
    )
    probabilities, y = simulated(9, 200, seed=8)
    choose(probabilities, y, picks=20, members=1)
    assert next(asked) == 9 + 19


def test_the_average_precision_of_runs_of_other_scales_is_that_of_their_ranks():
    """Ensembles of different folds differ in scale; pooled as they are, they would rank badly."""
    probabilities, y = simulated(3, 3000, seed=9)
    scaled = torch.stack([probabilities[0], probabilities[0] / 50])
    folds = torch.arange(3000) % 2
    fitted = cross_fitted_choice(scaled, y, folds, F1, lambda rows: int(rows[0]), picks=1)
    expected = macro_precision(probabilities[0], y)
    assert gain(fitted, y, None).average_precision.best == pytest.approx(expected, rel=0.05)
