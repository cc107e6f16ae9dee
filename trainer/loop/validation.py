"""What runs are worth on the rows held out from their folds, and thresholds chosen there."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from trainer.config import TrainConfig
from trainer.scores.evaluation import Evaluation, evaluate
from trainer.scores.metrics import Counts, Ranking, average_precision, confusion, rank, roc_auc
from trainer.scores.thresholds import (
    CrossFitted,
    ThresholdMetric,
    best_thresholds,
    cross_fit,
    parse_threshold_metric,
    shrunk_labels,
)
from trainer.stack.tensors import TrainingData

FIXED_THRESHOLD = 0.5
ROWS_IN_CACHE = 16384  # of all runs that are scored at once


@dataclass(frozen=True)
class Validation:
    """Scores of K runs; those that need decisions are cross-fitted.

    `macro` maps a score's name to (K,) float64, the mean over the labels: macro_f1, macro_recall,
    macro_precision, balanced_accuracy, average_precision, roc_auc; tuned_macro_f1 is the flattering
    one, with thresholds chosen on the very rows they are scored on; loss is each run's own.
    `f1` and `predicted_share` are (K, L) float64; `held_out` (K, V, L) are the probabilities, and
    `thresholds` (K, L, F) those of each cross-fold's rows.
    """

    macro: Mapping[str, Tensor]
    f1: Tensor
    predicted_share: Tensor
    held_out: Tensor
    thresholds: Tensor

    def decisions(self, k: int, cross_fold: Tensor) -> Tensor:
        """Return the k-th run's decisions, each row's by its fold's thresholds; (V, L) bool."""
        return self.held_out[k] >= self.thresholds[k].T[cross_fold]


def validate(
    probabilities: Tensor, losses: Tensor, data: TrainingData, config: TrainConfig
) -> Validation:
    """Score K runs by their probabilities of the pool (K, V, L); `losses` (K,) are passed on.

    The runs share their `decision_key`, for which `config` is asked. On a CPU, of many rows as many
    runs are scored at once as stay in its cache.
    """
    at_once = len(probabilities)
    if probabilities.device.type == "cpu":
        at_once = max(1, ROWS_IN_CACHE // probabilities.shape[1])
    parts = [
        _scores(of_runs, loss, data, config)
        for of_runs, loss in zip(
            torch.split(probabilities, at_once), torch.split(losses, at_once), strict=True
        )
    ]
    return Validation(
        macro={name: torch.cat([part.macro[name] for part in parts]) for name in parts[0].macro},
        f1=torch.cat([part.f1 for part in parts]),
        predicted_share=torch.cat([part.predicted_share for part in parts]),
        held_out=probabilities,
        thresholds=torch.cat([part.thresholds for part in parts]),
    )


def _scores(
    probabilities: Tensor, losses: Tensor, data: TrainingData, config: TrainConfig
) -> Validation:
    ranking = rank(probabilities, data.y_validation, data.cross_fold)
    metric = threshold_metric(config, data)
    thresholds = choose_thresholds(ranking, metric, optimize=config.optimize_thresholds)
    tuned = confusion(probabilities, data.y_validation, thresholds)
    fitted = CrossFitted(thresholds[..., None].expand(-1, -1, ranking.n_folds), tuned)
    if config.optimize_thresholds:
        fitted = cross_fit(ranking, metric)
    return Validation(
        macro={
            "loss": losses,
            "tuned_macro_f1": tuned.f_beta().mean(1),
            "average_precision": average_precision(ranking).mean(1),
            "roc_auc": roc_auc(ranking).mean(1),
            **decision_scores(fitted.counts),
        },
        f1=fitted.counts.f_beta(),
        predicted_share=fitted.counts.predicted_share(),
        held_out=probabilities,
        thresholds=fitted.thresholds,
    )


def threshold_metric(config: TrainConfig, data: TrainingData) -> ThresholdMetric:
    """Return what a config chooses thresholds by, on the pool's rows and their groups."""
    return parse_threshold_metric(config.threshold_metric).for_rows(data.effective_share)


def decision_scores(counts: Counts) -> dict[str, Tensor]:
    """Return the mean over labels of each score that needs decisions, (K,) float64."""
    return {
        "macro_f1": counts.f_beta().mean(1),
        "macro_recall": counts.recall().mean(1),
        "macro_precision": counts.precision().mean(1),
        "balanced_accuracy": counts.balanced_accuracy().mean(1),
    }


def choose_thresholds(ranking: Ranking, metric: ThresholdMetric, *, optimize: bool) -> Tensor:
    """Return thresholds (K, L) float32: the exact optimum on the ranked rows, or 0.5."""
    if optimize:
        return best_thresholds(ranking, metric)
    return torch.full(
        ranking.keys.shape[:2], FIXED_THRESHOLD, dtype=torch.float32, device=ranking.keys.device
    )


def cross_fitted_decisions(
    probabilities: Tensor, data: TrainingData, config: TrainConfig
) -> Tensor:
    """Decide the pool's rows by thresholds chosen on the other cross-folds, (V, L) bool.

    `probabilities` (V, L) are on the CPU. Where the config does not optimise thresholds, they are
    0.5.
    """
    if not config.optimize_thresholds:
        return probabilities >= FIXED_THRESHOLD
    cross_fold = data.cross_fold.cpu()
    ranking = rank(probabilities[None], data.y_validation.cpu(), cross_fold)
    chosen = cross_fit(ranking, threshold_metric(config, data)).thresholds[0]
    return probabilities >= chosen.T[cross_fold]


@dataclass(frozen=True)
class Thresholds:
    """A threshold for each label, and scores whose decisions are cross-fitted.

    `shrunk` names the labels whose thresholds lean on the pooled labels for want of positives.
    """

    thresholds: dict[str, float]
    evaluation: Evaluation
    shrunk: tuple[str, ...]


def fit_thresholds(probabilities: Tensor, data: TrainingData, config: TrainConfig) -> Thresholds:
    """Choose thresholds on the pool's rows as the config says and score them by cross-fitting.

    `probabilities` (V, L) float32 are on the CPU. Where the config does not optimise thresholds,
    they are 0.5 and scored as they are.
    """
    optimize, names, labels = config.optimize_thresholds, data.labels, data.y_validation.cpu()
    ranking = rank(probabilities[None], labels, data.cross_fold.cpu())
    metric = threshold_metric(config, data)
    thresholds = choose_thresholds(ranking, metric, optimize=optimize)[0]
    counts = cross_fit(ranking, metric).counts if optimize else None
    few = shrunk_labels(ranking, metric).tolist() if optimize else [False] * len(names)
    return Thresholds(
        thresholds=dict(zip(names, thresholds.tolist(), strict=True)),
        evaluation=evaluate(probabilities, labels, thresholds, names, counts=counts),
        shrunk=tuple(name for name, is_few in zip(names, few, strict=True) if is_few),
    )
