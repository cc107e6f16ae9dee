import optuna
import pytest
from optuna.distributions import CategoricalDistribution
from optuna.trial import TrialState, create_trial

from search.records import complete, count_states, read_records, remedies


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
