"""Scores of K members on N rows and L labels at once, cheap enough for the end of every epoch.

Average precision, ROC AUC and exact thresholds all ask one question of each positive row: how many
rows, and how many positives, have at least its probability? `rank` answers it with a single sort.

The sort is of plain integers. The bits of a float32 in [0, 1] order as its value does, so

    key = -256 * bits(probability) + 128 * label + fold

puts rows in falling order of probability and carries label and fold along. Among equal
probabilities the negatives come first, hence a run of ties that holds a positive also ends with
one, and a cut need only be looked for behind a positive: between two positives, a lower cut adds
nothing but false positives. All that follows works on the few positives.

Counts are integers and ratios float64, so a member scores bitwise the same in any stack.
"""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import pad

MAX_FOLDS = 128
_SHIFT = 8
_LABEL = 128


@dataclass(frozen=True)
class Ranking:
    """Rows in falling order of probability, per member and label, and the positives' place in it.

    Shapes (K members, L labels, N rows, P the most positives of a label):
        keys       (K, L, N)    int64, see the module; rising keys are falling probabilities
        positives  (K, L, P+1)  int64, the key of the i-th positive; entry 0 is none
        rows       (K, L, P+1)  int64, rows with at least its probability
        hits       (K, L, P+1)  int64, positives with at least its probability
        n_pos      (L,)         int64, positives of each label
        n_folds    folds of the rows, 0 without any

    Entry 0 of rows and hits is 0, the cut above all rows. Entries past n_pos repeat the last.
    """

    keys: Tensor
    positives: Tensor
    rows: Tensor
    hits: Tensor
    n_pos: Tensor
    n_folds: int

    @property
    def n_rows(self) -> int:
        """Number of rows N."""
        return self.keys.shape[-1]

    def folds(self) -> Tensor:
        """Fold of each row in ranked order, (K, L, N) uint8."""
        return self.keys.to(torch.uint8) & (_LABEL - 1)

    def folds_of_positives(self) -> Tensor:
        """Fold of each positive in ranked order, (K, L, P) uint8."""
        return self.positives[..., 1:].to(torch.uint8) & (_LABEL - 1)

    def probability(self, place: Tensor) -> Tensor:
        """Probability of the row at a place, 1 being the highest; (K, L, ...) to float64.

        Place 0, above all rows, is the float32 next to 1; place N + 1, below all rows, is 0.
        """
        index = (place - 1).clamp(0, self.n_rows - 1).reshape(*self.keys.shape[:2], -1)
        bits = -(self.keys.gather(-1, index) >> _SHIFT).view(place.shape)
        found = bits.int().view(torch.float32).double()
        above = 1 + torch.finfo(torch.float32).eps
        return torch.where(place == 0, above, torch.where(place > self.n_rows, 0.0, found))

    def rows_reaching(self, thresholds: Tensor) -> Tensor:
        """Count of rows with probability >= threshold; (K, L, ...) float32 to int64."""
        last = _LABEL + MAX_FOLDS - 1 - (thresholds.view(torch.int32).long() << _SHIFT)
        last = last.reshape(*self.keys.shape[:2], -1)
        return torch.searchsorted(self.keys, last, right=True).view(thresholds.shape)


def rank(probabilities: Tensor, labels: Tensor, folds: Tensor | None = None) -> Ranking:
    """Sort the rows of every member and label by falling probability.

    A NaN, as a diverged member gives, counts as probability 0.

    Shapes (K members, N rows, L labels):
        probabilities  (K, N, L)  float32 in [0, 1]
        labels         (N, L)     0 or 1, any dtype
        folds          (N,)       0 .. n_folds - 1, at most 128 folds; for cross-fitting only
    """
    positive = (labels > 0).T.contiguous()
    n_pos = positive.sum(dim=1)
    tag = positive.long() * _LABEL
    n_folds = 0
    if folds is not None:
        n_folds = int(folds.max()) + 1
        if n_folds > MAX_FOLDS:
            raise ValueError(f"at most {MAX_FOLDS} folds can be ranked, got {n_folds}")
        tag += folds
    clean = probabilities.detach().nan_to_num(nan=0.0).transpose(1, 2).contiguous()
    bits = clean.view(torch.int32).long()
    keys = _sorted(torch.sub(tag, bits, alpha=1 << _SHIFT, out=bits))
    places = _places_of_positives(keys, n_pos)
    positives = keys.gather(-1, (places - 1).clamp(min=0))
    hits = _ends_of_ties(positives >> _SHIFT, n_pos)
    return Ranking(keys, positives, places.gather(-1, hits), hits, n_pos, n_folds)


def average_precision(ranking: Ranking) -> Tensor:
    """Average precision, (K, L) float64 in [0, 1]: the mean over positives of the precision there.

    Equal to scikit-learn's average_precision_score, ties included; 0 for a label without positives.
    """
    precision = _ratio(ranking.hits, ranking.rows)
    total = precision.masked_fill(~_real(ranking), 0.0).sum(dim=-1)
    return total / ranking.n_pos.clamp(min=1)


def roc_auc(ranking: Ranking) -> Tensor:
    """Area under the ROC curve, (K, L) float64 in [0, 1]; a tied pair counts one half.

    Equal to scikit-learn's roc_auc_score, ties included; nan for a label with one value only.
    Source: the Mann-Whitney statistic, e.g. Fawcett 2006, doi:10.1016/j.patrec.2005.10.010.
    """
    real = _real(ranking)
    not_below = ranking.rows - ranking.hits
    halves = (2 * not_below - _tied_negatives(ranking)).masked_fill(~real, 0).sum(dim=-1)
    pairs = ranking.n_pos * (ranking.n_rows - ranking.n_pos)
    return (2 * pairs - halves).double() / (2 * pairs)


