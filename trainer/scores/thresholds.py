"""The best decision threshold of each label, found exactly; and what it is worth on unseen rows.

A threshold chosen and scored on the same rows flatters itself. `cross_fit` chooses the thresholds
of each fold on the other folds, and its pooled counts give the score that is shown.

Below MIN_POSITIVES positives a label's own optimum is mostly noise. It is pulled towards what all
labels suggest, expressed so that it means the same for a frequent and a rare label: the number of
rows predicted positive for each positive there is. See `_rows_to_select`.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor

from trainer.errors import ConfigError
from trainer.scores.metrics import Counts, Ranking
from trainer.scores.promise import keep_promised_recall

MIN_POSITIVES = 10

METRIC_FORMS = (
    "f1, f2, f0.5 (any F-beta), balanced_accuracy, recall>=0.8 (best precision that keeps it), "
    "recall>=0.8@0.95 (the same with 95 % confidence on new rows), "
    "precision>=0.5 (best recall that keeps it), fn=10,fp=1 (costs)"
)

_NUMBER = r"(\d+(?:\.\d+)?|\.\d+)"


@dataclass(frozen=True)
class ThresholdMetric:
    """What a threshold is to maximise; two of the same text are equal.

    score(counts) takes Counts of float64 tensors of any one shape and returns the score of each cut
    in that shape. Among equal scores the cut with the most true positives is the better one, and
    then the one with the fewest rows.
    """

    text: str
    score: Callable[[Counts], Tensor] = field(compare=False, repr=False)
    promise: tuple[float, float] | None = None  # a recall, and the confidence that it is kept

    def for_rows(self, shares: tuple[float, ...]) -> "ThresholdMetric":
        """Return the metric for rows whose positives count as `promise.effective_share` says."""
        if self.promise is None:
            return self
        bound, confidence = self.promise
        kept = partial(keep_promised_recall, bound=bound, confidence=confidence, shares=shares)
        return replace(self, score=kept)


def parse_threshold_metric(text: str) -> ThresholdMetric:
    """Read a metric from its text; see METRIC_FORMS. Raises ConfigError for anything else.

    The bound of recall or precision lies above 0 and at most at 1; where no cut keeps a precision,
    the cut with the highest one is taken. A promised recall and its confidence lie below 1; where
    no cut can promise it, all positives are found. Costs name both fn and fp, above 0, in either
    order.
    """
    plain = "".join(text.split()).lower()
    if plain == "balanced_accuracy":
        return ThresholdMetric(plain, Counts.balanced_accuracy)
    if found := re.fullmatch(f"f{_NUMBER}", plain):
        beta = float(found[1])
        if beta > 0:
            return ThresholdMetric(plain, partial(Counts.f_beta, beta=beta))
    if found := re.fullmatch(f"(recall|precision)>={_NUMBER}", plain):
        bound = float(found[2])
        if 0 < bound <= 1:
            constrained = _keep_recall if found[1] == "recall" else _keep_precision
            return ThresholdMetric(plain, partial(constrained, bound=bound))
    if found := re.fullmatch(f"recall>={_NUMBER}@{_NUMBER}", plain):
        promise = float(found[1]), float(found[2])
        if 0 < promise[0] < 1 and 0.5 <= promise[1] < 1:
            return ThresholdMetric(plain, Counts.recall, promise).for_rows(())
    if found := re.fullmatch(f"(fn|fp)={_NUMBER},(fn|fp)={_NUMBER}", plain):
        costs = {found[1]: float(found[2]), found[3]: float(found[4])}
        if len(costs) == 2 and min(costs.values()) > 0:
            return ThresholdMetric(plain, partial(_saved_cost, fn=costs["fn"], fp=costs["fp"]))
    raise ConfigError(f"threshold metric {text!r} is not known; the forms are {METRIC_FORMS}")


def best_thresholds(ranking: Ranking, metric: ThresholdMetric) -> Tensor:
    """Thresholds that maximise the metric over all cuts, (K, L) float32.

    A threshold lies midway between the two neighbouring probabilities, and `>=` selects exactly the
    rows above the cut in float32 too. Below all rows it lies midway to 0, above all midway to 1.
    Labels with fewer than MIN_POSITIVES positives are pulled towards the pooled labels.
    """
    cut = _rows_to_select(ranking.rows, ranking.hits, ranking.n_rows, metric)
    return _midway(ranking, cut, cut + 1)


def shrunk_labels(ranking: Ranking, metric: ThresholdMetric) -> Tensor:
    """Labels with too few positives for best_thresholds to give them their own, (L,) bool.

    A metric that promises something gives each label its own.
    """
    few = ranking.n_pos < MIN_POSITIVES
    return few if metric.promise is None else torch.zeros_like(few)


class CrossFitted(NamedTuple):
    """Thresholds of each fold's rows (K, L, F) float32, and the pooled counts under them (K, L)."""

    thresholds: Tensor
    counts: Counts


def cross_fit(ranking: Ranking, metric: ThresholdMetric) -> CrossFitted:
    """Choose the thresholds of each fold's rows on the other folds, and count what they decide.

    The thresholds of a fold are those of best_thresholds on the rows outside it, shrunk by the
    positives there. Leaving a fold out of a sorted row leaves it sorted, so that running counts of
    the rows that stay are all that is needed, and nothing is sorted again.

    Raises ValueError if the ranking was made without at least 2 folds.
    """
    rows_kept, hits_kept = _counts_outside_folds(ranking)
    thresholds = _thresholds_outside(ranking, rows_kept, hits_kept, metric)
    chosen = ranking.rows_reaching(thresholds)
    chosen_hits = torch.searchsorted(ranking.rows, chosen, right=True) - 1
    chosen_hits = chosen_hits.minimum(ranking.n_pos[:, None])
    held_out = chosen - _take_one(rows_kept, chosen)
    held_out_hits = chosen_hits - _take_one(hits_kept, chosen_hits)
    tp = held_out_hits.sum(dim=-1)
    fp = held_out.sum(dim=-1) - tp
    n_neg = ranking.n_rows - ranking.n_pos
    return CrossFitted(thresholds, Counts(tp, fp, ranking.n_pos - tp, n_neg - fp))


