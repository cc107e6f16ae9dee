"""Many runs' held-out probabilities -> the few whose weighted mean ranks best, and what it gains.

Greedy selection with replacement: begin with the best run, then add again and again the one that
helps the mean most. A run that is added twice weighs twice. Selection flatters itself as any choice
does, so what an ensemble gains over the best run is asked of rows that chose neither.

Source: Caruana et al. 2004, doi:10.1145/1015330.1015432.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from trainer.scores.bootstrap import Compared, Interval, compare_macro_f1, intervals
from trainer.scores.metrics import Ranking, average_precision, rank
from trainer.scores.selection import Resamples

PICKS = 25
MOST_MEMBERS = 8  # different runs: what they cost is paid for every row that is predicted

Weights = Sequence[float]


@dataclass(frozen=True)
class Chosen:
    """Which of T runs make up an ensemble, heaviest first, and their weights, which sum to 1."""

    runs: tuple[int, ...]
    weights: tuple[float, ...]

    def mean(self, probabilities: Tensor) -> Tensor:
        """Return the weighted mean (V, L) float32 of the runs' probabilities (T, V, L)."""
        return weighted_mean([probabilities[run] for run in self.runs], self.weights)


def weighted_mean(probabilities: Sequence[Tensor], weights: Weights) -> Tensor:
    """Return the weighted mean of probabilities of one shape, float32; weights sum to 1.

    Of a single one it is that one, to the bit.
    """
    total = torch.zeros_like(probabilities[0], dtype=torch.float32)
    for one, weight in zip(probabilities, weights, strict=True):
        total += weight * one.float()
    return total


def choose(
    probabilities: Tensor, labels: Tensor, *, picks: int = PICKS, members: int = MOST_MEMBERS
) -> Chosen:
    """Choose the runs whose mean has the best macro average precision, by greedy selection.

    Of `picks` rounds those are kept after which the mean was best. Once `members` different runs
    are in, only these are picked again. Of equal ones the first is taken; a NaN counts as 0.

    Shapes (T runs, V rows, L labels): probabilities (T, V, L) of any float type, labels (V, L) 0 or
    1. Source: Caruana et al. 2004, doi:10.1145/1015330.1015432, sections 2.1 and 2.3.
    """
    of_labels = probabilities.nan_to_num(nan=0.0).transpose(1, 2).contiguous()  # (T, L, V)
    places = [np.flatnonzero(label) for label in (labels > 0).numpy().T]
    counts = np.zeros(len(of_labels), dtype=np.int64)
    total = torch.zeros(of_labels.shape[1:])
    best, best_counts = -np.inf, counts.copy()
    for _ in range(picks):
        is_full = np.count_nonzero(counts) >= members
        runs = np.flatnonzero(counts) if is_full else np.arange(len(counts))
        scores = [_macro_average_precision(total, of_labels[run], places) for run in runs]
        winner = int(np.argmax(scores))
        counts[runs[winner]] += 1
        total += of_labels[runs[winner]]
        if scores[winner] > best:
            best, best_counts = scores[winner], counts.copy()
    heaviest = sorted(np.flatnonzero(best_counts), key=lambda run: -best_counts[run])
    weights = best_counts[heaviest] / best_counts.sum()
    return Chosen(tuple(map(int, heaviest)), tuple(weights.tolist()))


def _macro_average_precision(total: Tensor, added: Tensor, places: Sequence[np.ndarray]) -> float:
    """Return the macro average precision of a sum of probabilities (L, V) with one more added.

    `places` are those of each label's positives. A row's rank needs no more than the sorted scores.
    """
    scores = np.empty(total.shape[1], dtype=np.float32)
    found = 0.0
    for of_label, more, positives in zip(total, added, places, strict=True):
        torch.add(of_label, more, out=torch.from_numpy(scores))
        hits = np.sort(scores[positives])
        scores.sort()
        reached = len(hits) - np.searchsorted(hits, hits)
        rows = len(scores) - np.searchsorted(scores, hits)
        found += float(np.mean(reached / rows)) if len(hits) else 0.0
    return found / len(places)


