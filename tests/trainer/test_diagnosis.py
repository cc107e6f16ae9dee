"""Every sign twice: planted in a made-up history, and in a run that really has it."""

import dataclasses
import math
import shlex

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from trainer.config import LOSS_TYPES, TrainConfig
from trainer.diagnosis import SIGNS, Run, diagnose
from trainer.fit import fit
from trainer.weights import CLASS_WEIGHT_METHODS, WEIGHT_METHODS

PREVALENCE = {"rare": 0.05, "rarer": 0.03}
NAMES = [look.__name__ for look in SIGNS]


def sound_history(epochs=30):
    """Rows of a run that learns, improves in every epoch and predicts about the right number."""
    return [
        {
            "epoch": epoch,
            "loss": 0.15 + 0.5 / epoch,
            "validation_loss": 0.16 + 0.4 / epoch,
            "macro_f1": 0.3 - 0.2 / epoch,
            "tuned_macro_f1": 0.33 - 0.2 / epoch,
            "macro_recall": 0.35 - 0.2 / epoch,
            "macro_precision": 0.28 - 0.2 / epoch,
            "balanced_accuracy": 0.65 - 0.1 / epoch,
            "average_precision": 0.25 - 0.15 / epoch,
            "roc_auc": 0.8 - 0.25 / epoch,
            "f1_rare": 0.3 - 0.2 / epoch,
            "f1_rarer": 0.3 - 0.2 / epoch,
            "predicted_share_rare": 0.06,
            "predicted_share_rarer": 0.035,
        }
        for epoch in range(1, epochs + 1)
    ]


def planted(epochs=range(1, 31), **values):
    """A sound history of 30 epochs, where the given epochs have the given values."""
    return [row | (values if row["epoch"] in epochs else {}) for row in sound_history()]


def drifting(first, **per_epoch):
    """A sound history whose values change by the given steps from one epoch on."""
    return [
        row | {name: row[name] + step * max(0, row["epoch"] - first) for name, step in steps}
        for steps in [per_epoch.items()]
        for row in sound_history()
    ]


def leaping(factor, epochs):
    """A sound history, where the loss leaps to a multiple of the one before."""
    rows = sound_history()
    for epoch in epochs:
        rows[epoch - 1]["loss"] = factor * rows[epoch - 2]["loss"]
    return rows


PLANTED = {
    "non_finite": planted([30], loss=math.nan),
    "all_negative": planted(predicted_share_rare=0.0, predicted_share_rarer=0.0, macro_f1=0.0),
    "no_ranking": planted(roc_auc=0.51, average_precision=0.04),
    "overfitting_to_positives": planted(
        predicted_share_rare=0.4, predicted_share_rarer=0.3, macro_recall=0.5
    ),
    "low_precision_high_recall": planted(macro_recall=0.9, macro_precision=0.1),
    "unstable_loss": planted([8, 12, 20], loss=0.6),
    "overfitting": drifting(8, loss=-0.006, validation_loss=0.01, average_precision=-0.004),
}

BARELY = {
    "all_negative": planted(predicted_share_rare=0.0045),
    "no_ranking": planted(roc_auc=0.545),
    "overfitting_to_positives": planted(predicted_share_rare=0.21, predicted_share_rarer=0.2),
    "low_precision_high_recall": planted(macro_recall=0.61, macro_precision=0.115),
    "unstable_loss": leaping(1.55, [8, 12]),
    "overfitting": drifting(8, loss=0.0005, validation_loss=0.006, average_precision=-0.002),
}
NEARLY = {
    "all_negative": planted(predicted_share_rare=0.006, predicted_share_rarer=0.004),
    "no_ranking": planted(roc_auc=0.56),
    "overfitting_to_positives": planted(predicted_share_rare=0.2, predicted_share_rarer=0.19),
    "low_precision": planted(macro_recall=0.9, macro_precision=0.125),
    "high_recall": planted(macro_recall=0.59, macro_precision=0.1),
    "three small leaps": leaping(1.4, [8, 12, 20]),
    "one leap": planted([8], loss=0.35),
    "no explosion": planted([1], loss=2.0),
    "overfitting, validation": drifting(
        8, loss=-0.006, validation_loss=0.002, average_precision=-0.004
    ),
    "overfitting, training": drifting(
        8, loss=0.0015, validation_loss=0.01, average_precision=-0.004
    ),
}

