import shlex

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trainer import remedies
from trainer.config import CLASS_WEIGHT_METHODS, LOSS_TYPES, WEIGHT_METHODS, TrainConfig

REMEDIES = (
    remedies.tuned_thresholds,
    remedies.higher_thresholds,
    remedies.heavier_weights,
    remedies.heaviest_weights,
    remedies.lighter_weights,
    remedies.per_class_sampling,
    remedies.milder_sampling,
    remedies.slower,
    remedies.much_slower,
    remedies.smaller_batches,
    remedies.more_dropout,
    remedies.more_decay,
    remedies.smaller_network,
)

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
@given(config=configs)
def test_every_remedy_changes_the_config_to_a_valid_one_and_its_flags_say_the_same(config):
    for remedy in (*(find(config) for find in REMEDIES), *remedies.usual_values(config)):
        assert all(getattr(config, field) != value for field, value in remedy.items())
        changed = config.model_copy(update=dict(remedy))
        assert TrainConfig.create(**changed.model_dump()) == changed
        given = parse(remedies.flags(remedy))
        assert given.keys() == remedy.keys()
        assert TrainConfig.create(**(config.model_dump() | given)) == changed


def taken(remedy, config):
    """Yield the steps of a remedy that is taken until it has no more."""
    while step := remedy(config):
        yield remedies.flags(step)
        config = config.model_copy(update=dict(step))


@pytest.mark.parametrize(
    ("remedy", "config", "steps"),
    [
        (
            remedies.higher_thresholds,
            {"optimize_thresholds": False, "threshold_metric": "f2"},
            [
                "--optimize_thresholds",
                "--threshold_metric f1",
                "--threshold_metric f0.5",
                "--threshold_metric 'precision>=0.5'",
            ],
        ),
        (
            remedies.heavier_weights,
            {"loss_type": "focal"},
            ["--class_weight_multiplier 3.0", "--class_weight_multiplier 5.0"],
        ),
        (
            remedies.lighter_weights,
            {
                "loss_type": "focal",
                "class_weight_multiplier": 3.0,
                "class_weight_method": CLASS_WEIGHT_METHODS[1],
            },
            [
                "--class_weight_multiplier 1.5",
                "--class_weight_multiplier 1.0",
                "--class_weight_method none",
            ],
        ),
        (
            remedies.milder_sampling,
            {"weight_method": "per_class"},
            [
                "--use_weighted_sampling --weight_method balanced",
                "--use_weighted_sampling --weight_method inverse_sqrt",
            ],
        ),
        (remedies.smaller_batches, {}, ["--batch_size 16"]),
        (remedies.more_dropout, {}, ["--dropout 0.4", "--dropout 0.6"]),
        (remedies.more_dropout, {"num_layers": 0}, []),
        (
            remedies.more_decay,
            {},
            ["--weight_decay 0.001", "--weight_decay 0.01", "--weight_decay 0.1"],
        ),
        (
            remedies.smaller_network,
            {"hidden_dim": 100},
            ["--hidden_dim 48", "--hidden_dim 16"],
        ),
    ],
)
def test_a_remedy_taken_again_and_again_comes_to_an_end(remedy, config, steps):
    assert list(taken(remedy, TrainConfig(**config))) == steps


def test_plain_bce_has_no_weights_to_change():
    config = TrainConfig(loss_type="bce", class_weight_multiplier=4.0)
    assert remedies.heavier_weights(config) == remedies.lighter_weights(config) == {}


def test_an_unusually_high_learning_rate_goes_back_to_the_default():
    assert remedies.slower(TrainConfig(lr=0.5)) == {"lr": 1e-3}
    assert remedies.slower(TrainConfig(lr=4e-3)) == {"lr": 2e-3}


def test_what_keeps_a_network_from_learning_is_set_to_its_default():
    config = TrainConfig(lr=1e-6, dropout=0.9, weight_decay=0.5)
    steps = ({"lr": 1e-3}, {"dropout": 0.2}, {"weight_decay": 1e-4})
    assert remedies.usual_values(config) == steps
    assert remedies.usual_values(TrainConfig()) == ()
