"""Signs in runs that really have them."""

import dataclasses

import pytest
import torch
from training_case import with_tensors

from trainer.config import TrainConfig
from trainer.diagnosis import Case, diagnose
from trainer.loop.fit import fit


def names(signs):
    return [sign.name for sign in signs]


def train(data, **values):
    """Return a run's signs, and the run."""
    config = TrainConfig(**{"batch_size": 32, "hidden_dim": 32, "epochs": 20, **values})
    (result,) = fit(data, [config])
    return diagnose(result.history, config, data.prevalence), result


@pytest.mark.parametrize("epochs", [1, 3, 5, 8, 12, 20, 40])
@pytest.mark.parametrize("sizes", [{}, {"batch_size": 128, "hidden_dim": 128}])
def test_plain_bce_with_tuned_thresholds_trains_without_a_sign(data, epochs, sizes):
    signs, _ = train(data, epochs=epochs, **sizes)
    assert signs == []


GUIDE = {
    "loss_type": "focal",
    "focal_gamma": 3.0,
    "class_weight_method": "aggressive",
    "class_weight_multiplier": 2.0,
    "weight_method": "per_class",
}
REAL = {
    "all_negative": {"lr": 3e-4, "epochs": 12, "optimize_thresholds": False},
    "no_ranking": {"lr": 1e-6, "epochs": 10},
    "overfitting_to_positives": {
        "loss_type": "weighted_bce",
        "class_weight_method": "very_aggressive",
        "class_weight_multiplier": 50.0,
        "optimize_thresholds": False,
        "epochs": 10,
    },
    "low_precision_high_recall": {**GUIDE, "optimize_thresholds": False},
    "unstable_loss": {"lr": 1.0},
    "overfitting": {
        "hidden_dim": 256,
        "num_layers": 3,
        "dropout": 0.0,
        "weight_decay": 0.0,
        "epochs": 30,
        "early_stop_patience": 30,
    },
}


@pytest.mark.parametrize("name", REAL)
def test_a_run_that_really_has_a_sign_shows_it(data, name):
    signs, _ = train(data, **REAL[name])
    assert name in names(signs)


def test_infinite_columns_show_as_a_loss_that_is_not_finite(data):
    x = data.folds[0].x_train.clone()
    x[7, 0] = torch.inf
    signs, result = train(with_tensors(data, x_train=x))
    assert result.stopped == "non_finite"
    assert names(signs) == ["non_finite"]
    assert "not finite in epoch 1" in signs[0].words
    assert "infinite or huge values in the columns" in signs[0].words


@pytest.mark.parametrize(
    "values",
    [
        {},
        {"early_stop_metric": "loss", "lr": 3e-2},
        {"early_stop_metric": "roc_auc", "min_delta": 0.02},
        {"early_stop_metric": "average_precision", "early_stop_patience": 3},
    ],
)
def test_the_best_epoch_is_the_one_that_training_kept(data, values):
    _, result = train(data, **values)
    case = Case(result.history, result.config, data.prevalence)
    assert case.best["epoch"] == result.best_epoch


def test_the_printed_changes_end_a_collapse(data):
    """The guide's promise, where two of three positives are lost so that none reaches 0.5."""
    y_train, y_validation = data.folds[0].y_train.clone(), data.y_validation.clone()
    for y in (y_train[:, : len(data.labels)], y_validation):
        positives = y.nonzero()
        y[tuple(positives[torch.arange(len(positives)) % 3 > 0].T)] = 0.0
    rare = dataclasses.replace(
        with_tensors(data, y_train=y_train, y_validation=y_validation), y_validation=y_validation
    )

    signs, result = train(rare, batch_size=128, epochs=16, optimize_thresholds=False)
    assert names(signs)[0] == "all_negative"
    assert not any(result.history[-1][f"predicted_share_{label}"] for label in data.labels)

    config = result.config
    for _ in range(3):
        if "all_negative" in names(signs):
            config = config.model_copy(update=signs[0].changes)
            (result,) = fit(rare, [config])
            signs = diagnose(result.history, config, rare.prevalence)
    assert "all_negative" not in names(signs)
    for row in result.history[-5:]:
        assert all(row[f"predicted_share_{label}"] > 0 for label in data.labels)
    assert result.scores["macro_f1"] > 0.1
