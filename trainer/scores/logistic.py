"""Logistic regression on a handful of columns, by Newton's method in float64."""

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

STEPS, HALVINGS = 100, 40
DAMPING = 1e-9  # added to the curvature, which may vanish far out
CONVERGED = 1e-9  # a Newton step that promises less likelihood (nats, over all rows) is the last


def logistic_regression(columns: Tensor, labels: Tensor, pull: Tensor) -> Tensor | None:
    """Return the coefficients (C,) of greatest likelihood; None if they are not found.

    A coefficient is drawn to 1 as by a normal prior of precision `pull`, and not at all by 0. The
    labels hold both values. Where a column parts them and nothing is drawn, likelihood has no
    greatest value, and what is returned means nothing.

    Shapes (N rows, C columns): columns (N, C) float64, labels (N,) 0 or 1, pull (C,) float64.
    """
    y = labels.double()
    found = torch.zeros_like(pull)
    loss = _loss(found, columns, y, pull)
    for _ in range(STEPS):
        step = _newton_step(found, columns, y, pull)
        if step is None:
            return None
        direction, promised = step
        shortened = _shortened(found, direction, loss, (columns, y, pull))
        if shortened is None:
            return found if promised < CONVERGED else None
        found, loss = shortened
        if promised < CONVERGED:
            return found
    return None


def _newton_step(
    at: Tensor, columns: Tensor, y: Tensor, pull: Tensor
) -> tuple[Tensor, float] | None:
    """Return where to go from here (C,), and how much less loss that promises."""
    probability = torch.sigmoid(columns @ at)
    slope = columns.T @ (probability - y) + pull * (at - 1)
    weights = probability * (1 - probability)
    curvature = columns.T @ (columns * weights[:, None]) + torch.diag(pull + DAMPING)
    direction, failed = torch.linalg.solve_ex(curvature, -slope)
    if failed or not bool(torch.isfinite(direction).all()):
        return None
    return direction, float(-slope @ direction)


def _shortened(
    at: Tensor, direction: Tensor, loss: Tensor, case: tuple[Tensor, Tensor, Tensor]
) -> tuple[Tensor, Tensor] | None:
    """Return the first point with less loss of those half as far each time, and its loss."""
    for halvings in range(HALVINGS):
        there = at + direction * 0.5**halvings
        found = _loss(there, *case)
        if found <= loss:
            return there, found
    return None


def _loss(at: Tensor, columns: Tensor, y: Tensor, pull: Tensor) -> Tensor:
    """Return the negative log-likelihood in nats, with what the pull adds to it."""
    right = torch.where(y > 0, 1.0, -1.0) * (columns @ at)
    return (pull * (at - 1).square()).sum() / 2 - logsigmoid(right).sum()
