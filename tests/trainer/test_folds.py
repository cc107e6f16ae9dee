"""A run on folds: pooled scores, one epoch for all, nothing learned from the rows held out."""

import dataclasses

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.metrics import average_precision_score, f1_score

from trainer.checkpoint import load_checkpoint, save_checkpoint
from trainer.config import TrainConfig
from trainer.data.split import fold_splits, split_rows
from trainer.data.table import Roles, read_table
from trainer.experiment import (
    SplitSettings,
    held_out_probabilities,
    make_checkpoint,
    place_experiment,
)
from trainer.loop.fit import fit
from trainer.loop.history import best_row
from trainer.loop.members import with_fold_seed
from trainer.loop.resume import load_state, save_state
from trainer.loop.validation import cross_fitted_decisions
from trainer.predict import network_probabilities, predict_frame
from trainer.scores.metrics import rank
from trainer.scores.thresholds import best_thresholds, parse_threshold_metric
from trainer.stack.tensors import make_data, one_fold

ROLES = Roles(("rare", "rarer"), group="family", id=("person",))
SETTINGS = SplitSettings(0.2, 0.2, seed=3, folds=4)
CONFIGS = [
    TrainConfig.create(
        batch_size=64, hidden_dim=16, epochs=6, lr=1e-2, seed=k, loss_type=loss, dropout=0.1
    )
    for k, loss in enumerate(("bce", "focal", "weighted_bce"))
]


def prepared(path, settings=SETTINGS):
    return place_experiment(read_table(path, ROLES), settings, torch.device("cpu"))


@pytest.fixture(scope="module")
def experiment(table_csv):
    return prepared(table_csv)


@pytest.fixture(scope="module")
def results(experiment):
    return fit(experiment.data, CONFIGS)


@pytest.fixture(scope="module")
def trained(experiment, results):
    return make_checkpoint(experiment, results[1])


def assert_same_networks(one, other):
    for left, right in zip(one, other, strict=True):
        for name, tensor in left.items():
            assert torch.equal(tensor, right[name]), name


@pytest.mark.parametrize("repeats", [1, 2])
def test_folds_hold_out_every_row_but_test_once_each_deal_and_keep_groups_whole(
    experiment, repeats
):
    table = experiment.table
    split = experiment.split
    folds = fold_splits(
        split,
        table.labels,
        table.groups,
        label_names=ROLES.labels,
        folds=4,
        repeats=repeats,
        seed=0,
    )
    outside = np.sort(np.concatenate([split.train, split.validation]))
    for deal in range(repeats):
        held_out = [fold.validation for fold in folds[4 * deal : 4 * deal + 4]]
        assert (np.sort(np.concatenate(held_out)) == outside).all()
    for fold in folds:
        assert (np.sort(np.concatenate([fold.train, fold.validation])) == outside).all()
        assert (fold.test == split.test).all()
        assert not set(table.groups[fold.train]) & set(table.groups[fold.validation])
    deals = {tuple(fold.validation) for fold in folds}
    assert len(deals) == len(folds)


@pytest.mark.parametrize("trial", range(3))
def test_a_fold_of_a_trial_trains_as_if_alone(experiment, results, trial):
    for k, network in enumerate(results[trial].networks):
        config = with_fold_seed(CONFIGS[trial], k)
        best = config.model_copy(update={"epochs": results[trial].best_epoch})
        alone = fit(one_fold(experiment.data, k), [best], keep_last=True)[0]
        assert_same_networks(alone.networks, [network])


@pytest.mark.parametrize("trial", range(3))
def test_a_trial_trains_as_if_alone(experiment, results, trial):
    alone = fit(experiment.data, [CONFIGS[trial]])[0]
    assert alone.history == results[trial].history
    assert alone.thresholds == results[trial].thresholds
    assert_same_networks(alone.networks, results[trial].networks)


def test_one_epoch_is_best_for_all_folds_by_the_pooled_score(experiment, results):
    for result in results:
        assert result.best_epoch == best_row(result.history, result.config)["epoch"]
        assert len(result.networks) == 4


