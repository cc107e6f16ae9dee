"""A recall that new rows keep: how many of a label's positives a cut must find to promise it.

A cut that finds h of n positives has, on new rows, a recall of at least the lower bound of Clopper
and Pearson with the confidence asked for. Positives of one group stand or fall together, so where
there are groups, n positives count as fewer: as Kish's effective number of them.

Sources: Clopper and Pearson 1934, doi:10.1093/biomet/26.4.404; Kish 1965, Survey Sampling, 8.2.
"""

from functools import cache

import numpy as np
import torch
from torch import Tensor

from trainer.scores.metrics import Counts


def recall_bound(hits: float, positives: float, confidence: float) -> float:
    """Return the recall that a cut with so many hits keeps with this confidence, in [0, 1].

    `hits` and `positives` are effective numbers and need not be whole.
    """
    from scipy.special import betaincinv

    if hits <= 0:
        return 0.0
    return float(betaincinv(hits, positives - hits + 1, 1 - confidence))


def effective_share(labels: np.ndarray, groups: np.ndarray | None) -> tuple[float, ...]:
    """Return for each label how many independent positives one of its positives counts for.

    Shapes (V rows, L labels): labels (V, L) 0 or 1, groups (V,) integer codes. 1 without groups, or
    where no group has two positives.
    """
    shares: list[float] = [1.0] * int(labels.shape[1])
    if groups is None:
        return tuple(shares)
    shares = []
    for label in labels.T:
        sizes = np.unique(groups[label > 0], return_counts=True)[1].astype(float)
        shares.append(float(sizes.sum() / (sizes**2).sum()) if len(sizes) else 1.0)
    return tuple(shares)


@cache
def hits_needed(positives: int, share: float, bound: float, confidence: float) -> int:
    """Return the fewest hits of so many positives that promise the recall.

    It is more than there are positives if not even all of them do.
    """
    low, high = 0, positives + 1
    while low < high:
        middle = (low + high) // 2
        if recall_bound(middle * share, positives * share, confidence) >= bound:
            high = middle
        else:
            low = middle + 1
    return low


def keep_promised_recall(
    counts: Counts, *, bound: float, confidence: float, shares: tuple[float, ...]
) -> Tensor:
    """Score each cut by precision where it promises the recall, else by its recall.

    `counts` are of cuts (K, L, ..., cuts); `shares` (L,) are those of `effective_share`, or empty
    for 1 each.
    """
    positives = (counts.tp + counts.fn)[..., :1]
    needed = torch.empty_like(positives)
    for i in range(positives.shape[1]):
        of_label = positives[:, i]
        share = shares[i] if shares else 1.0
        for value in set(of_label.flatten().tolist()):
            hits = hits_needed(int(value), share, bound, confidence)
            needed[:, i] = torch.where(of_label == value, hits, needed[:, i])
    return torch.where(counts.tp >= needed, 1 + counts.precision(), counts.recall())


def broken_promises(
    labels: np.ndarray,
    groups: np.ndarray | None,
    names: tuple[str, ...],
    bound: float,
    confidence: float,
) -> dict[str, str]:
    """Return a sentence for each label whose positives are too few to promise the recall."""
    found = {}
    shares = effective_share(labels, groups)
    for name, label, share in zip(names, labels.T, shares, strict=True):
        positives = int((label > 0).sum())
        most = recall_bound(positives * share, positives * share, confidence)
        if most < bound:
            found[name] = (
                f"its {positives} positives can promise a recall of {most:.2f} at most with "
                f"{confidence:.0%} confidence, not {bound:g}; its threshold finds all of them"
            )
    return found