configs = st.builds(
    TrainConfig,
    loss_type=st.sampled_from(LOSS_TYPES),
    weight_method=st.sampled_from(WEIGHT_METHODS),
    class_weight_method=st.sampled_from(CLASS_WEIGHT_METHODS),
    class_weight_multiplier=st.floats(0.01, 1000),
    lr=st.floats(1e-7, 1),
    weight_decay=st.floats(0, 1),
    dropout=st.floats(0, 0.99),
    batch_size=st.sampled_from([1, 8, 16, 32, 4096]),
    hidden_dim=st.integers(1, 600),
    num_layers=st.integers(0, 4),
    optimize_thresholds=st.booleans(),
    threshold_metric=st.sampled_from(
        ["f1", "F 0.5", "f2", "balanced_accuracy", "recall>=0.8", "precision>=0.3", "fn=10,fp=1"]
    ),
)


def names(signs):
    return [sign.name for sign in signs]


@pytest.mark.parametrize("epochs", [0, 1, 2, 3, 5, 9, 10, 30, 100])
def test_a_sound_history_has_no_sign(epochs):
    assert diagnose(sound_history(epochs), TrainConfig(), PREVALENCE) == []


@pytest.mark.parametrize("name", NAMES)
def test_a_planted_sign_is_the_only_one_found(name):
    assert names(diagnose(PLANTED[name], TrainConfig(), PREVALENCE)) == [name]


@pytest.mark.parametrize("name", BARELY)
def test_what_barely_is_a_sign_is_one(name):
    assert names(diagnose(BARELY[name], TrainConfig(), PREVALENCE)) == [name]


@pytest.mark.parametrize("nearly", NEARLY)
def test_what_nearly_is_a_sign_is_none(nearly):
    assert diagnose(NEARLY[nearly], TrainConfig(), PREVALENCE) == []


@pytest.mark.parametrize(
    ("loss", "config"),
    [
        (2.1, {}),
        (3.0, {"class_weight_method": "very_aggressive"}),
        (4000.0, {"loss_type": "focal", "class_weight_multiplier": 10.0}),
    ],
)
def test_one_epoch_far_worse_than_knowing_nothing_is_an_explosion(loss, config):
    """Answering 0.5 costs 0.69 with plain BCE, whatever weights it would ignore."""
    (sign,) = diagnose(planted([1], loss=loss), TrainConfig(**config), PREVALENCE)
    assert sign.name == "unstable_loss"
    assert "in epoch 1," in sign.words


def test_the_first_epoch_of_heavy_weights_is_no_explosion():
    config = TrainConfig(loss_type="weighted_bce", class_weight_multiplier=10.0)
    assert diagnose(planted([1], loss=100.0), config, PREVALENCE) == []


def test_signs_come_with_the_most_serious_first():
    every = [
        row | {"predicted_share_rare": 0.0, "loss": (0.6, 0.1)[row["epoch"] % 2]}
        for row in PLANTED["non_finite"]
    ]
    every[-1]["validation_loss"] = math.inf
    assert names(diagnose(every, TrainConfig(), PREVALENCE)) == [
        "non_finite",
        "all_negative",
        "unstable_loss",
    ]


@pytest.mark.parametrize("name", [name for name in NAMES if name != "non_finite"])
def test_three_epochs_say_nothing(name):
    config = TrainConfig(epochs=3)
    for length in range(4):
        assert diagnose(PLANTED[name][:length], config, PREVALENCE) == []