def test_pooled_scores_are_those_of_a_plain_loop_over_folds(experiment, results):
    table, result = experiment.table, results[1]
    checkpoint = make_checkpoint(experiment, result)
    rows = experiment.held_out_rows
    y = table.labels[rows]
    probabilities = np.full(y.shape, np.nan, dtype=np.float32)
    for network, fold in zip(checkpoint.networks, experiment.folds, strict=True):
        place = np.searchsorted(rows, fold.validation)
        probabilities[place] = network_probabilities(network, table.columns.iloc[fold.validation])
    assert not np.isnan(probabilities).any()
    torch.testing.assert_close(torch.from_numpy(probabilities), result.held_out)
    assert torch.equal(
        held_out_probabilities(checkpoint, experiment), torch.from_numpy(probabilities)
    )
    probabilities = result.held_out.numpy()  # the last bits of the last rows may differ
    precision = [average_precision_score(y[:, i], probabilities[:, i]) for i in range(2)]
    assert result.scores["average_precision"] == pytest.approx(np.mean(precision))
    decided = np.zeros_like(y)
    for fold in experiment.folds:  # thresholds of a fold are chosen on the other folds
        held_out = np.isin(rows, fold.validation)
        others = torch.from_numpy(probabilities[~held_out])[None]
        ranking = rank(others, torch.from_numpy(y[~held_out]))
        cuts = best_thresholds(ranking, parse_threshold_metric("f1"))[0].numpy()
        decided[held_out] = probabilities[held_out] >= cuts
    f1 = [f1_score(y[:, i], decided[:, i]) for i in range(2)]
    assert result.scores["macro_f1"] == pytest.approx(np.mean(f1))
    found = cross_fitted_decisions(result.held_out, experiment.data, result.config)
    assert (found.numpy() == (decided > 0)).all()


def test_rows_held_out_of_a_fold_change_nothing_of_its_network(table_csv, tmp_path, experiment):
    """Other values and labels there: its features, weights and training never see them."""
    fold = experiment.folds[2]
    frame = pd.read_csv(table_csv)
    frame.to_csv(tmp_path / "same.csv", index=False)
    same, unchanged = make_data(read_table(tmp_path / "same.csv", ROLES), experiment.folds)
    numbers = [c for c in frame.columns if c not in ("family", "person", *ROLES.labels)]
    numbers = [c for c in numbers if pd.api.types.is_float_dtype(frame[c])]
    assert numbers
    frame.loc[fold.validation, numbers] *= 7
    frame.loc[fold.validation, list(ROLES.labels)] = (
        1 - frame.loc[fold.validation, list(ROLES.labels)]
    )
    path = tmp_path / "changed.csv"
    frame.to_csv(path, index=False)
    table = read_table(path, ROLES)
    features, data = make_data(table, experiment.folds)
    for name, array in same[2].to_state()[0].items():
        assert np.array_equal(array, features[2].to_state()[0][name]), name
    last = CONFIGS[1].model_copy(update={"epochs": 3})
    before = fit(unchanged, [last], keep_last=True)[0].networks[2]
    after = fit(data, [last], keep_last=True)[0].networks[2]
    assert_same_networks([before], [after])


def test_the_checkpoint_predicts_with_the_mean_of_its_networks(experiment, trained, tmp_path):
    columns = experiment.table.columns
    expected = torch.stack([network_probabilities(one, columns) for one in trained.networks])
    found = predict_frame(trained, columns)
    torch.testing.assert_close(found, expected.mean(0))
    save_checkpoint(tmp_path / "best", trained)
    loaded = load_checkpoint(tmp_path / "best")
    assert len(loaded.networks) == 4
    assert torch.equal(predict_frame(loaded, columns), found)
    assert loaded.record.split["folds"] == 4
    assert loaded.record.split["rows"]["validation"] == len(experiment.held_out_rows)


def test_a_run_on_folds_resumes_bit_for_bit(experiment, results, tmp_path):
    states = []
    fit(experiment.data, [CONFIGS[0]], on_state=states.append)
    save_state(tmp_path, states[2], {})
    state, _ = load_state(tmp_path)
    resumed = fit(experiment.data, [CONFIGS[0]], resume=state)[0]
    assert resumed.history == results[0].history
    assert_same_networks(resumed.networks, results[0].networks)


def test_repeated_folds_score_a_row_by_the_mean_of_its_predictions(table_csv):
    settings = dataclasses.replace(SETTINGS, folds=2, repeats=2)
    experiment = prepared(table_csv, settings)
    config = CONFIGS[0].model_copy(update={"epochs": 2})
    result = fit(experiment.data, [config])[0]
    assert len(result.networks) == 4
    checkpoint = make_checkpoint(experiment, result)
    row = int(experiment.held_out_rows[5])
    own = [
        network_probabilities(network, experiment.table.columns.iloc[[row]])[0]
        for network, fold in zip(checkpoint.networks, experiment.folds, strict=True)
        if row in fold.validation
    ]
    assert len(own) == 2
    torch.testing.assert_close(result.held_out[5], torch.stack(own).mean(0))


def test_one_fold_is_the_single_validation_part(table_csv, experiment):
    single = prepared(table_csv, dataclasses.replace(SETTINGS, folds=1))
    assert len(single.folds) == 1
    split = split_rows(
        experiment.table.labels,
        experiment.table.groups,
        label_names=ROLES.labels,
        val_size=0.2,
        test_size=0.2,
        seed=3,
    )
    assert (single.folds[0].validation == split.validation).all()
    assert (single.held_out_rows == split.validation).all()
