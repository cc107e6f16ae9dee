"""Signs planted in made-up histories."""

import math

import pytest
import torch

from trainer.config import TrainConfig
from trainer.diagnosis import SIGNS, diagnose, unjudged, upside_down
from trainer.scores.evaluation import evaluate

PREVALENCE = {"rare": 0.05, "rarer": 0.03}
NAMES = [look.__name__ for look in SIGNS if look is not upside_down]  # which no history tells


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
    assert "in epoch 1;" in sign.words


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
    assert "rarer in 0.2% of the rows (3.0% are positive)" in sign.words
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
    ("config", "flags"),
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
def test_the_guides_escalation_goes_on_from_what_the_config_does(config, flags):
    (sign,) = diagnose(PLANTED["all_negative"], TrainConfig(**config), PREVALENCE)
    assert sign.flags == flags


@pytest.mark.parametrize(
    ("name", "flags"),
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
def test_the_guides_troubleshooting(name, flags):
    config = TrainConfig(
        loss_type="weighted_bce",
        class_weight_method="very_aggressive",
        class_weight_multiplier=5.0,
        weight_method="per_class",
    )
    (sign,) = diagnose(PLANTED[name], config, PREVALENCE)
    assert sign.flags == flags


@pytest.mark.parametrize("name", NAMES)
def test_the_changes_of_a_sign_are_its_steps_together(name):
    config = TrainConfig(loss_type="weighted_bce", class_weight_multiplier=5.0)
    (sign,) = diagnose(PLANTED[name], config, PREVALENCE)
    assert all(sign.remedies)
    assert len(sign.flags) == len(sign.remedies)
    assert sum(map(len, sign.remedies)) == len(sign.changes)
    assert all(remedy.items() <= sign.changes.items() for remedy in sign.remedies)


def ranked(shift, positives):
    """An evaluation of two labels; positives of `rarer` are so much less probable than others."""
    labels = torch.zeros(1000, 2)
    labels[:positives, 1] = labels[500:520, 0] = 1
    p = torch.rand(1000, 2, generator=torch.Generator().manual_seed(0)) / 2
    p[:, 0] += labels[:, 0] / 2
    p[:, 1] += shift * (1 - labels[:, 1])
    return evaluate(p, labels, torch.full((2,), 0.5), tuple(PREVALENCE))


@pytest.mark.parametrize("epochs", [2, 30])
def test_a_label_ranked_upside_down_is_a_sign(epochs):
    evaluation = ranked(shift=0.3, positives=12)
    assert evaluation.labels["rarer"].roc_auc < 0.2
    (sign,) = diagnose(sound_history(epochs), TrainConfig(), PREVALENCE, evaluation)
    assert sign.name == "upside_down"
    assert "rarer 0." in sign.words
    assert "(12 positives)" in sign.words
    assert "rare 0" not in sign.words
    assert sign.flags


@pytest.mark.parametrize(("shift", "positives"), [(0.3, 2), (0.05, 12), (0.0, 12)])
def test_a_label_ranked_low_by_chance_is_none(shift, positives):
    evaluation = ranked(shift, positives)
    assert diagnose(sound_history(), TrainConfig(), PREVALENCE, evaluation) == []


def test_a_run_too_short_to_judge_is_not_called_sound():
    five = TrainConfig(epochs=5)
    falling = [row | {"loss": 0.9 ** row["epoch"]} for row in PLANTED["all_negative"]]
    assert unjudged(falling[:5], five, PREVALENCE) == (
        "5 epochs are too few to judge, and no row is predicted positive for any label; "
        "give it 10 --epochs or more."
    )
    one = [row | {"predicted_share_rare": 0.0} for row in sound_history(1)]
    assert unjudged(one, five, PREVALENCE) == (
        "1 epoch is too few to judge, and no row is predicted positive for rare; "
        "give it 10 --epochs or more."
    )
    assert unjudged(sound_history(9), TrainConfig(), PREVALENCE).startswith("9 epochs are too few")
    assert unjudged(sound_history(10), TrainConfig(), PREVALENCE) == ""
    assert unjudged([], TrainConfig(), PREVALENCE) == ""
