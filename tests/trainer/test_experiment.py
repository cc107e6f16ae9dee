"""A checkpoint as it is handed over: its calibration, and what its rows are scored by."""

import pytest
import torch

from trainer.checkpoint import load_checkpoint, save_checkpoint
from trainer.config import TrainConfig
from trainer.data.table import Roles
from trainer.experiment import (
    SplitSettings,
    finished,
    held_out_probabilities,
    make_checkpoint,
    prepare_experiment,
    score_rows,
)
from trainer.loop.fit import fit
from trainer.scores.calibration import Calibration, cross_fitted, fit_calibrations
from trainer.scores.reliability import calibration_scores

ROLES = Roles(("rare", "rarer"), group="family", id=("person",))
CONFIG = TrainConfig.create(
    epochs=6, hidden_dim=16, lr=1e-2, loss_type="weighted_bce", class_weight_method="aggressive"
)


@pytest.fixture(scope="module", params=[1, 4])
def made(request, table_csv):
    """An experiment of so many folds, and a checkpoint before and after it is finished."""
    settings = SplitSettings(0.2, 0.2, 0, folds=request.param)
    experiment = prepare_experiment(table_csv, ROLES, settings, torch.device("cpu"))
    checkpoint = make_checkpoint(experiment, fit(experiment.data, [CONFIG])[0])
    return experiment, checkpoint, finished(checkpoint, experiment)


def test_curves_are_those_of_the_held_out_rows(made):
    experiment, checkpoint, handed_over = made
    held_out = held_out_probabilities(checkpoint, experiment)
    expected = fit_calibrations(held_out, experiment.data.y_validation)
    assert handed_over.record.calibrations == expected
    assert checkpoint.record.calibrations is None
    again = finished(checkpoint, experiment, held_out)
    assert again.record.calibration == handed_over.record.calibration


def test_validated_scores_are_of_rows_that_the_curves_never_saw(made):
    experiment, checkpoint, handed_over = made
    held_out, data = held_out_probabilities(checkpoint, experiment), experiment.data
    unseen = cross_fitted(held_out, data.y_validation, data.cross_fold)
    for i, label in enumerate(data.labels):
        told = handed_over.record.validation["calibration"][label]
        y = data.y_validation[:, i]
        assert told["after"]["brier"] == calibration_scores(unseen[:, i], y).brier
        assert told["before"]["brier"] == calibration_scores(held_out[:, i], y).brier


def test_calibration_changes_no_decision_and_no_score_of_them(made):
    experiment, checkpoint, handed_over = made
    rows = experiment.test_rows
    before, after = (score_rows(one, experiment.table, rows) for one in (checkpoint, handed_over))
    assert torch.equal(before.probabilities, after.probabilities)
    assert before.scores == after.scores
    assert handed_over.record.thresholds == checkpoint.record.thresholds
    cuts = torch.tensor(list(handed_over.record.thresholds_in_use.values()))
    raw_cuts = torch.tensor(list(handed_over.record.thresholds.values()))
    decided = before.probabilities >= raw_cuts
    assert torch.equal(after.calibrated >= cuts, decided)
    assert 0 < int(decided.sum()) < decided.numel()


def test_on_new_rows_probabilities_are_nearer_to_the_truth(made):
    _, _, handed_over = made
    for told in handed_over.record.test["calibration"].values():
        before, after = told["before"], told["after"]
        assert after["calibration_error"] < before["calibration_error"]
        assert after["brier"] < before["brier"]


def test_one_label_is_scored_as_among_all(made):
    experiment, _, handed_over = made
    whole = score_rows(handed_over, experiment.table, experiment.test_rows)
    alone = score_rows(handed_over, experiment.table, experiment.test_rows, ["rarer"])
    assert torch.equal(alone.calibrated[:, 0], whole.calibrated[:, 1])
    assert alone.to_json()["calibration"] == {"rarer": whole.to_json()["calibration"]["rarer"]}


def test_a_calibration_comes_back_as_it_was(made, tmp_path):
    _, _, handed_over = made
    save_checkpoint(tmp_path / "best", handed_over)
    read = load_checkpoint(tmp_path / "best").record
    assert read.calibrations == handed_over.record.calibrations
    assert all(isinstance(one, Calibration) for one in read.calibrations)
