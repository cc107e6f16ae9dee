"""Rows, or whole groups of them, drawn anew many times: the ground of every bootstrap interval.

Source: Efron and Tibshirani 1993, ch. 13.
"""

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

RESAMPLES = 1000
CONFIDENCE = 0.95

Interval = tuple[float, float]


def drawn_units(n_rows: int, groups: np.ndarray | None) -> np.ndarray:
    """Return the unit 0 .. U-1 that each row is drawn with, (N,): itself, or its group."""
    return np.arange(n_rows) if groups is None else np.unique(groups, return_inverse=True)[1]


def draws(n_units: int, resamples: int, chunk: int, seed: int) -> Iterator[Tensor]:
    """Yield how often each unit is drawn, (U, C) float64 with C <= chunk, `resamples` in all.

    Resamples are drawn one by one, so that the chunk changes none.
    """
    random = np.random.default_rng(seed)
    for start in range(0, resamples, chunk):
        counts = [
            np.bincount(random.integers(0, n_units, n_units), minlength=n_units)
            for _ in range(min(chunk, resamples - start))
        ]
        yield torch.from_numpy(np.stack(counts, axis=1, dtype=np.float64))


def intervals(scores: Tensor) -> list[Interval]:
    """Return the 95 % percentile interval of each row of (S, R), over what is not nan."""
    tail = (1 - CONFIDENCE) / 2
    bounds = torch.tensor([tail, 1 - tail], dtype=torch.float64)
    low, high = scores.nanquantile(bounds, dim=-1).tolist()
    return list(zip(low, high, strict=True))
