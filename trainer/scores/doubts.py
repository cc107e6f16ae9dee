"""Labels whose decisions nobody should rely on, and why, in plain words."""

import numpy as np
import torch
from torch import Tensor

from trainer.scores.bootstrap import Interval, intervals
from trainer.scores.metrics import Counts
from trainer.scores.promise import broken_promises
from trainer.scores.selection import Resamples
from trainer.scores.thresholds import ThresholdMetric

LEAST_POSITIVES = 30  # outside the test rows


def doubts(
    held_out: Tensor,
    labels: Tensor,
    groups: np.ndarray | None,
    names: tuple[str, ...],
    positives: list[int],
    metric: ThresholdMetric,
) -> dict[str, str]:
    """Return a sentence for each label that is doubtful.

    Doubtful is a label whose average precision on held-out rows is not above its prevalence, by the
    95 % bootstrap interval of the difference, or that has under 30 positives outside the test rows,
    or too few for the recall that `metric` promises.

    Shapes (V rows, L labels): held_out (V, L) float32, labels (V, L) 0 or 1, groups (V,) codes or
    None; `positives` counts those of each label outside the test rows.
    """
    gains = _gains_over_chance(held_out, labels, groups)
    found = {}
    for i, name in enumerate(names):
        if positives[i] < LEAST_POSITIVES:
            found[name] = (
                f"it has {positives[i]} positives outside the test rows; under {LEAST_POSITIVES}, "
                "neither its threshold nor its scores can be relied on"
            )
        elif not gains[i][0] > 0:
            low, high = gains[i]
            found[name] = (
                "on rows held out from training it is not ranked better than by chance: average "
                f"precision minus prevalence is {low:.3f} to {high:.3f} (95 % interval)"
            )
    if metric.promise is not None:
        broken = broken_promises(labels.numpy(), groups, names, *metric.promise)
        found = {**broken, **found}
    return found


def _gains_over_chance(
    held_out: Tensor, labels: Tensor, groups: np.ndarray | None
) -> list[Interval]:
    """Return each label's interval of average precision minus prevalence."""
    resamples = Resamples(labels, groups)
    everyone = torch.ones_like(labels, dtype=torch.bool)
    prevalence, _ = resamples.decided(everyone, Counts.precision)
    precision, _ = resamples.average_precision(held_out)
    return intervals((precision - prevalence).T)
