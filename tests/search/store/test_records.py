import optuna
import pytest
from optuna.distributions import CategoricalDistribution
from optuna.trial import TrialState, create_trial

from search.space.space import is_active
from search.store.attributes import CONFIRMED, DEFINITION
from search.store.records import (
    Confirmation,
    SignRecord,
    complete,
    count_states,
    read_records,
    read_study,
    score_of,
    summarise_choices,
)
from trainer.errors import ConfigError


def add(study, state, value=None, **attributes):
    loss = attributes.pop("loss_type", "bce")
    sampling = attributes.pop("weight_method", "none")
    config = {"loss_type": loss, "weight_method": sampling, "class_weight_method": "inverse"}
    study.add_trial(
        create_trial(
            state=state,
            value=value,
            params={"loss_type": loss},
            distributions={"loss_type": CategoricalDistribution(["bce", "focal"])},
            user_attrs={"config": config, **attributes},
        )
    )


@pytest.fixture
def records():
    study = optuna.create_study(direction="maximize")
    add(study, TrialState.COMPLETE, 0.2)
    add(study, TrialState.COMPLETE, 0.3, loss_type="focal", weight_method="balanced")
    add(study, TrialState.COMPLETE, 0.3, loss_type="focal")
    add(study, TrialState.PRUNED, 0.1)
    add(study, TrialState.FAIL, failure="the loss was not finite in epoch 1")
    add(study, TrialState.FAIL, lost="the process that trained it ended without a word")
    study.ask()
    return read_records(study)


def test_only_trials_that_ended_are_records(records):
    states = ["complete", "complete", "complete", "pruned", "failed", "lost"]
    assert [record.state for record in records] == states


def test_lost_trials_are_not_counted_as_failures(records):
    assert count_states(records) == {"complete": 3, "pruned": 1, "failed": 1}


def test_the_best_comes_first_and_of_equals_the_earlier(records):
    assert [record.number for record in complete(records)] == [1, 2, 0]


def test_remedies_compare_choices_over_all_trials_with_a_value(records):
    rows = {(row.parameter, row.choice): row for row in summarise_choices(records)}
    focal, bce = rows["loss_type", "focal"], rows["loss_type", "bce"]
    assert (focal.trials, focal.best, focal.median) == (2, 0.3, 0.3)
    assert (bce.trials, bce.best, bce.median) == (2, 0.2, pytest.approx(0.15))
    assert (rows["weight_method", "none"].trials, rows["weight_method", "balanced"].trials) == (
        3,
        1,
    )


def test_class_weights_count_only_where_the_loss_uses_them(records):
    rows = [row for row in summarise_choices(records) if row.parameter == "class_weight_method"]
    assert [(row.choice, row.trials) for row in rows] == [("inverse", 2)]


@pytest.mark.parametrize(
    ("parameter", "config", "expected"),
    [
        ("focal_gamma", {"loss_type": "focal"}, True),
        ("focal_gamma", {"loss_type": "weighted_bce"}, False),
        ("class_weight_multiplier", {"loss_type": "weighted_bce"}, True),
        ("class_weight_method", {"loss_type": "bce"}, False),
        ("hidden_dim", {"num_layers": 1}, True),
        ("dropout", {"num_layers": 0}, False),
        ("lr", {"loss_type": "bce", "num_layers": 0}, True),
    ],
)
def test_a_setting_is_active_only_where_the_run_uses_it(parameter, config, expected):
    assert is_active(parameter, config) is expected


def test_a_failed_trial_has_no_score(records):
    assert [score_of(record) for record in records[:2]] == [0.2, 0.3]
    with pytest.raises(ValueError, match="trial 4 has no value"):
        score_of(records[4])


def test_a_record_holds_all_that_is_told_of_a_trial():
    study = optuna.create_study(direction="maximize")
    sign = {"name": "overfitting", "words": "it learnt by heart", "remedies": ["--dropout 0.5"]}
    told = {
        "labels": {"rare": {"threshold": 0.5}},
        "signs": [sign],
        "diagnosis": "overfitting; unstable_loss",
        "stopped": "patience",
        "stack": [3, 4],
    }
    trial = create_trial(value=0.2, intermediate_values={1: 0.1, 2: 0.2}, user_attrs=told)
    study.add_trial(trial)
    record = read_records(study)[0]
    assert record.labels == told["labels"]
    assert record.signs == (SignRecord("overfitting", sign["words"], ("--dropout 0.5",)),)
    assert record.diagnosis == ("overfitting", "unstable_loss")
    assert (record.stopped, record.stack) == ("patience", (3, 4))
    assert record.curve == {1: 0.1, 2: 0.2}
    assert record.started == study.trials[0].datetime_start
    assert record.trial_id == study.trials[0]._trial_id


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("config", [1]),
        ("scores", {"f1": "high"}),
        ("epochs", "many"),
        ("labels", {"rare": 0.5}),
        ("signs", [{"name": "overfitting"}]),
        ("stack", "3"),
        ("failure", 3),
    ],
)
def test_an_attribute_that_is_not_raretunes_is_told_in_one_line(name, value):
    study = optuna.create_study(direction="maximize")
    add(study, TrialState.COMPLETE, 0.2)
    study.add_trial(create_trial(value=0.1, user_attrs={name: value}))
    with pytest.raises(ConfigError, match=rf"trial 1 .*\({name}.*backup") as told:
        read_records(study)
    assert "\n" not in str(told.value)


def test_a_study_is_read_with_its_definition_and_its_confirmation():
    study = optuna.create_study(direction="maximize", study_name="clinic")
    add(study, TrialState.COMPLETE, 0.2)
    foreign = read_study(study)
    assert (foreign.definition, foreign.objective, foreign.confirmed) == (None, "score", [])
    study.set_user_attr(DEFINITION, {"objective": "macro_f1"})
    seeds = {"number": 0, "searched": 0.2, "values": [0.1, 0.2], "mean": 0.15, "spread": 0.07}
    study.set_user_attr(CONFIRMED, [seeds])
    record = read_study(study)
    assert (record.name, record.objective) == ("clinic", "macro_f1")
    assert record.best == record.trials[0]
    assert record.confirmed == [Confirmation(**seeds)]
    study.set_user_attr(CONFIRMED, [{"number": 0}])
    with pytest.raises(ConfigError, match="the confirmation"):
        read_study(study)