@dataclass(frozen=True)
class Counts:
    """Decisions against labels, each (K, L) int64; every ratio is 0 where it is undefined."""

    tp: Tensor
    fp: Tensor
    fn: Tensor
    tn: Tensor

    def precision(self) -> Tensor:
        """Share of the predicted positives that are right, (K, L) float64."""
        return _ratio(self.tp, self.tp + self.fp)

    def recall(self) -> Tensor:
        """Share of the positives that are found, (K, L) float64."""
        return _ratio(self.tp, self.tp + self.fn)

    def f_beta(self, beta: float = 1.0) -> Tensor:
        """F score with recall weighted beta times as much as precision, (K, L) float64."""
        hits = (1 + beta**2) * self.tp.double()
        return _ratio(hits, hits + beta**2 * self.fn.double() + self.fp)

    def balanced_accuracy(self) -> Tensor:
        """Mean of recall and specificity, (K, L) float64."""
        return (self.recall() + _ratio(self.tn, self.tn + self.fp)) / 2

    def predicted_share(self) -> Tensor:
        """Share of the rows that are predicted positive, (K, L) float64."""
        return _ratio(self.tp + self.fp, self.tp + self.fp + self.fn + self.tn)


def confusion(probabilities: Tensor, labels: Tensor, thresholds: Tensor) -> Counts:
    """Count the decisions probability >= threshold; a NaN probability decides negative.

    Shapes (K members, N rows, L labels):
        probabilities  (K, N, L)  float32 in [0, 1]
        labels         (N, L)     0 or 1, any dtype
        thresholds     (K, L)     float32
    """
    return count_decisions(probabilities >= thresholds.unsqueeze(1), labels)


def count_decisions(decisions: Tensor, labels: Tensor) -> Counts:
    """Count decisions (K, N, L) bool against labels (N, L) 0 or 1, any dtype."""
    positive = labels > 0
    tp = (decisions & positive).sum(dim=1)
    fp = (decisions & ~positive).sum(dim=1)
    n_pos = positive.sum(dim=0)
    return Counts(tp, fp, n_pos - tp, len(labels) - n_pos - fp)


def _ratio(part: Tensor, whole: Tensor) -> Tensor:
    """Quotient in float64, 0 for 0 / 0."""
    return (part.double() / whole).nan_to_num_(nan=0.0)


def _sorted(keys: Tensor) -> Tensor:
    """Sort the last axis; on the CPU by numpy's vectorised sort, about ten times torch's speed."""
    if keys.device.type != "cpu":
        return sort_on_device(keys)
    keys.numpy().sort(axis=-1)
    return keys


def sort_on_device(keys: Tensor) -> Tensor:
    """Sort the last axis where the keys are, as a GPU needs it."""
    return keys.sort(dim=-1).values


def _places_of_positives(keys: Tensor, n_pos: Tensor) -> Tensor:
    """Place of each positive among the sorted rows, 1 being the highest, (K, L, P+1)."""
    members, n_labels, n_rows = keys.shape
    entries = _entries(n_pos, int(n_pos.max()) + 1)
    positive = (keys.to(torch.uint8) >> 7).view(torch.bool)
    found = pad(positive.flatten().nonzero().squeeze(-1), (1, 0))
    ends = n_pos.repeat(members).cumsum(0).view(members, n_labels)
    places = found[(ends - n_pos).unsqueeze(-1) + entries] % n_rows + 1
    return places.masked_fill_(entries == 0, 0)


def _ends_of_ties(probability: Tensor, n_pos: Tensor) -> Tensor:
    """Number of the last positive that is tied with each, (K, L, P+1)."""
    size = probability.shape[-1]
    tied_to_next = pad(probability[..., 1:-1] == probability[..., 2:], (1, 1))[..., :size]
    ends = _entries(n_pos, size).expand_as(probability).masked_fill(tied_to_next, size)
    return ends.flip(-1).cummin(-1).values.flip(-1)


def _entries(n_pos: Tensor, size: int) -> Tensor:
    """Number of the positive that each entry stands for, (L, size): 0, 1, ... n_pos, n_pos ..."""
    return torch.arange(size, device=n_pos.device).minimum(n_pos[:, None])


def _real(ranking: Ranking) -> Tensor:
    """Entries that stand for a positive of their own, (L, P+1)."""
    entry = torch.arange(ranking.hits.shape[-1], device=ranking.n_pos.device)
    return (entry > 0) & (entry <= ranking.n_pos[:, None])


def _tied_negatives(ranking: Ranking) -> Tensor:
    """Count the negatives with the probability of each positive, (K, L, P+1).

    Only members and labels where some positive follows an equal probability are searched.
    """
    keys, lowest = ranking.keys, (ranking.positives >> _SHIFT) << _SHIFT
    places = ranking.rows - ranking.hits + _entries(ranking.n_pos, lowest.shape[-1])
    follows = (keys.gather(-1, (places - 2).clamp(min=0)) >= lowest) & (places > 1)
    search = follows.any(dim=-1)
    bounds = torch.stack((lowest[search], lowest[search] + _LABEL), dim=-1)
    found = torch.searchsorted(keys[search], bounds.flatten(1)).view_as(bounds)
    tied = torch.zeros_like(places)
    tied[search] = found[..., 1] - found[..., 0]
    return tied