@dataclass(frozen=True)
class CrossFittedChoice:
    """An ensemble and the best run, both chosen anew for each cross-fold on the other ones' rows.

    Shapes (V rows, L labels): ranks (2, V, L) float32 in [0, 1) and decisions (2, V, L) bool, of
    the ensemble and of the best run. Each row's are by a choice, and at thresholds, that it had no
    part in. A rank is the share of its cross-fold's rows that are less probable: probabilities of
    different ensembles can't be compared, and their ranks can.
    """

    ranks: Tensor
    decisions: Tensor


def cross_fitted_choice(
    probabilities: Tensor,
    labels: Tensor,
    cross_fold: Tensor,
    thresholds: Callable[[Ranking], Tensor],
    best_of: Callable[[Tensor], int],
    *,
    picks: int = PICKS,
    members: int = MOST_MEMBERS,
) -> CrossFittedChoice:
    """Choose ensemble, best run and thresholds for a cross-fold's rows on those of the others.

    `best_of` says which run is best on some rows, given by index; `thresholds` (K, L) are chosen
    from a ranking as `best_thresholds` does.

    Shapes (T runs, V rows, L labels): probabilities (T, V, L), labels (V, L) 0 or 1, cross_fold
    (V,) int64.
    """
    ranks = torch.zeros(2, *labels.shape)
    decided = torch.zeros(2, *labels.shape, dtype=torch.bool)
    for fold in torch.unique(cross_fold):
        own, others = (cross_fold == fold).nonzero()[:, 0], (cross_fold != fold).nonzero()[:, 0]
        there = probabilities[:, others]
        chosen = choose(there, labels[others], picks=picks, members=members)
        best = best_of(others)
        for k, runs in enumerate((chosen, Chosen((best,), (1.0,)))):
            ranking = rank(runs.mean(there)[None], labels[others])
            found = runs.mean(probabilities[:, own])
            ranks[k, own] = _ranks(found)
            decided[k, own] = found >= thresholds(ranking)[0]
    return CrossFittedChoice(ranks, decided)


def _ranks(probabilities: Tensor) -> Tensor:
    """Return for each row and label (B, L) the share of the rows that are less probable."""
    of_labels = probabilities.T.contiguous()
    return torch.searchsorted(of_labels.sort().values, of_labels).T / len(probabilities)


@dataclass(frozen=True)
class Difference:
    """One macro score of the ensemble and of the best run, and how far apart; 95 % interval."""

    ensemble: float
    best: float
    difference: float
    interval: Interval


@dataclass(frozen=True)
class Gain:
    """What an ensemble is worth on rows that did not choose it; `interval` is of its macro-F1."""

    macro_f1: Difference
    interval: Interval
    average_precision: Difference


def gain(fitted: CrossFittedChoice, labels: Tensor, groups: np.ndarray | None) -> Gain:
    """Score what `cross_fitted_choice` returned, with intervals by the paired bootstrap.

    Choices are not made again in a resample: intervals tell of the rows scored, not of those that
    chose, and are somewhat narrow for it.

    Shapes as in `cross_fitted_choice`; groups (V,) integer codes, whose rows are drawn together.
    """
    own, best = compare_macro_f1(fitted.decisions, labels, groups)
    return Gain(_of_f1(own, best), own.interval, _of_precision(fitted, labels, groups))


def _of_f1(own: Compared, best: Compared) -> Difference:
    return Difference(own.macro_f1, best.macro_f1, best.difference, best.difference_interval)


def _of_precision(
    fitted: CrossFittedChoice, labels: Tensor, groups: np.ndarray | None
) -> Difference:
    resamples = Resamples(labels, groups)
    drawn = [resamples.average_precision(one)[0].nanmean(dim=1) for one in fitted.ranks]
    own, best = average_precision(rank(fitted.ranks, labels)).mean(dim=1).tolist()
    (interval,) = intervals((drawn[0] - drawn[1])[None])
    return Difference(own, best, own - best, interval)
