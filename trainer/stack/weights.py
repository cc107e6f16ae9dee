"""How much a rare positive counts: in the loss (class weights) or in the draw of rows (sampling).

Both take the labels of the training rows alone, shape (N rows, L labels), and know nothing else.
A row is called positive if any of its labels is.

Source: docs/aggressive-training.md, "Weighted Sampling" and "Aggressive Class Weights".
"""

import torch
from torch import Tensor

from trainer.config import ClassWeightMethod, WeightMethod
from trainer.errors import ConfigError


def class_weights(labels: Tensor, method: ClassWeightMethod, multiplier: float) -> Tensor:
    """Weight of a positive in the loss, label by label; a negative weighs 1.

        none             1
        balanced         n / (2 n_pos)
        inverse          n_neg / n_pos
        aggressive       3 n_neg / n_pos
        very_aggressive  5 n_neg / n_pos

    Shapes (N rows, L labels):
        labels      (N, L)  0 or 1, any dtype
        multiplier  scalar, > 0; scales every method, none included
        returns     (L,)    float32, > 0

    Raises ConfigError if a label has one value only (any method but none).
    """
    if method == "none":
        return torch.full((labels.shape[1],), multiplier, device=labels.device)
    n_pos, n_neg = _label_counts(labels, f"class_weight_method {method!r}")
    match method:
        case "balanced":
            weights = (n_pos + n_neg) / (2 * n_pos)
        case "inverse":
            weights = n_neg / n_pos
        case "aggressive":
            weights = 3 * n_neg / n_pos
        case "very_aggressive":
            weights = 5 * n_neg / n_pos
    return (multiplier * weights).float()


def sampling_weights(labels: Tensor, method: WeightMethod) -> Tensor:
    """Relative chance of each row to be drawn, with replacement; a negative row has 1.

    A positive row has, with n rows, n_pos of them positive and n_neg not:

        none          1
        balanced      n / (2 n_pos)
        inverse       n_neg / n_pos
        inverse_sqrt  (n_neg / n_pos) ** 0.5
        aggressive    5 n_neg / n_pos
        per_class     3 times the n_neg / n_pos of the rarest label

    Where all rows are positive, or none is, nothing can be balanced and every row has 1.

    Shapes (N rows, L labels):
        labels   (N, L)  0 or 1, any dtype
        returns  (N,)    float64, > 0

    Raises ConfigError if a label has one value only (per_class alone).
    """
    positive = (labels > 0).any(dim=1)
    n_rows, n_pos = len(positive), int(positive.sum())
    n_neg = n_rows - n_pos
    weight = 1.0
    if n_pos and n_neg:
        match method:
            case "balanced":
                weight = n_rows / (2 * n_pos)
            case "inverse":
                weight = n_neg / n_pos
            case "inverse_sqrt":
                weight = (n_neg / n_pos) ** 0.5
            case "aggressive":
                weight = 5 * n_neg / n_pos
            case "per_class":
                label_pos, label_neg = _label_counts(labels, "weight_method 'per_class'")
                weight = 3 * float((label_neg / label_pos).max())
    return torch.where(positive, weight, 1.0).double()


def _label_counts(labels: Tensor, setting: str) -> tuple[Tensor, Tensor]:
    """Positives and negatives of each label, both (L,) float64 and at least 1."""
    n_pos = (labels > 0).sum(dim=0).double()
    n_neg = len(labels) - n_pos
    for value, count in ((1, n_pos), (0, n_neg)):
        if missing := (count == 0).nonzero().flatten().tolist():
            raise ConfigError(
                f"{setting} needs both values of each label in the training rows, label number "
                f"{missing[0] + 1} (in the order of --label) has no {value}; remove it from "
                "--label, split with another --seed, or set the method to 'none'"
            )
    return n_pos, n_neg
