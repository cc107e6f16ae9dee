"""What a stack is worth on the validation rows, member by member, after each epoch."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from trainer.scores.metrics import Counts, Ranking, average_precision, confusion, rank, roc_auc
from trainer.scores.thresholds import (
    ThresholdMetric,
    best_thresholds,
    cross_fitted_counts,
    parse_threshold_metric,
)
from trainer.stack.stack import Stack, member_losses
from trainer.stack.tensors import TrainingData
from trainer.steps.inference import predict_logits

FIXED_THRESHOLD = 0.5


@dataclass(frozen=True)
class Validation:
    """Scores of K members; those that need decisions are cross-fitted.

    `macro` maps a score's name to (K,) float64, the mean over the labels: macro_f1, macro_recall,
    macro_precision, balanced_accuracy, average_precision, roc_auc; tuned_macro_f1 is the flattering
    one, with thresholds chosen on the very rows they are scored on; loss is each member's own.
    `f1` and `predicted_share` are (K, L) float64.
    """

    macro: Mapping[str, Tensor]
    f1: Tensor
    predicted_share: Tensor


def validate(stacks: Sequence[Stack], data: TrainingData) -> Validation:
    """Score every member of some stacks on the validation rows, K of them in all.

    They must share their `decision_key`.
    """
    logits = [predict_logits(stack.parameters, stack.shape, data.x_validation) for stack in stacks]
    losses = [
        member_losses(of_stack[k : k + 1], data.y_validation[None], stack, slice(k, k + 1))
        for stack, of_stack in zip(stacks, logits, strict=True)
        for k in range(len(stack))
    ]
    probabilities = torch.stack([torch.sigmoid(m) for of_stack in logits for m in of_stack])
    ranking = rank(probabilities, data.y_validation, data.folds)
    first = stacks[0].configs[0]
    metric = parse_threshold_metric(first.threshold_metric)
    thresholds = choose_thresholds(ranking, metric, optimize=first.optimize_thresholds)
    tuned = confusion(probabilities, data.y_validation, thresholds)
    fitted = cross_fitted_counts(ranking, metric) if first.optimize_thresholds else tuned
    return Validation(
        macro={
            "loss": torch.cat(losses).double(),
            "tuned_macro_f1": tuned.f_beta().mean(1),
            "average_precision": average_precision(ranking).mean(1),
            "roc_auc": roc_auc(ranking).mean(1),
            **decision_scores(fitted),
        },
        f1=fitted.f_beta(),
        predicted_share=fitted.predicted_share(),
    )


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
