"""Probabilities that can be taken at their word: beta calibration, label by label.

Weighted losses and sampling make positives look far more frequent than they are. Three numbers of a
label undo that:

    logit(calibrated) = a ln(p) - b ln(1 - p) + c,    a >= 0, b >= 0

They are fitted on predictions for rows held out from training. The curve never falls, so that a
threshold moves along with the probabilities and decides every row as it did before.

Source: Kull, Silva Filho and Flach 2017, doi:10.1214/17-EJS1338SI. The maximum of the likelihood is
theirs, but for a weak pull of a and b to 1, where a probability stays what it is: it decides where
rows are few, or where positives and negatives are wholly apart and no maximum exists.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from trainer.scores.logistic import logistic_regression

LEAST, MOST = 2.0**-40, 1 - 2.0**-25  # a probability beyond is taken as this one
PULL = 0.1  # precision of the prior of a and of b: a standard deviation of about 3
DIGITS = 6  # of a threshold that is handed out
LEAST_THRESHOLD, MOST_THRESHOLD = 1e-30, 0.999999


@dataclass(frozen=True)
class Calibration:
    """One label's curve; the default leaves every probability as it is."""

    a: float = 1.0
    b: float = 1.0
    c: float = 0.0


class Calibrated(NamedTuple):
    """What is handed out: probabilities (N, L) float32, and thresholds of L labels, in [0, 1].

    `probability >= threshold` decides each row as the raw ones do, also when both have been written
    as decimal numbers and read again, in float32 or float64.
    """

    probabilities: Tensor
    thresholds: list[float]


def fit_calibrations(probabilities: Tensor, labels: Tensor) -> list[Calibration]:
    """Fit the curve of each label; shapes (V rows, L labels): both (V, L), labels 0 or 1.

    A label with one value only keeps its probabilities. Where a or b would be negative it is 0 and
    the others are fitted again; with both at 0, where probabilities rank the rows upside down, each
    row gets the label's share of positives.
    """
    return [_fit(x, y) for x, y in zip(_columns(probabilities), labels.T > 0, strict=True)]


def cross_fitted(probabilities: Tensor, labels: Tensor, cross_fold: Tensor) -> Tensor:
    """Return the pool's probabilities by curves fitted on the other cross-folds, (V, L) float64.

    Shapes (V rows, L labels): probabilities and labels (V, L), cross_fold (V,).
    """
    found = torch.empty(probabilities.shape, dtype=torch.float64)
    for fold in torch.unique(cross_fold):
        left_out = cross_fold == fold
        fitted = fit_calibrations(probabilities[~left_out], labels[~left_out])
        found[left_out] = calibrate(probabilities[left_out], fitted)
    return found


def calibrate(probabilities: Tensor, calibrations: Sequence[Calibration]) -> Tensor:
    """Return calibrated probabilities (N, L) float64 of raw ones (N, L), a curve for each label.

    The rows beside a row do not change its bits, as they would within torch.sigmoid.
    """
    a, b, c = (
        torch.tensor([getattr(one, name) for one in calibrations], dtype=torch.float64)
        for name in ("a", "b", "c")
    )
    p = probabilities.double().clamp(LEAST, MOST)
    return 1 / (1 + torch.exp(b * torch.log1p(-p) - a * p.log() - c))


def calibrated_thresholds(thresholds: Tensor, calibrations: Sequence[Calibration]) -> list[float]:
    """Return where the raw thresholds (L,) come to lie, in six digits, that can be typed."""
    moved = calibrate(thresholds[None], calibrations)[0].clamp(LEAST_THRESHOLD, MOST_THRESHOLD)
    return [float(f"{one:.{DIGITS}g}") for one in moved.tolist()]


def calibrated(
    probabilities: Tensor, thresholds: Tensor, calibrations: Sequence[Calibration]
) -> Calibrated:
    """Return raw probabilities and thresholds as they are handed out.

    Between them lies the float32 that is nearest to the threshold, which no row gets: so neither
    rounding nor ties can carry a row across.

    Shapes (N rows, L labels): probabilities (N, L) float32, thresholds (L,) float32.
    """
    moved = calibrated_thresholds(thresholds, calibrations)
    cut = torch.tensor(moved, dtype=torch.float32)
    above, below = (torch.nextafter(cut, torch.full_like(cut, end)) for end in (1.0, 0.0))
    found = calibrate(probabilities, calibrations).float()
    decided = probabilities >= thresholds
    return Calibrated(torch.where(decided, found.maximum(above), found.minimum(below)), moved)


def _columns(probabilities: Tensor) -> Tensor:
    """Return ln(p), -ln(1 - p) and 1 of each label's rows, (L, V, 3) float64."""
    p = probabilities.T.double().clamp(LEAST, MOST)
    return torch.stack([p.log(), -torch.log1p(-p), torch.ones_like(p)], dim=-1)


def _fit(columns: Tensor, positive: Tensor) -> Calibration:
    """Fit one label's curve: the best that has no negative a or b. The loss is convex."""
    if bool(positive.all()) or not bool(positive.any()):
        return Calibration()
    whole = _with(columns, positive, [0, 1])
    if whole is None or min(whole.a, whole.b) >= 0:
        return whole or Calibration()
    sides = [_with(columns, positive, [0]), _with(columns, positive, [1])]
    possible = [one for one in sides if one is not None and min(one.a, one.b) >= 0]
    if possible:
        return min(possible, key=lambda one: _loss(columns, positive, one))
    return _with(columns, positive, []) or Calibration()


def _with(columns: Tensor, positive: Tensor, free: list[int]) -> Calibration | None:
    """Fit c and the free ones of a (0) and b (1); the other is 0."""
    pull = torch.tensor([*[PULL] * len(free), 0.0], dtype=torch.float64)
    found = logistic_regression(columns[:, [*free, 2]], positive, pull)
    if found is None:
        return None
    values = dict(zip(["ab"[i] for i in free] + ["c"], found.tolist(), strict=True))
    return Calibration(**{"a": 0.0, "b": 0.0, **values})


def _loss(columns: Tensor, positive: Tensor, one: Calibration) -> float:
    logit = columns @ torch.tensor([one.a, one.b, one.c], dtype=torch.float64)
    likelihood = (torch.nn.functional.softplus(logit) - positive * logit).sum()
    return float(likelihood) + PULL * ((one.a - 1) ** 2 + (one.b - 1) ** 2) / 2
