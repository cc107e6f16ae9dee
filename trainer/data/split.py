"""Rows into train, validation and test parts (or folds), stratified over all labels at once.

A unit is a row, or a group of rows. Iterative stratification (Sechidis et al. 2011,
doi:10.1007/978-3-642-23808-6_10) deals out the units that hold a positive; those that hold none
then fill the parts up to their shares of the rows. A deal that leaves a part short of a label is
dealt again.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from trainer.errors import ConfigError, TableError

PARTS = ("train", "validation", "test")
MAX_FOLDS = 64  # times repeats
MIN_EACH = 2  # positives, and negatives, of every label in every part
DEALS = 30  # at most; with 200 labels of 20 positives every second one falls short


@dataclass(frozen=True)
class Split:
    """Row indices of the three parts: sorted int64, disjoint, together every row."""

    train: np.ndarray
    validation: np.ndarray
    test: np.ndarray


def split_rows(
    labels: np.ndarray,
    groups: np.ndarray | None,
    *,
    label_names: Sequence[str],
    val_size: float,
    test_size: float,
    seed: int,
) -> Split:
    """Split N rows; the same arguments give the same split.

    labels     (N, L) 0.0 or 1.0
    groups     (N,) int64 codes from 0, or None; a group stays in one part
    val_size   share of all rows, in (0, 1)
    test_size  share of all rows, in [0, 1); 0 leaves the test part empty

    Raises ConfigError for shares or a seed out of range, TableError when groups group nothing or
    too much, or when a part would hold under 2 positives or 2 negatives of a label.
    """
    _check_settings(val_size, test_size, seed)
    shares = np.array([1 - val_size - test_size, val_size, test_size])
    shares = shares[shares > 0]
    if groups is not None:
        _check_groups(groups, n_parts=len(shares))
    part = _deal(labels, groups, shares, seed)
    if short := _shortages(labels, part, len(shares)):
        part = _deal_again(labels, groups, shares, seed, short, label_names)
    train, validation, test = (np.flatnonzero(part == k) for k in range(len(PARTS)))
    return Split(train, validation, test)


def fold_rows(
    labels: np.ndarray, groups: np.ndarray | None, *, n_folds: int, seed: int
) -> np.ndarray:
    """Deal N rows into folds of equal share, stratified as in `split_rows`.

    labels   (N, L) 0.0 or 1.0
    groups   (N,) integer codes, or None; a group stays in one fold
    returns  (N,) int64 fold of each row, 0 to n_folds - 1

    Raises TableError when there are fewer rows, or groups, than folds.
    """
    n_units = len(labels) if groups is None else len(np.unique(groups))
    if n_units < n_folds:
        raise TableError(
            f"{n_folds} folds need at least {n_folds} {'rows' if groups is None else 'groups'}, "
            f"but there {'is' if n_units == 1 else 'are'} only {n_units} to deal; raise --val_size"
            + ("" if groups is None else ", or name a finer column with --group")
        )
    return _deal(labels, groups, np.full(n_folds, 1 / n_folds), seed)


def fold_splits(
    split: Split,
    labels: np.ndarray,
    groups: np.ndarray | None,
    *,
    label_names: Sequence[str],
    folds: int,
    repeats: int,
    seed: int,
) -> list[Split]:
    """Deal all rows but test into folds; return a Split for each, its validation rows the fold's.

    labels, groups  of all N rows of the table, as in `split_rows`
    folds           2 or more; 1 returns the split as it is
    repeats         deals of the rows, 1 or more; each row is held out once in each

    Raises ConfigError for numbers out of range, TableError when a label has fewer positives or
    negatives than folds outside the test rows, or there are fewer rows or groups than folds.
    """
    if not 1 <= folds <= MAX_FOLDS:
        raise ConfigError(f"--folds must be 1 to {MAX_FOLDS}, got {folds}; 5 is usual")
    if repeats < 1 or folds * repeats > MAX_FOLDS:
        raise ConfigError(
            f"--repeats must be 1 or more and --folds times --repeats at most {MAX_FOLDS}, got "
            f"{folds} and {repeats}"
        )
    if folds == 1:
        if repeats > 1:
            raise ConfigError(
                f"--repeats {repeats} needs --folds 2 or more: one part is not repeated"
            )
        return [split]
    rows = np.sort(np.concatenate([split.train, split.validation]))
    _check_folds(labels[rows], label_names, folds)
    own = None if groups is None else groups[rows]
    splits = []
    for repeat in range(repeats):
        fold = fold_rows(labels[rows], own, n_folds=folds, seed=seed + repeat)
        splits += [Split(rows[fold != k], rows[fold == k], split.test) for k in range(folds)]
    return splits


def _check_folds(labels: np.ndarray, label_names: Sequence[str], folds: int) -> None:
    for label, name in zip(labels.T, label_names, strict=True):
        positives = int((label > 0).sum())
        for count, kind in ((positives, "positives"), (len(label) - positives, "negatives")):
            if count < max(folds, 2 * MIN_EACH):
                raise TableError(
                    f"label column {name!r} has {count} {kind} outside the test rows, too few for "
                    f"{folds} folds; leave the label out, or give --folds 1"
                )


def _deal(
    labels: np.ndarray, groups: np.ndarray | None, shares: np.ndarray, seed: int | list[int]
) -> np.ndarray:
    """(N,) int64 part of each row, parts of the given shares (P,)."""
    random = np.random.default_rng(seed)
    if groups is None:
        return _deal_units(labels > 0, np.ones(len(labels), dtype=np.int64), shares, random)
    _, unit, sizes = np.unique(groups, return_inverse=True, return_counts=True)
    positives = np.zeros((len(sizes), labels.shape[1]), dtype=np.int64)
    np.add.at(positives, unit, labels > 0)
    # A group counts once for each of: at least 1, 2, 4, ... positives of a label.
    n_powers = int(positives.max()).bit_length()
    strata = np.hstack([positives >= 2**power for power in range(max(n_powers, 1))])
    return _deal_units(strata, sizes, shares, random)[unit]


def _deal_units(
    strata: np.ndarray, sizes: np.ndarray, shares: np.ndarray, random: np.random.Generator
) -> np.ndarray:
    """(U,) int64 part of each unit, from its strata (U, S) bool and its number of rows (U,)."""
    from iterstrat.ml_stratifiers import IterativeStratification  # slow: brings scikit-learn

    order = random.permutation(len(strata))
    holds = np.asarray(strata.any(axis=1))[order]
    some, none = order[holds], order[~holds]
    part = np.empty(len(strata), dtype=np.int64)
    part[some] = IterativeStratification(strata[some], shares, random)
    dealt = np.bincount(part[some], weights=sizes[some], minlength=len(shares))
    wanted = (shares * sizes.sum() - dealt).tolist()
    filled = []
    for size in sizes[none].tolist():
        neediest = wanted.index(max(wanted))
        wanted[neediest] -= size
        filled.append(neediest)
    part[none] = filled
    return part


def _check_settings(val_size: float, test_size: float, seed: int) -> None:
    if not 0 < val_size < 1:
        raise ConfigError(f"--val_size must be over 0 and under 1, got {val_size}; try 0.15")
    if not 0 <= test_size < 1:
        raise ConfigError(f"--test_size must be 0 or more and under 1, got {test_size}; try 0.15")
    if val_size + test_size >= 1:
        raise ConfigError(
            f"--val_size {val_size} and --test_size {test_size} leave no rows to train on; "
            "their sum must be under 1"
        )
    if seed < 0:
        raise ConfigError(f"--seed must be 0 or more, got {seed}")


def _check_groups(groups: np.ndarray, n_parts: int) -> None:
    n_groups = len(np.unique(groups))
    if n_groups == len(groups):
        raise TableError(
            f"the group column has a value of its own in each of {len(groups)} rows, so it groups "
            "nothing; leave out --group, or give the column to --id if it names rows"
        )
    if n_groups < n_parts:
        raise TableError(
            f"the group column has only {n_groups} {'group' if n_groups == 1 else 'groups'} for "
            f"{n_parts} parts; name a finer column with --group, or leave out --group"
        )


@dataclass(frozen=True)
class _Shortage:
    """A label that a part has too few positives (value 1) or negatives (0) of."""

    label: int
    value: int
    part: int
    held: int


def _shortages(labels: np.ndarray, part: np.ndarray, n_parts: int) -> list[_Shortage]:
    found = []
    for j, label in enumerate(labels.T):
        for value in (1, 0):
            held = np.bincount(part[label == value], minlength=n_parts)
            if held.min() < MIN_EACH:
                found.append(_Shortage(j, value, int(held.argmin()), int(held.min())))
    return found


def _deal_again(
    labels: np.ndarray,
    groups: np.ndarray | None,
    shares: np.ndarray,
    seed: int,
    shortages: Sequence[_Shortage],
    label_names: Sequence[str],
) -> np.ndarray:
    """(N,) int64 part of each row, of the next deal that leaves no part short.

    Raises TableError with the rarest that the first deal was short of when there is no such deal.
    """

    def rows_of(short: _Shortage) -> np.ndarray:
        return np.flatnonzero(labels[:, short.label] == short.value)

    short = min(shortages, key=lambda short: len(rows_of(short)))
    rows = rows_of(short)
    units = rows if groups is None else np.unique(groups[rows])
    possible = len(rows) >= MIN_EACH * len(shares) and len(units) >= len(shares)
    for deal in range(1, DEALS) if possible else ():
        part = _deal(labels, groups, shares, [seed, deal])
        if not _shortages(labels, part, len(shares)):
            return part
    kind = "positives" if short.value else "negatives"
    among = "" if groups is None else f" in {len(units)} groups"
    needed = int(np.ceil(MIN_EACH / shares.min()))
    if not possible or len(units) < needed:
        advice = f"some {needed} would do: leave the label out, or"
    else:
        advice = f"{DEALS - 1} other deals fell short too: leave the rarest labels out, or"
    raise TableError(
        f"label column {label_names[short.label]!r} has {len(rows)} {kind}{among}, and the "
        f"{PARTS[short.part]} part got {short.held} where {MIN_EACH} are needed; {advice} raise "
        "the smaller of --val_size and --test_size"
    )
