"""The best trial's validated macro-F1, corrected for having been chosen among all trials.

Each trial's scores over the draws have its choice of an epoch in them already.
"""

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from search.store.records import TrialRecord, complete
from trainer.scores.selection import Corrected, corrected_best


def corrected_macro_f1(trials: Sequence[TrialRecord]) -> Corrected | None:
    """Return what the best trial's macro-F1 is worth, chosen among the complete trials.

    None where the best trial has no resampled scores, as in studies of earlier versions, or they
    are undefined.
    """
    ranked = complete(trials)
    if not ranked or not ranked[0].resampled:
        return None
    size = len(ranked[0].resampled["drawn"])
    alike = [one.resampled for one in ranked if len(one.resampled.get("drawn", ())) == size]
    drawn = torch.stack([_scores(one["drawn"]) for one in alike])
    left_out = torch.stack([_scores(_macro_f1(one)) for one in alike])
    found = corrected_best(drawn, left_out)
    return found if math.isfinite(found.value) else None


def validated_sentence(
    uncorrected: float, corrected: Corrected | None, trials: int, objective: str
) -> str:
    """Say what the best trial's validated macro-F1 is worth; `objective` is in words."""
    if corrected is None:
        return (
            f"The validated macro-F1 is {uncorrected:.4f}. The trial was chosen as the best of "
            f"{trials} by validated {objective}, so that score is too high on average; a test "
            "score is not."
        )
    low, high = corrected.interval
    return (
        f"The validated macro-F1 is {corrected.value:.4f} ({low:.3f} to {high:.3f}), corrected for "
        f"choosing the best of {trials} trials by {objective}; the uncorrected maximum is "
        f"{uncorrected:.4f}."
    )


def _macro_f1(resampled: Mapping[str, Sequence[float]]) -> Sequence[float]:
    """Return macro-F1 on the rows left out, whatever the objective."""
    return resampled.get("macro_f1", resampled["left_out"])


def _scores(stored: Sequence[float]) -> Tensor:
    """Return stored scores (R,), nan where they are undefined."""
    scores = torch.tensor(stored, dtype=torch.float64)
    return torch.where(scores < 0, torch.nan, scores)
