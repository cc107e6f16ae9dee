"""The baselines: what one would try without raretune, a model for each label.

None has class weights, as thresholds are tuned anyway, and none searches its settings: each has a
fixed number of rounds, chosen for tables of some thousand rows with few positives. So the time of a
fit is known: histogram gradient boosting, the slowest that is always there, takes less than a
second of one core for a label of 11,000 rows and 130 inputs; on the nafld table, with 7 labels and
5 folds, all that scikit-learn has take some 15 s on two cores.
"""

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any, Protocol

import numpy as np

from trainer.data.features import Features


class Classifier(Protocol):
    """A classifier of scikit-learn's kind, for labels 0 and 1."""

    def fit(self, x: np.ndarray, y: np.ndarray) -> Any:
        """Fit on inputs (N, D) float32 and labels (N,)."""

    def predict_proba(self, x: np.ndarray) -> np.ndarray:
        """Return the probabilities (N, 2) of 0 and 1."""

    def get_params(self) -> Any:
        """Return its settings."""


@dataclass(frozen=True)
class Estimator:
    """A baseline: its name, how it is made of a seed, and the package it needs, if it is an extra.

    `pieces` is whether its inputs have the pieces of numbers beside their values: they let a linear
    model bend, and tell a tree nothing new.
    """

    name: str
    make: Callable[[int], Classifier]
    package: str = ""
    pieces: bool = False

    @property
    def installed(self) -> bool:
        """Whether it can be made here."""
        return not self.package or find_spec(self.package) is not None


def _prevalence(seed: int) -> Any:
    from sklearn.dummy import DummyClassifier

    return DummyClassifier(strategy="prior")


def _logistic_regression(seed: int) -> Any:
    from sklearn.linear_model import LogisticRegression

    return LogisticRegression(C=0.1, max_iter=200)


def _hist_gradient_boosting(seed: int) -> Any:
    from sklearn.ensemble import HistGradientBoostingClassifier

    return HistGradientBoostingClassifier(
        learning_rate=0.05,
        max_iter=100,
        max_leaf_nodes=8,
        max_bins=63,
        early_stopping=False,
        random_state=seed,
    )


def _lightgbm(seed: int) -> Any:
    from lightgbm import LGBMClassifier

    return LGBMClassifier(
        n_estimators=100,
        learning_rate=0.05,
        num_leaves=8,
        min_child_samples=20,
        max_bin=63,
        random_state=seed,
        deterministic=True,
        force_row_wise=True,
        n_jobs=1,
        verbose=-1,
    )


def _catboost(seed: int) -> Any:
    from catboost import CatBoostClassifier

    return CatBoostClassifier(
        iterations=200,
        learning_rate=0.05,
        depth=4,
        random_seed=seed,
        thread_count=1,
        allow_writing_files=False,
        verbose=False,
    )


ESTIMATORS = (
    Estimator("prevalence", _prevalence),
    Estimator("logistic regression", _logistic_regression, pieces=True),
    Estimator("HistGradientBoosting", _hist_gradient_boosting),
    Estimator("LightGBM", _lightgbm, package="lightgbm"),
    Estimator("CatBoost", _catboost, package="catboost"),
)


def inputs_of(estimator: Estimator, features: Features) -> np.ndarray:
    """Return which of the features' columns an estimator has as inputs, int64."""
    first = len(features.scaled)
    pieces = np.arange(first, first + len(features.piece_of))
    return np.delete(np.arange(len(features.names)), [] if estimator.pieces else pieces)


def probabilities_of(
    estimator: Estimator, seed: int, x_train: np.ndarray, y_train: np.ndarray, *others: np.ndarray
) -> list[np.ndarray]:
    """Fit on train rows (N, D) with labels (N,); return probabilities (M,) float32 of other rows.

    Where all train rows have the same label there is nothing to learn, and that label is what is
    predicted. What a library warns of is not passed on: a fit that has not fully converged is a
    baseline all the same.
    """
    if y_train.min() == y_train.max():
        return [np.full(len(x), y_train[0], dtype=np.float32) for x in others]
    classifier = estimator.make(seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        classifier.fit(x_train, y_train)
        found = [classifier.predict_proba(x)[:, 1] if len(x) else np.zeros(0) for x in others]
    return [np.clip(p, 0, 1).astype(np.float32) for p in found]