def test_a_short_run_is_judged_when_it_is_over_and_its_loss_at_rest():
    silent = PLANTED["all_negative"]
    rest = [row | {"loss": 0.2} for row in silent]
    five = TrainConfig(epochs=5)
    assert names(diagnose(rest[:5], five, PREVALENCE)) == ["all_negative"]
    assert diagnose(rest[:5], TrainConfig(epochs=6), PREVALENCE) == []
    assert diagnose(rest[:4], TrainConfig(epochs=4), PREVALENCE) == []
    falling = [row | {"loss": 0.95 ** row["epoch"]} for row in silent]
    assert diagnose(falling[:5], five, PREVALENCE) == []


def test_the_silent_labels_alone_are_named():
    history = planted(predicted_share_rarer=0.002)
    (sign,) = diagnose(history, TrainConfig(), PREVALENCE)
    assert sign.name == "all_negative"
    assert "1 of 2 labels" in sign.words
    assert "rarer 0.2% of the rows (3.0% are positive)" in sign.words
    assert "rare " not in sign.words.replace("rarer ", "")


def test_a_label_without_positives_is_not_silent():
    history = planted(predicted_share_rarer=0.0)
    assert diagnose(history, TrainConfig(), {"rare": 0.05, "rarer": 0.0}) == []


@pytest.mark.parametrize(
    ("early_stop_metric", "min_delta", "epoch"),
    [("macro_f1", 0.0, 29), ("loss", 0.0, 29), ("roc_auc", 0.06, 4), ("macro_f1", 10.0, 1)],
)
def test_a_broken_loss_names_its_epoch_and_the_one_that_is_kept(
    early_stop_metric, min_delta, epoch
):
    config = TrainConfig(early_stop_metric=early_stop_metric, min_delta=min_delta)
    (sign,) = diagnose(PLANTED["non_finite"], config, PREVALENCE)
    assert "not finite in epoch 30" in sign.words
    assert f"the best epoch before, {epoch}, is kept" in sign.words


@pytest.mark.parametrize(("precision", "found"), [(0.45, 1), (0.55, 0)])
def test_with_commoner_positives_a_low_precision_is_mostly_false_alarms(precision, found):
    history = planted(macro_recall=0.9, macro_precision=precision)
    assert len(diagnose(history, TrainConfig(), {"rare": 0.2, "rarer": 0.2})) == found


def test_overconfidence_alone_is_no_overfitting():
    """Thresholds absorb it: the loss rises, the ranking does not suffer."""
    history = drifting(8, loss=-0.006, validation_loss=0.01)
    assert diagnose(history, TrainConfig(), PREVALENCE) == []


def test_small_networks_noise_is_no_instability():
    history = [
        row | {"loss": row["loss"] * (1.2, 0.85)[row["epoch"] % 2]} for row in sound_history()
    ]
    assert diagnose(history, TrainConfig(), PREVALENCE) == []


@pytest.mark.parametrize(
    ("config", "remedies"),
    [
        (
            {"optimize_thresholds": False},
            (
                "--optimize_thresholds",
                "--use_weighted_sampling --weight_method per_class",
                "--loss_type weighted_bce --class_weight_method very_aggressive",
            ),
        ),
        (
            {"loss_type": "focal", "class_weight_multiplier": 2.0, "weight_method": "per_class"},
            (
                "--class_weight_multiplier 3.0",
                "--loss_type weighted_bce --class_weight_method very_aggressive",
            ),
        ),
        (
            {
                "loss_type": "weighted_bce",
                "class_weight_method": "very_aggressive",
                "class_weight_multiplier": 3.0,
                "weight_method": "per_class",
            },
            ("--class_weight_multiplier 5.0",),
        ),
        (
            {
                "loss_type": "weighted_bce",
                "class_weight_method": "very_aggressive",
                "class_weight_multiplier": 5.0,
                "weight_method": "per_class",
            },
            (),
        ),
    ],
)
def test_the_guides_escalation_goes_on_from_what_the_config_does(config, remedies):
    (sign,) = diagnose(PLANTED["all_negative"], TrainConfig(**config), PREVALENCE)
    assert sign.remedies == remedies