def _counts_outside_folds(ranking: Ranking) -> tuple[Tensor, Tensor]:
    """Rows, and positives, outside each fold among the first so many; (K, L, F, N+1 or P+1)."""
    if ranking.n_folds < 2:
        raise ValueError("cross-fitting needs a ranking with at least 2 folds")
    folds = ranking.folds()
    left_out = torch.arange(ranking.n_folds, dtype=torch.uint8, device=folds.device)[:, None]
    return (
        _running_count(folds, left_out),
        _running_count(ranking.folds_of_positives(), left_out),
    )


def _thresholds_outside(
    ranking: Ranking, rows_kept: Tensor, hits_kept: Tensor, metric: ThresholdMetric
) -> Tensor:
    """Thresholds chosen on the rows outside each fold, (K, L, F); counts as from the above."""
    rows = _take(rows_kept, ranking.rows)
    hits = _take(hits_kept, ranking.hits)
    cut = _rows_to_select(rows, hits, rows_kept[..., -1:], metric)
    neighbours = torch.stack((cut, cut + 1), dim=-1).to(rows_kept.dtype)
    above, below = torch.searchsorted(rows_kept, neighbours).unbind(-1)
    return _midway(ranking, above, below)


def _rows_to_select(
    rows: Tensor, hits: Tensor, n_rows: Tensor | int, metric: ThresholdMetric
) -> Tensor:
    """Number of rows to predict positive, from the cuts behind each positive.

    A label with few positives goes n_pos / MIN_POSITIVES of the way from the pooled suggestion to
    its own optimum. The suggestion is the rows selected per positive, summed over the labels at
    their own optima: a ratio that knows neither a label's prevalence nor its scale of scores.

    Shapes (K members, L labels, P positives; possibly F folds before the last axis):
        rows, hits  (K, L, P+1)  integers, rows and positives above each cut; entry 0 is 0
        n_rows      rows in all, broadcast against (K, L, 1)
        returns     (K, L)       int64
    """
    rows, hits = rows.double(), hits.double()
    n_pos = hits[..., -1:]
    fp = rows - hits
    score = metric.score(Counts(hits, fp, n_pos - hits, n_rows - n_pos - fp))
    best = score.amax(dim=-1, keepdim=True)
    most_hits = hits.masked_fill(score < best, 0).amax(dim=-1, keepdim=True)
    fewest_rows = torch.searchsorted(hits, most_hits)
    own = rows.gather(-1, fewest_rows).squeeze(-1)
    n_pos = n_pos.squeeze(-1)
    pooled = own.sum(dim=1, keepdim=True) / n_pos.sum(dim=1, keepdim=True).clamp(min=1) * n_pos
    trust = (n_pos / MIN_POSITIVES).clamp(max=1)
    if metric.promise is not None:  # other labels can promise nothing for this one
        trust = torch.ones_like(trust)
    return (trust * own + (1 - trust) * pooled).round().long()


def _midway(ranking: Ranking, above: Tensor, below: Tensor) -> Tensor:
    """Threshold between two neighbouring places of the ranking, float32 in their shape.

    Rounded to float32 it must stay above the lower probability; else it is the upper one.
    """
    upper, lower = ranking.probability(above), ranking.probability(below)
    middle = ((upper + lower) / 2).float()
    return torch.where(middle > lower, middle, upper.float())


def _running_count(folds: Tensor, left_out: Tensor) -> Tensor:
    """Count the entries outside each fold from the first on; (K, L, M) to (K, L, F, M+1) int32."""
    members, n_labels, size = folds.shape
    kept = folds.new_empty((members, n_labels, len(left_out), size + 1))
    kept[..., 0] = 0
    torch.bitwise_xor(folds.unsqueeze(2), left_out, out=kept[..., 1:])
    return kept.clamp_(max=1).int().cumsum_(dim=-1)


def _take(counts: Tensor, index: Tensor) -> Tensor:
    """Look up the same entries, (K, L, M), in the counts of every fold; (K, L, F, M)."""
    return counts.gather(-1, index.unsqueeze(2).expand(-1, -1, counts.shape[2], -1))


def _take_one(counts: Tensor, index: Tensor) -> Tensor:
    """Look up one entry for each fold; (K, L, F)."""
    return counts.gather(-1, index.unsqueeze(-1)).squeeze(-1)


def _keep_recall(counts: Counts, *, bound: float) -> Tensor:
    """Precision where recall reaches the bound; below that, every cut ranks lower by its recall."""
    recall = counts.recall()
    return torch.where(recall >= bound, 1 + counts.precision(), recall)


def _keep_precision(counts: Counts, *, bound: float) -> Tensor:
    """Recall where precision reaches the bound; below that, every cut ranks lower by precision."""
    precision = counts.precision()
    return torch.where(precision >= bound, 1 + counts.recall(), precision)


def _saved_cost(counts: Counts, *, fn: float, fp: float) -> Tensor:
    """Total cost of the errors, negated."""
    return -(fn * counts.fn.double() + fp * counts.fp)
