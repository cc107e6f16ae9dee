"""Thresholds chosen on held-out rows, and the honest scores that go with them."""

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from trainer.config import TrainConfig
from trainer.loop.validation import choose_thresholds
from trainer.scores.evaluation import Evaluation, evaluate
from trainer.scores.metrics import rank
from trainer.scores.thresholds import cross_fitted_counts, parse_threshold_metric, shrunk_labels


@dataclass(frozen=True)
class Judgement:
    """A threshold for each label, and scores whose decisions are cross-fitted.

    `shrunk` names the labels whose thresholds lean on the pooled labels for want of positives.
    """

    thresholds: dict[str, float]
    evaluation: Evaluation
    shrunk: tuple[str, ...]


def judge(
    probabilities: Tensor, labels: Tensor, folds: Tensor, names: Sequence[str], config: TrainConfig
) -> Judgement:
    """Choose thresholds on N rows as the config says and score the rows by cross-fitting.

    Shapes (N rows, L labels): probabilities (N, L) float32, labels (N, L) 0 or 1, folds (N,); all
    on the CPU. Where the config does not optimise thresholds, they are 0.5 and scored as they are.
    """
    optimize = config.optimize_thresholds
    ranking = rank(probabilities[None], labels, folds)
    metric = parse_threshold_metric(config.threshold_metric)
    thresholds = choose_thresholds(ranking, metric, optimize=optimize)[0]
    counts = cross_fitted_counts(ranking, metric) if optimize else None
    few = shrunk_labels(ranking).tolist() if optimize else [False] * len(names)
    return Judgement(
        thresholds=dict(zip(names, thresholds.tolist(), strict=True)),
        evaluation=evaluate(probabilities, labels, thresholds, names, counts=counts),
        shrunk=tuple(name for name, is_few in zip(names, few, strict=True) if is_few),
    )
