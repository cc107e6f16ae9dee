import optuna
import pytest
from optuna.distributions import CategoricalDistribution
from optuna.trial import TrialState, create_trial

from search.store.records import acts, complete, count_states, read_records, remedies, score_of


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
    rows = {(row.parameter, row.choice): row for row in remedies(records)}
    focal, bce = rows["loss_type", "focal"], rows["loss_type", "bce"]
    assert (focal.trials, focal.best, focal.median) == (2, 0.3, 0.3)
    assert (bce.trials, bce.best, bce.median) == (2, 0.2, pytest.approx(0.15))
    assert (rows["weight_method", "none"].trials, rows["weight_method", "balanced"].trials) == (
        3,
        1,
    )


def test_class_weights_count_only_where_the_loss_uses_them(records):
    rows = [row for row in remedies(records) if row.parameter == "class_weight_method"]
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
def test_a_setting_acts_only_where_the_run_uses_it(parameter, config, expected):
    assert acts(parameter, config) is expected


def test_a_failed_trial_has_no_score(records):
    assert [score_of(record) for record in records[:2]] == [0.2, 0.3]
    with pytest.raises(ValueError, match="trial 4 has no value"):
        score_of(records[4])
