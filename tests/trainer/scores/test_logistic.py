import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression

from trainer.scores.logistic import logistic_regression


def draw(rows, seed, columns=2):
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(rows, columns, generator=generator, dtype=torch.float64)
    x = torch.cat([x, torch.ones(rows, 1, dtype=torch.float64)], dim=1)
    y = torch.rand(rows, generator=generator) < torch.sigmoid(x[:, 0] - 2)
    return x, y


@pytest.mark.parametrize("seed", range(3))
def test_without_a_pull_it_is_scikit_learns(seed):
    x, y = draw(800, seed)
    reference = LogisticRegression(C=np.inf, tol=1e-10, max_iter=1000).fit(x[:, :2], y)
    found = logistic_regression(x, y, torch.zeros(3, dtype=torch.float64))
    expected = [*reference.coef_[0], *reference.intercept_]
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    rows=st.integers(4, 200),
    scale=st.sampled_from([1e-3, 1.0, 30.0]),
    parted=st.booleans(),
)
@example(seed=278, rows=4, scale=30.0, parted=True)  # logits above 20, which softplus cuts short
def test_at_the_maximum_nothing_pulls(seed, rows, scale, parted):
    """The slope of likelihood and prior is 0, also where a column parts the labels."""
    x, y = draw(rows, seed)
    x[:, :2] *= scale
    if parted:
        y = x[:, 0] > x[:, 0].median()
    y[0], y[1] = True, False
    pull = torch.tensor([0.1, 0.1, 0.0], dtype=torch.float64)
    found = logistic_regression(x, y, pull)
    slope = x.T @ (torch.sigmoid(x @ found) - y.double()) + pull * (found - 1)
    assert slope.abs().max() < 1e-4
