"""The guide's losses on a stack's logits, unreduced and pure.

All three are one formula: focal loss with gamma = 0 is weighted cross-entropy, and with unit
weights plain cross-entropy. So members with different loss types share a stack as tensors.
"""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812 (torch's own name for it)


def bce(logits: Tensor, targets: Tensor) -> Tensor:
    """Binary cross-entropy per row and label, in nats; any shape, unreduced.

    `targets` hold 0.0 or 1.0. Equals torch.nn.functional.binary_cross_entropy_with_logits.
    """
    return -F.logsigmoid(torch.where(targets > 0, logits, -logits))


def weighted_bce(logits: Tensor, targets: Tensor, *, pos_weight: Tensor) -> Tensor:
    """Cross-entropy in which a positive counts `pos_weight` (broadcastable to the logits) times.

    Equals torch.nn.functional.binary_cross_entropy_with_logits with the same pos_weight.
    """
    return torch.where(targets > 0, pos_weight, 1.0) * bce(logits, targets)


def focal_loss(logits: Tensor, targets: Tensor, *, gamma: Tensor, pos_weight: Tensor) -> Tensor:
    """Binary focal loss per row and label; gamma = 0 is weighted cross-entropy.

    Shapes (K members, B rows, L labels):
        logits      (K, B, L)  raw scores
        targets     (K, B, L)  0.0 or 1.0
        gamma       (K, 1, 1)  focusing exponent, >= 0
        pos_weight  (K, 1, L)  weight of a positive, > 0
        returns     (K, B, L)  nats, unreduced

    Source: Lin et al. 2017, arXiv:1708.02002, eq. 5, with alpha as torch's pos_weight.
    """
    signed = torch.where(targets > 0, logits, -logits)
    weight = torch.where(targets > 0, pos_weight, 1.0)
    focus = torch.exp(gamma * F.logsigmoid(-signed))  # (1 - p_t)**gamma, safe for large logits
    return -weight * focus * F.logsigmoid(signed)


def sides(
    targets: Tensor, *, pos_weight: Tensor, smoothing: Tensor | None
) -> list[tuple[Tensor, Tensor]]:
    """Return what `focal_slope` needs of the targets: signs and signed weights, shaped as they are.

    A positive has the sign -1 and the weight -pos_weight, a negative 1 and 1. A smoothed target has
    two sides, itself and its opposite, each with its share of the weight; see `smooth`.
    """
    signs, weights = 1 - 2 * targets, torch.where(targets > 0, -pos_weight, 1.0)
    if smoothing is None:
        return [(signs, weights)]
    opposite = torch.where(targets > 0, 1.0, -pos_weight)
    return [(signs, weights * (1 - smoothing / 2)), (-signs, opposite * (smoothing / 2))]


def focal_slope(logits: Tensor, signs: Tensor, weights: Tensor, *, gamma: Tensor) -> Tensor:
    """Derivative of `focal_loss` by the logits; shapes as there, signs and weights from `sides`.

    With q the probability of the wrong class, the loss w q^g (-log(1 - q)) has the slope
    +-w q^g (q + g (1 - q) (-log(1 - q))).
    """
    wrong = logits * signs  # the logit of the class that is not the target
    nats = F.softplus(wrong)  # -log(1 - q)
    q = torch.sigmoid(wrong)
    focus = torch.exp(gamma * (wrong - nats))
    hard = torch.addcmul(nats, q, nats, value=-1)  # (1 - q) nats
    return torch.addcmul(q, hard, gamma).mul_(focus).mul_(weights)


def smooth(
    of_target: Callable[[Tensor], Tensor], targets: Tensor, smoothing: Tensor | None
) -> Tensor:
    """Return a loss, or its slope, against smoothed targets t (1 - s) + s / 2; None is s = 0.

    A loss is linear in its target, so this mixes the losses `of_target` of both hard targets, with
    s = `smoothing` (K, 1, L). Source: Szegedy et al. 2016, arXiv:1512.00567, sec. 7, two classes.
    """
    if smoothing is None:
        return of_target(targets)
    half = smoothing / 2
    return (1 - half) * of_target(targets) + half * of_target(1 - targets)