@pytest.mark.parametrize(
    ("name", "remedies"),
    [
        ("non_finite", ("--lr 0.0001", "--class_weight_multiplier 2.5")),
        (
            "overfitting_to_positives",
            (
                "--class_weight_multiplier 2.5",
                "--use_weighted_sampling --weight_method balanced",
                "--dropout 0.4",
            ),
        ),
        ("low_precision_high_recall", ("--threshold_metric f0.5",)),
        ("unstable_loss", ("--lr 0.0005", "--batch_size 16", "--class_weight_multiplier 2.5")),
        ("overfitting", ("--dropout 0.4", "--weight_decay 0.001", "--hidden_dim 64")),
    ],
)
def test_the_guides_troubleshooting(name, remedies):
    config = TrainConfig(
        loss_type="weighted_bce",
        class_weight_method="very_aggressive",
        class_weight_multiplier=5.0,
        weight_method="per_class",
    )
    (sign,) = diagnose(PLANTED[name], config, PREVALENCE)
    assert sign.remedies == remedies


def parse(remedy):
    """Read flags as a command line does: texts to be coerced by the config."""
    words = shlex.split(remedy)
    given = {}
    while words:
        flag = words.pop(0).removeprefix("--")
        if flag == "use_weighted_sampling":
            assert words[0] == "--weight_method"
        elif flag == "optimize_thresholds":
            given[flag] = True
        else:
            given[flag] = words.pop(0)
    return given


@settings(max_examples=60, deadline=None)
@given(config=configs, name=st.sampled_from(NAMES))
def test_every_remedy_changes_the_config_to_a_valid_one_and_its_flags_say_the_same(config, name):
    found = [sign for sign in diagnose(PLANTED[name], config, PREVALENCE) if sign.name == name]
    assert len(found) == 1
    for sign in found:
        for step in sign.steps:
            assert step
            assert all(getattr(config, field) != value for field, value in step.items())
        changed = config.model_copy(update=sign.changes)
        assert TrainConfig.create(**changed.model_dump()) == changed
        flags = {field: text for remedy in sign.remedies for field, text in parse(remedy).items()}
        assert flags.keys() == sign.changes.keys()
        assert TrainConfig.create(**(config.model_dump() | flags)) == changed


def prevalence_of(data):
    return dict(zip(data.labels, data.y_validation.mean(0).tolist(), strict=True))


def train(data, **values):
    """Return a run's signs, and the run."""
    config = TrainConfig(**{"batch_size": 32, "hidden_dim": 32, "epochs": 20, **values})
    (result,) = fit(data, [config])
    return diagnose(result.history, config, prevalence_of(data)), result


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
    x = data.x_train.clone()
    x[7, 0] = torch.inf
    signs, result = train(dataclasses.replace(data, x_train=x))
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
    run = Run(result.history, result.config, prevalence_of(data))
    assert run.best["epoch"] == result.best_epoch


def test_the_printed_changes_end_a_collapse(data):
    """The guide's promise, where two of three positives are lost so that none reaches 0.5."""
    y_train, y_validation = data.y_train.clone(), data.y_validation.clone()
    for y in (y_train[:, : len(data.labels)], y_validation):
        positives = y.nonzero()
        y[tuple(positives[torch.arange(len(positives)) % 3 > 0].T)] = 0.0
    rare = dataclasses.replace(data, y_train=y_train, y_validation=y_validation)

    signs, result = train(rare, batch_size=128, epochs=16, optimize_thresholds=False)
    assert names(signs)[0] == "all_negative"
    assert not any(result.history[-1][f"predicted_share_{label}"] for label in data.labels)

    config = result.config
    for _ in range(3):
        if "all_negative" in names(signs):
            config = config.model_copy(update=signs[0].changes)
            (result,) = fit(rare, [config])
            signs = diagnose(result.history, config, prevalence_of(rare))
    assert "all_negative" not in names(signs)
    for row in result.history[-5:]:
        assert all(row[f"predicted_share_{label}"] > 0 for label in data.labels)
    assert result.scores["macro_f1"] > 0.1
