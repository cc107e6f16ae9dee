"""A record from outside: whatever was changed in it, it works or is refused in one line."""

import copy
import csv
import json
import shutil
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from trainer.checkpoint import load_checkpoint, save_checkpoint
from trainer.commands.terminal import (
    calibration_grid,
    calibration_sentence,
    label_grid,
    score_sentence,
)
from trainer.config import TrainConfig
from trainer.data.table import Roles, read_table
from trainer.errors import CheckpointError, TableError
from trainer.experiment import SplitSettings, finished, make_checkpoint, prepare_experiment
from trainer.loop.fit import fit
from trainer.predict import predict_frame


@pytest.fixture(scope="module")
def made(table_csv, tmp_path_factory):
    """A finished checkpoint of a trial, its record and some rows to predict."""
    roles = Roles(("rare", "rarer"), group="family", id=("person",))
    experiment = prepare_experiment(
        table_csv, roles, SplitSettings(0.2, 0.2, 0), torch.device("cpu")
    )
    config = TrainConfig.create(batch_size=64, hidden_dim=8, num_layers=1, epochs=2, lr=3e-3)
    trial = {"study": "s", "storage": "sqlite:///x", "number": 3, "objective": "f", "value": 0.5}
    result = fit(experiment.data, [config])[0]
    folder = tmp_path_factory.mktemp("record") / "best"
    save_checkpoint(folder, finished(make_checkpoint(experiment, result, trial), experiment))
    rows = read_table(table_csv, roles).columns.iloc[:20]
    return folder, json.loads((folder / "checkpoint.json").read_text()), rows


@pytest.fixture
def folder(made, tmp_path):
    shutil.copytree(made[0], tmp_path / "best")
    return tmp_path / "best"


def places(content, path=()):
    """Every place in a JSON document, outermost first."""
    yield path
    if isinstance(content, dict | list):
        keys = content if isinstance(content, dict) else range(len(content))
        for key in keys:
            yield from places(content[key], (*path, key))


def changed(content, path, value):
    if not path:
        return value
    content = copy.deepcopy(content)
    inner = content
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = value
    return content


ODD = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-3, 3),
    st.sampled_from([1e39, float("nan"), float("inf"), -0.5, 1.5, 10**400, 2**63, "", "rare", "x"]),
    st.floats(allow_nan=False),
    st.text(max_size=4),
    st.lists(st.sampled_from(["rare", "rarer", 1, None]), max_size=3),
    st.dictionaries(st.sampled_from(["rare", "f1", "x"]), st.integers(0, 1), max_size=2),
)


def use(folder, rows):
    """Load a checkpoint and use it in the ways that its readers do; what refuses it, or ""."""
    try:
        checkpoint = load_checkpoint(folder)
    except CheckpointError as error:
        return str(error)
    record = checkpoint.record
    label_grid("Validation rows", record.as_handed_out(record.validation), record.doubts)
    if record.test is not None:
        label_grid("Test rows", record.test_as_handed_out, record.doubts)
        calibration_grid(record.test_as_handed_out)
        calibration_sentence(record.test, "test")
        score_sentence("", record.test["macro_f1"], record.test["intervals"]["macro"]["f1"])
    assert record.table["sha256"]
    assert record.trial is None or record.trial["number"] >= 0
    assert record.model_dump_json()
    assert all(0 <= threshold <= 1 for threshold in record.thresholds_in_use.values())
    try:
        assert predict_frame(checkpoint, rows).shape == (len(rows), len(record.labels))
    except TableError as error:  # another column's name is read
        return str(error)
    return ""


@seed(13)
@settings(
    max_examples=300,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(data=st.data())
def test_any_changed_value_loads_or_is_refused_in_one_line(made, folder, data):
    _, record, rows = made
    path = data.draw(st.sampled_from(list(places(record))))
    text = json.dumps(changed(record, path, data.draw(ODD)))
    (folder / "checkpoint.json").write_text(text)
    assert "\n" not in use(folder, rows)


def test_every_value_left_out_loads_or_is_refused(made, folder):
    _, record, rows = made
    for path in places(record):
        if not path:
            continue
        content = copy.deepcopy(record)
        inner = content
        for key in path[:-1]:
            inner = inner[key]
        del inner[path[-1]]
        (folder / "checkpoint.json").write_text(json.dumps(content))
        assert "\n" not in use(folder, rows)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("thresholds", "rare"), float("nan")),
        (("thresholds", "rare"), 1e39),
        (("thresholds", "rare"), "0.5"),
        (("labels",), ["rare", "rare"]),
        (("labels",), ["rarer", "rare"]),
        (("best_epoch",), -1),
        (("best_epoch",), 0),
        (("test", "macro_f1"), None),
        (("test", "labels"), {}),
        (("split", "seed"), -1),
        (("table", "sha256"), "abc"),
        (("trial", "number"), "three"),
        (("calibration", "rare", "a"), -0.1),
        (("calibration", "rare", "b"), float("nan")),
        (("calibration", "rare", "c"), 1e300),
        (("calibration", "rare"), {"a": 1.0, "b": 1.0}),
        (("calibration",), {}),
        (("test", "calibration"), {"rare": {}}),
        (("features", 0, "numbers", 0), "b"),
    ],
)
def test_values_that_would_mislead_are_refused(made, folder, path, value):
    text = json.dumps(changed(made[1], path, value))
    (folder / "checkpoint.json").write_text(text)
    with pytest.raises(CheckpointError, match="broken"):
        load_checkpoint(folder)


