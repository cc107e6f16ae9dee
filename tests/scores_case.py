"""Probabilities, labels and cuts to score, and scikit-learn's scores of them."""

import numpy as np
import torch
from sklearn import metrics as reference

NAMES = ("one", "two", "three")
CUTS = torch.tensor([0.2, 0.3, 0.45])


def draw(rows=240, seed=0, levels=None, rate=0.15, labels=3):
    """Probabilities and labels (rows, labels); `levels` rounds probabilities to so many steps."""
    generator = torch.Generator().manual_seed(seed)
    y = (torch.rand(rows, labels, generator=generator) < rate).float()
    p = torch.sigmoid(torch.randn(rows, labels, generator=generator) + y - 1)
    return ((p * levels).round() / levels if levels else p), y


def scores_of(p, y, cuts, weight):
    """Every interval score by scikit-learn with row weights, (L, 5)."""
    decided = (p >= cuts).numpy()
    return np.array(
        [
            [
                reference.precision_score(true, cut, sample_weight=weight),
                reference.recall_score(true, cut, sample_weight=weight),
                reference.f1_score(true, cut, sample_weight=weight),
                reference.average_precision_score(true, score, sample_weight=weight),
                reference.roc_auc_score(true, score, sample_weight=weight),
            ]
            for true, cut, score in zip(y.numpy().T, decided.T, p.numpy().T, strict=True)
        ]
    )
