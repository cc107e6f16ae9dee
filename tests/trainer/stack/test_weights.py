import numpy as np
import pytest
import torch
from sklearn.utils.class_weight import compute_class_weight

from trainer.config import CLASS_WEIGHT_METHODS, WEIGHT_METHODS
from trainer.errors import ConfigError
from trainer.stack.weights import class_weights, sampling_weights

# Label 1: 2 of 8 rows; label 2: 1 of 8; a row with either: 3 of 8.
LABELS = torch.tensor([[1, 0], [1, 0], [0, 1], [0, 0], [0, 0], [0, 0], [0, 0], [0, 0]])


@pytest.mark.parametrize(
    ("method", "expected"),
    [
        ("none", [1, 1]),
        ("balanced", [2, 4]),
        ("inverse", [3, 7]),
        ("aggressive", [9, 21]),
        ("very_aggressive", [15, 35]),
    ],
)
def test_class_weights_follow_the_guide(method, expected):
    weights = class_weights(LABELS, method, 1.0)
    assert weights.dtype == torch.float32
    assert weights.tolist() == expected
    assert class_weights(LABELS, method, 2.5).tolist() == [2.5 * w for w in expected]


def test_balanced_class_weight_is_that_of_scikit_learn():
    for label, weight in zip(LABELS.T.numpy(), class_weights(LABELS, "balanced", 1.0), strict=True):
        expected = compute_class_weight("balanced", classes=np.array([0, 1]), y=label)[1]
        assert float(weight) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("method", "expected"),
    [
        ("none", 1),
        ("balanced", 8 / 6),
        ("inverse", 5 / 3),
        ("inverse_sqrt", (5 / 3) ** 0.5),
        ("aggressive", 25 / 3),
        ("per_class", 21),
    ],
)
def test_sampling_weights_follow_the_guide(method, expected):
    weights = sampling_weights(LABELS, method)
    assert weights.dtype == torch.float64
    assert weights.tolist() == [pytest.approx(expected)] * 3 + [1.0] * 5


@pytest.mark.parametrize("method", WEIGHT_METHODS)
@pytest.mark.parametrize("kept", [slice(0, 3), slice(3, 8)], ids=["all positive", "none positive"])
def test_rows_of_one_kind_are_drawn_evenly(method, kept):
    """A weight of n_neg / n_pos = 0 would leave nothing to draw."""
    assert sampling_weights(LABELS[kept], method).tolist() == [1.0] * len(LABELS[kept])


@pytest.mark.parametrize("method", CLASS_WEIGHT_METHODS[1:])
@pytest.mark.parametrize("value", [0, 1])
def test_a_label_with_one_value_has_no_class_weight(method, value):
    labels = LABELS.clone()
    labels[:, 1] = value
    with pytest.raises(ConfigError, match=rf"label number 2 .* has no {1 - value}; .*--seed"):
        class_weights(labels, method, 1.0)
    assert class_weights(labels, "none", 2.0).tolist() == [2.0, 2.0]


def test_per_class_sampling_needs_both_values_of_each_label():
    with pytest.raises(ConfigError, match=r"per_class.*label number 1"):
        sampling_weights(torch.tensor([[0, 1], [0, 0]]), "per_class")


@pytest.mark.parametrize("dtype", [torch.bool, torch.int64, torch.float32])
def test_labels_may_have_any_dtype(dtype):
    assert class_weights(LABELS.to(dtype), "inverse", 1.0).tolist() == [3, 7]
    assert sampling_weights(LABELS.to(dtype), "per_class")[0] == 21