def test_a_key_that_is_there_twice_is_refused(made, folder):
    path = folder / "checkpoint.json"
    path.write_text(path.read_text().replace('"best_epoch"', '"best_epoch": 1,\n"best_epoch"', 1))
    with pytest.raises(CheckpointError, match="twice"):
        load_checkpoint(folder)


@pytest.mark.parametrize(
    "row",
    ["1,2,3", "1,0.5,0.5,0.5,0.5,0.5,0.5,0.5,0.5,0.5,0.5,0.5,0.5,0.5,0.5,0.5", "-1", "one", '"'],
)
def test_odd_rows_of_a_history_are_refused(folder, row):
    with (folder / "history.csv").open("a") as file:
        file.write(f"{row}\n")
    with pytest.raises(CheckpointError, match=r"history\.csv"):
        load_checkpoint(folder)


@pytest.mark.parametrize("text", ["", "loss\n1\n", "epoch,loss,loss\n", "x" * 200_000, "\0"])
def test_odd_histories_are_refused(folder, text):
    (folder / "history.csv").write_text(text)
    with pytest.raises(CheckpointError):
        load_checkpoint(folder)


@pytest.mark.parametrize("kind", [torch.bfloat16, torch.float16, torch.bool, torch.uint8])
def test_tensors_of_other_kinds_are_refused(folder, kind):
    tensors = load_file(folder / "model.safetensors")
    for name, tensor in tensors.items():
        save_file({**tensors, name: tensor.to(kind)}, folder / "model.safetensors")
        with pytest.raises(CheckpointError, match=name):
            load_checkpoint(folder)


LARGE = {
    "numbers": {"numbers": [f"n{i}" for i in range(100_000)]},
    "other values": {"numbers": [1] * 300_000},
    "other keys": {f"k{i}": 1 for i in range(100_000)},
    "categories": {"categories": [{}] * 100_000},
}


@pytest.mark.parametrize("name", LARGE)
def test_a_large_description_is_refused_at_once(made, folder, name):
    record = changed(made[1], ("features", 0), {**made[1]["features"][0], **LARGE[name]})
    (folder / "checkpoint.json").write_text(json.dumps(record))
    began = time.process_time()
    with pytest.raises(CheckpointError) as caught:
        load_checkpoint(folder)
    assert time.process_time() - began < 5
    assert len(str(caught.value)) < 500


def test_many_pieces_are_named_in_linear_time(made, folder):
    tensors = load_file(folder / "model.safetensors")
    many = 200_000
    tensors["0.features.piece_of"] = torch.from_numpy(np.zeros(many, dtype=np.int64))
    for name in ("low", "width"):
        tensors[f"0.features.{name}"] = torch.ones(many, dtype=torch.float64)
    save_file(tensors, folder / "model.safetensors")
    began = time.process_time()
    with pytest.raises(CheckpointError, match="layers of shapes"):
        load_checkpoint(folder)
    assert time.process_time() - began < 5


def test_a_record_of_format_1_is_still_read(made, folder):
    """As versions before folds wrote it: one network, no doubts, a split without folds."""
    record = copy.deepcopy(made[1])
    record |= {"format_version": 1, "features": record["features"][0]}
    del record["validation"]["doubts"], record["split"]["folds"], record["split"]["repeats"]
    del record["calibration"], record["validation"]["calibration"], record["test"]["calibration"]
    (folder / "checkpoint.json").write_text(json.dumps(record))
    tensors = load_file(folder / "model.safetensors")
    save_file(
        {name.removeprefix("0."): tensor for name, tensor in tensors.items()},
        folder / "model.safetensors",
    )
    assert use(folder, made[2]) == ""
    read = load_checkpoint(folder).record
    assert read.doubts == {}
    assert read.calibrations is None
    assert read.thresholds_in_use == read.thresholds


def test_a_history_is_read_as_it_was_written(folder):
    with Path(folder / "history.csv").open(newline="") as file:
        written = list(csv.DictReader(file))
    found = load_checkpoint(folder).history
    assert [int(row["epoch"]) for row in written] == [row["epoch"] for row in found]
    assert [float(row["loss"]) for row in written] == [row["loss"] for row in found]


def test_what_is_shown_beside_predictions_is_of_calibrated_probabilities(made):
    record = load_checkpoint(made[0]).record
    shown = record.test_as_handed_out
    for label, (name, raw) in zip(
        shown["labels"].values(), record.test["labels"].items(), strict=True
    ):
        after = record.test["calibration"][name]["after"]
        assert label["threshold"] == record.thresholds_in_use[name] != raw["threshold"]
        assert label["brier"] == after["brier"] != raw["brier"]
        assert label["calibration_error"] == after["calibration_error"]
        assert {
            **label,
            **{key: raw[key] for key in ("threshold", "brier", "calibration_error")},
        } == raw
    written = json.loads((made[0] / "thresholds.json").read_text())
    assert written == record.thresholds_in_use
