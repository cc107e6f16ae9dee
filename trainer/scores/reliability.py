"""How far probabilities can be taken at their word, and what acting on them is worth."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from trainer.scores.calibration import LEAST, MOST
from trainer.scores.logistic import logistic_regression

MAX_BINS = 10
POSITIVES_PER_BIN = 10
CURVE_POINTS = 60  # of a decision curve
TIMES_PREVALENCE = 3  # how far a decision curve reaches
MEAN_OF_HALF_NORMAL = (2 / np.pi) ** 0.5


@dataclass(frozen=True)
class Reliability:
    """Probabilities against what was observed, in bins of about equally many rows, B of them.

    Shapes: predicted (B,) mean probability, observed (B,) share of positives, rows (B,) int64.
    """

    predicted: np.ndarray
    observed: np.ndarray
    rows: np.ndarray

    @property
    def error(self) -> float:
        """Expected calibration error. Source: Naeini et al. 2015, doi:10.1609/aaai.v29i1.9602."""
        return float(np.average(np.abs(self.predicted - self.observed), weights=self.rows))

    @property
    def error_by_chance(self) -> float:
        """About what `error` comes to where every probability is right, on so many rows."""
        spread = np.sqrt(self.predicted * (1 - self.predicted) / self.rows)
        return float(np.average(MEAN_OF_HALF_NORMAL * spread, weights=self.rows))


def reliability(probabilities: Tensor, labels: Tensor) -> Reliability:
    """Bin one label's rows by quantiles of its probabilities, about ten positives to a bin.

    Shapes (N rows): probabilities (N,), labels (N,) 0 or 1. There are 2 to 10 bins, fewer where
    ties leave one empty; bins are those of scikit-learn's calibration_curve(strategy="quantile").
    """
    p, y = probabilities.double().numpy(), labels.numpy() > 0
    n_bins = int(np.clip(y.sum() // POSITIVES_PER_BIN, 2, MAX_BINS))
    edges = np.quantile(p, np.linspace(0, 1, n_bins + 1))[1:-1]
    place = np.searchsorted(edges, p)
    rows = np.bincount(place, minlength=n_bins)
    filled = rows > 0
    totals = [np.bincount(place, weights=w, minlength=n_bins)[filled] for w in (p, y)]
    rows = rows[filled]
    return Reliability(totals[0] / rows, totals[1] / rows, rows)


@dataclass(frozen=True)
class CalibrationScores:
    """How right one label's probabilities are on N rows; where undefined, nan.

    `brier` is their mean squared error, `calibration_error` their mean distance from the observed
    share over the bins of `reliability`, and `error_by_chance` about what that error comes to where
    every probability is right. `slope` and `intercept` are those of labels over logit(probability),
    1 and 0 where it is right: a slope below 1 means that probabilities lie too far apart.
    """

    mean_probability: float
    brier: float
    calibration_error: float
    error_by_chance: float
    slope: float
    intercept: float


def calibration_scores(probabilities: Tensor, labels: Tensor) -> CalibrationScores:
    """Score one label's probabilities; shapes (N rows): probabilities (N,), labels (N,) 0 or 1.

    Slope and intercept are undefined where labels or probabilities have one value only, or a
    probability parts positives from negatives. Source: Cox 1958, doi:10.1093/biomet/45.3-4.562.
    """
    p, positive = probabilities.double(), labels > 0
    bins = reliability(p, labels)
    intercept, slope = _logistic_line(p.clamp(LEAST, MOST).logit(), positive)
    return CalibrationScores(
        mean_probability=float(p.mean()),
        brier=float((p - positive.double()).square().mean()),
        calibration_error=bins.error,
        error_by_chance=bins.error_by_chance,
        slope=slope,
        intercept=intercept,
    )


def before_and_after(
    raw: Tensor, calibrated: Tensor, labels: Tensor, names: Sequence[str]
) -> dict[str, dict[str, dict[str, Any]]]:
    """Return each label's CalibrationScores `before` and `after` calibration, as plain JSON types.

    Shapes (N rows, L labels): raw, calibrated and labels (N, L).
    """
    return {
        name: {
            "before": asdict(calibration_scores(raw[:, i], labels[:, i])),
            "after": asdict(calibration_scores(calibrated[:, i], labels[:, i])),
        }
        for i, name in enumerate(names)
    }


def _logistic_line(x: Tensor, positive: Tensor) -> tuple[float, float]:
    """Return intercept and slope of the labels' log-odds over x; nan where there is no such line.

    Where x parts the labels there is none, though rounding lets the steps towards it end.
    """
    if bool(positive.all()) or not bool(positive.any()) or _parts(x, positive):
        return np.nan, np.nan
    columns = torch.stack([torch.ones_like(x), x], dim=-1)
    found = logistic_regression(columns, positive, torch.zeros(2, dtype=torch.float64))
    if found is None:
        return np.nan, np.nan
    intercept, slope = found.tolist()
    return intercept, slope


def _parts(x: Tensor, positive: Tensor) -> bool:
    """Whether all positives lie at or above all negatives, or all at or below them."""
    of_positives, of_negatives = x[positive], x[~positive]
    return bool(of_positives.min() >= of_negatives.max()) or bool(
        of_positives.max() <= of_negatives.min()
    )


@dataclass(frozen=True)
class DecisionCurve:
    """What it is worth to act on rows from each threshold probability on, T of them.

    Each of `thresholds`, `treat_all` and of the values of `net_benefit` has shape (T,). A net
    benefit counts true positives a row, and takes off false ones at the threshold's odds; to act on
    no row is worth 0.
    """

    thresholds: list[float]
    treat_all: list[float]
    net_benefit: dict[str, list[float]]


def decision_curve(probabilities: dict[str, Tensor], labels: Tensor) -> DecisionCurve:
    """Return net benefits up to three times the prevalence, at most 0.99.

    Shapes (N rows): each of `probabilities` by its name, and labels, (N,).
    Source: Vickers and Elkin 2006, doi:10.1177/0272989X06295361.
    """
    prevalence = float((labels > 0).double().mean())
    top = min(TIMES_PREVALENCE * max(prevalence, 1 / len(labels)), 0.99)
    thresholds = np.linspace(top / CURVE_POINTS, top, CURVE_POINTS)
    odds = thresholds / (1 - thresholds)
    return DecisionCurve(
        thresholds=thresholds.tolist(),
        treat_all=(prevalence - (1 - prevalence) * odds).tolist(),
        net_benefit={
            name: net_benefit(p, labels, thresholds).tolist() for name, p in probabilities.items()
        },
    )


def net_benefit(probabilities: Tensor, labels: Tensor, thresholds: np.ndarray) -> np.ndarray:
    """Return the net benefit (T,) of acting where a probability (N,) reaches a threshold (T,)."""
    p, positive = probabilities.double().numpy(), labels.numpy() > 0
    true, reached = (
        len(values) - np.searchsorted(np.sort(values), thresholds) for values in (p[positive], p)
    )
    net: np.ndarray = (true - (reached - true) * thresholds / (1 - thresholds)) / len(p)
    return net
