import dataclasses

import optuna
import pytest
import torch

from search.export import checkpoint_of
from search.retrain import over_seeds, refit, retrain
from search.store.artifacts import Shelf
from search.store.records import read_records
from trainer.errors import ConfigError


@pytest.fixture(scope="module")
def searched(searched_session):
    """A study whose trials ran in stacks of 8 next to pruned neighbours."""
    session = searched_session(
        "again",
        budget={"trials": 24},
        training={"epochs": 12},
        space={"batch_size": [32, 64], "hidden_dim": [16, 32]},
    )
    study = optuna.load_study(study_name="again", storage=session.url)
    return session, study, read_records(study)


def test_trials_of_full_stacks_with_pruned_neighbours_reproduce_exactly(searched):
    session, study, records = searched
    stacks = {trial.number: trial.user_attrs["stack"] for trial in study.trials}
    assert any(len(stack) == 8 for stack in stacks.values())
    assert {record.state for record in records} == {"complete", "pruned"}
    for record in records:
        assert retrain(session, record).difference == "", record


def test_a_difference_is_named_with_its_likely_cause(searched):
    session, _, records = searched
    record = records[0]
    older = {**record.environment, "torch": "1.0.0"}
    scores = {**record.scores, "macro_f1": 0.999}
    tampered = dataclasses.replace(record, scores=scores, environment=older)
    difference = retrain(session, tampered).difference
    assert "macro_f1 0.999000 ->" in difference
    assert "torch 1.0.0 -> 2" in difference
    assert "best_epoch" not in difference


def raised(record):
    return {"value": record.value + 0.2}


def without_scores(record):
    return {"scores": {}}


def another_epochs_value(record):
    return {"curve": {**record.curve, 2: 0.1234}}


def without_an_epochs_value(record):
    return {"curve": {epoch: value for epoch, value in record.curve.items() if epoch != 2}}


def another_threshold(record):
    rare = {**record.labels["rare"], "threshold": 0.987}
    return {"labels": {**record.labels, "rare": rare}}


def fewer_epochs(record):
    return {"epochs": record.epochs - 1}


def endless_epochs(record):
    return {"epochs": 10**9}


def another_best_epoch(record):
    return {"best_epoch": record.best_epoch + 1}


def another_resample(record):
    return {"resampled": {**record.resampled, "drawn": [0.5] * len(record.resampled["drawn"])}}


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (raised, "value 0."),
        (without_scores, "average_precision nothing ->"),
        (another_epochs_value, "value of epoch 2 0.123400 ->"),
        (without_an_epochs_value, "value of epoch 2 nothing ->"),
        (another_threshold, "rare threshold 0.987000 ->"),
        (fewer_epochs, "value of epoch"),
        (endless_epochs, "epochs 1000000000 ->"),
        (another_best_epoch, "best epoch"),
        (another_resample, "resampled scores drawn"),
    ],
)
def test_whatever_is_stored_otherwise_is_noticed(searched, change, named):
    session, _, records = searched
    record = records[0]
    tampered = dataclasses.replace(record, **change(record))
    assert named in retrain(session, tampered).difference


def test_other_weights_on_the_shelf_are_noticed_and_none_are_said(searched):
    session, study, records = searched
    best = max((r for r in records if r.state == "complete"), key=lambda r: r.value)
    kept = Shelf(study, session.shelf_folder).fetch(study.trials[best.number])
    same = retrain(session, best, kept)
    assert (same.difference, same.unknown) == ("", ())
    network = kept.networks[0]
    bias = {"layers.0.bias": network.parameters["layers.0.bias"] + 1e-7}
    other = dataclasses.replace(network, parameters={**network.parameters, **bias})
    changed = dataclasses.replace(kept, networks=(other,))
    assert "layers.0.bias of network 0" in retrain(session, best, changed).difference
    pruned = next(r for r in records if r.state == "pruned")
    assert retrain(session, pruned).unknown == ("the weights",)


def test_an_export_is_bitwise_the_retrained_checkpoint(searched):
    session, study, records = searched
    best = max((r for r in records if r.state == "complete"), key=lambda r: r.value)
    kept = checkpoint_of(session, study, Shelf(study, session.shelf_folder), best)
    again = retrain(session, best).checkpoint
    assert kept.record.config == again.record.config
    assert kept.record.thresholds == again.record.thresholds
    for name, tensor in kept.networks[0].parameters.items():
        assert torch.equal(tensor, again.networks[0].parameters[name])


def test_seeds_are_fresh_and_the_best_mean_comes_first(searched):
    session, _, records = searched
    found = over_seeds(session, records[:3], 3)
    assert [one.mean for one in found] == sorted((one.mean for one in found), reverse=True)
    by_number = {one.number: one for one in found}
    for record in records[:3]:
        assert len(set(by_number[record.number].values)) > 1
        assert record.value not in by_number[record.number].values
    alone = over_seeds(session, records[1:2], 3)[0]
    assert alone.values == by_number[alone.number].values


def test_a_refit_learns_from_validation_rows_too_and_keeps_test_locked(searched):
    session, _, records = searched
    record = records[0]
    checkpoint = refit(session, record)
    split = session.experiment.split
    rows = checkpoint.record.split["rows"]
    assert rows == {
        "train": len(split.train) + len(split.validation),
        "validation": 0,
        "test": len(split.test),
    }
    assert checkpoint.record.trial["refit"] == "all"
    assert checkpoint.record.test["labels"]["rare"]["support"] > 0
    steps = record.best_epoch * -(-len(split.train) // record.config["batch_size"])
    refitted = len(checkpoint.history) * -(-rows["train"] // record.config["batch_size"])
    assert abs(refitted - steps) <= -(-rows["train"] // record.config["batch_size"])
    assert 0 < checkpoint.record.validation["macro_f1"] < 1


def test_a_trial_that_never_trained_is_refused(searched):
    session, _, records = searched
    empty = dataclasses.replace(records[0], config={}, epochs=0, state="failed")
    with pytest.raises(ConfigError, match="never trained"):
        retrain(session, empty)
