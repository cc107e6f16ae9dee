"""A checkpoint of several trials: it predicts their weighted mean, and comes back as it was."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from conftest import draw_table
from safetensors.torch import load_file, save_file

from trainer.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from trainer.config import TrainConfig
from trainer.data.table import Roles, read_table
from trainer.errors import CheckpointError
from trainer.experiment import (
    SplitSettings,
    held_out_probabilities,
    make_checkpoint,
    place_experiment,
    score_rows,
)
from trainer.loop.fit import fit
from trainer.predict import predict_file, predict_frame
from trainer.steps.compiler import build

ROLES = Roles(("rare", "rarer"), group="family", id=("person",))
WEIGHTS = (0.5, 0.375, 0.125)
CONFIGS = [
    TrainConfig.create(batch_size=64, hidden_dim=width, num_layers=layers, epochs=2, lr=1e-2)
    for width, layers in ((16, 1), (32, 2), (16, 0))
]


@pytest.fixture(scope="module")
def experiment(table_csv):
    settings = SplitSettings(0.2, 0.2, seed=3, folds=3)
    return place_experiment(read_table(table_csv, ROLES), settings, torch.device("cpu"))


@pytest.fixture(scope="module")
def members(experiment):
    return [make_checkpoint(experiment, result) for result in fit(experiment.data, CONFIGS)]


@pytest.fixture(scope="module")
def ensemble(members):
    described = [
        {
            "weight": weight,
            "config": one.record.config,
            "best_epoch": one.record.best_epoch,
            "trial": {"study": "clinic", "number": 4 + k},
        }
        for k, (weight, one) in enumerate(zip(WEIGHTS, members, strict=True))
    ]
    record = members[0].record.model_copy(update={"members": tuple(described)})
    folds = zip(*(one.networks for one in members), strict=True)
    networks = tuple(network for of_fold in folds for network in of_fold)
    return replace(members[0], record=record, networks=networks, history=[])


@pytest.fixture
def folder(ensemble, tmp_path):
    save_checkpoint(tmp_path / "ensemble", ensemble)
    return tmp_path / "ensemble"


@pytest.mark.parametrize("language", ["C", "torch"])
def test_it_predicts_the_weighted_mean_of_its_members(ensemble, members, language, monkeypatch):
    if language == "torch":
        monkeypatch.setattr("trainer.steps.inference.library", lambda: None)
    elif build().library is None:
        pytest.skip(build().how)
    columns = draw_table(rows=5000, seed=1)
    own = [predict_frame(one, columns) for one in members]
    expected = sum(weight * one for weight, one in zip(WEIGHTS, own, strict=True))
    torch.testing.assert_close(predict_frame(ensemble, columns), expected)


def test_its_held_out_rows_are_predicted_by_networks_that_did_not_train_on_them(
    ensemble, members, experiment
):
    own = [held_out_probabilities(one, experiment) for one in members]
    expected = sum(weight * one for weight, one in zip(WEIGHTS, own, strict=True))
    torch.testing.assert_close(held_out_probabilities(ensemble, experiment), expected)


def test_the_rows_beside_a_row_do_not_change_its_bits(ensemble, monkeypatch):
    columns = draw_table(rows=300, seed=2)
    whole = predict_frame(ensemble, columns)
    monkeypatch.setattr("trainer.predict.ROWS_IN_CACHE", 32)
    for rows in ([0], [299, 3, 3], list(range(100, 171))):
        assert torch.equal(predict_frame(ensemble, columns.iloc[rows]), whole[rows])


def test_it_comes_back_as_it_was_each_folds_features_once(ensemble, folder, table_csv, tmp_path):
    loaded = load_checkpoint(folder)
    assert loaded.record.model_dump_json() == ensemble.record.model_dump_json()
    assert loaded.history == []
    columns = draw_table(rows=100, seed=3)
    assert torch.equal(predict_frame(loaded, columns), predict_frame(ensemble, columns))
    stored = load_file(folder / "model.safetensors")
    assert len([name for name in stored if name.endswith("features.median")]) == 3
    assert predict_file(loaded, table_csv, tmp_path / "out.csv") == 900


def test_it_is_scored_as_any_checkpoint(ensemble, experiment):
    scored = score_rows(ensemble, experiment.table, experiment.test_rows)
    expected = predict_frame(ensemble, experiment.table.columns.iloc[experiment.test_rows])
    assert torch.equal(scored.probabilities, expected)


def of_record(change):
    def edit(folder):
        record = json.loads((folder / "checkpoint.json").read_text())
        change(record)
        (folder / "checkpoint.json").write_text(json.dumps(record))

    return edit


def of_tensors(change):
    def edit(folder):
        tensors = load_file(folder / "model.safetensors")
        change(tensors)
        save_file(tensors, folder / "model.safetensors")

    return edit


BROKEN = {
    "a weight of 0": of_record(lambda r: r["members"][0].update(weight=0)),
    "weights that sum to more": of_record(lambda r: r["members"][0].update(weight=0.9)),
    "a trial twice": of_record(lambda r: r["members"][0]["trial"].update(number=5)),
    "a member less": of_record(lambda r: r["members"].pop()),
    "members in another order": of_record(lambda r: r["members"].reverse()),
    "a trial of its own": of_record(lambda r: r.update(trial={"study": "x", "number": 1})),
    "another config": of_record(lambda r: r["members"][1]["config"].update(hidden_dim=48)),
    "no weight": of_record(lambda r: r["members"][1].pop("weight")),
    "a layer less": of_tensors(lambda t: t.pop("1.1.layers.2.bias")),
    "a fold less": of_record(lambda r: r["features"].pop()),
    "a stray tensor": of_tensors(lambda t: t.update({"1.7.layers.0.bias": torch.zeros(2)})),
    "numbers that are none": of_tensors(lambda t: t["0.2.layers.0.bias"].fill_(np.nan)),
}


@pytest.mark.parametrize("what", BROKEN)
def test_one_that_is_not_as_written_is_one_clear_line(folder, what):
    BROKEN[what](folder)
    with pytest.raises(CheckpointError, match="is broken or of another format: ") as caught:
        load_checkpoint(folder)
    assert "\n" not in str(caught.value)


def test_a_checkpoint_of_format_2_is_read_as_before(members, tmp_path):
    save_checkpoint(tmp_path / "best", members[1])

    def of_format_2(record):
        record["format_version"] = 2
        del record["members"]

    of_record(of_format_2)(tmp_path / "best")
    loaded: Checkpoint = load_checkpoint(tmp_path / "best")
    assert loaded.record == members[1].record
    columns = draw_table(rows=50, seed=4)
    assert torch.equal(predict_frame(loaded, columns), predict_frame(members[1], columns))
