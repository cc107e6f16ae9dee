import json
import pickle
import resource
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from trainer.checkpoint import (
    FILES,
    Checkpoint,
    Network,
    Record,
    check_replaceable,
    library_versions,
    load_checkpoint,
    save_checkpoint,
    shape_of,
)
from trainer.config import TrainConfig
from trainer.data.reading import read_columns
from trainer.data.split import split_rows
from trainer.data.table import Roles, read_table
from trainer.errors import CheckpointError, TableError
from trainer.loop.fit import fit
from trainer.predict import predict_file, predict_frame
from trainer.stack.tensors import make_data


@pytest.fixture(scope="module")
def trained(table_csv):
    """A small run on the shared table: its table, split, result and checkpoint."""
    roles = Roles(("rare", "rarer"), group="family", id=("person",))
    table = read_table(table_csv, roles)
    split = split_rows(
        table.labels, table.groups, label_names=roles.labels, val_size=0.2, test_size=0.2, seed=0
    )
    (features,), data = make_data(table, [split])
    config = TrainConfig.create(batch_size=64, hidden_dim=32, num_layers=1, epochs=5, lr=3e-3)
    result = fit(data, [config])[0]
    content = {
        "config": config,
        "labels": roles.labels,
        "roles": roles,
        "features": [features.description],
        "thresholds": result.thresholds,
        "best_epoch": result.best_epoch,
        "validation": {
            "scores": result.scores,
            "shrunk_thresholds": [],
            **result.evaluation.to_json(),
        },
        "test": None,
        "split": {
            **{"val_size": 0.2, "test_size": 0.2, "seed": 0},
            "rows": {"train": 60, "validation": 20, "test": 20},
        },
        "table": {"file": table_csv.name, "rows": len(table.labels), "sha256": table.hash},
        "versions": library_versions(),
    }
    network = Network(features, shape_of(config, features, 2), result.networks[0])
    checkpoint = Checkpoint(Record.model_validate(content), (network,), result.history)
    return table, split, result, checkpoint


@pytest.fixture
def folder(trained, tmp_path):
    save_checkpoint(tmp_path / "best", trained[-1])
    return tmp_path / "best"


def test_a_checkpoint_comes_back_as_it_was(trained, folder):
    checkpoint, loaded = trained[-1], load_checkpoint(folder)
    assert loaded.record.model_dump_json() == checkpoint.record.model_dump_json()
    assert loaded.record.roles == checkpoint.record.roles
    assert loaded.history == checkpoint.history
    (network,), (expected,) = loaded.networks, checkpoint.networks
    assert network.parameters.keys() == expected.parameters.keys()
    for name, tensor in expected.parameters.items():
        assert torch.equal(network.parameters[name], tensor)


def test_its_folder_holds_the_promised_files(folder):
    names = {path.name for path in folder.iterdir()}
    assert names == {"model.safetensors", "checkpoint.json", "thresholds.json", "history.csv"}
    thresholds = json.loads((folder / "thresholds.json").read_text())
    assert thresholds == json.loads((folder / "checkpoint.json").read_text())["thresholds"]


def test_predictions_reproduce_the_validation_decisions(trained, folder, table_csv):
    """The whole way: file, features, network, thresholds; on the training table itself."""
    table, split, result, _ = trained
    output = folder.parent / "out.csv"
    rows = predict_file(load_checkpoint(folder), table_csv, output)
    predicted = read_columns(output, text=["person"])
    assert rows == len(predicted) == len(table.labels)
    assert predicted["person"].tolist() == [f"{i:05d}" for i in range(rows)]
    decided = predicted[["rare_positive", "rarer_positive"]].to_numpy()[split.validation]
    labels = table.labels[split.validation]
    hits, found = (decided * labels).sum(0), decided.sum(0)
    f1 = 2 * hits / (found + labels.sum(0))
    assert f1.mean() == pytest.approx(result.scores["tuned_macro_f1"], abs=1e-12)


def test_the_order_of_rows_does_not_matter(trained):
    table, _, _, checkpoint = trained
    whole = predict_frame(checkpoint, table.columns)
    shuffled = np.random.default_rng(0).permutation(len(table.columns))
    again = predict_frame(checkpoint, table.columns.iloc[shuffled])
    torch.testing.assert_close(again, whole[shuffled])


def test_missing_values_and_unseen_categories_are_predicted(trained, tmp_path):
    path = tmp_path / "new.csv"
    path.write_text("a,b,c,d,site,extra\n,,,,,1\n1,2,3,4,elsewhere,2\n")
    rows = predict_file(trained[-1], path, tmp_path / "out.csv")
    predicted = read_columns(tmp_path / "out.csv")
    assert rows == 2
    assert predicted.notna().all().all()
    assert predicted.filter(like="probability").to_numpy().min() >= 0


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a,b,site\n1,2,north\n", "'c', 'd'|'c'.*'d'"),
        ("a,b,c,d,site\n1,2,three,4,north\n", "new.csv"),
        ("a,b,c,d,site\n", "nothing to predict"),
    ],
)
def test_a_table_that_cannot_be_predicted_is_one_clear_line(trained, tmp_path, text, message):
    path = tmp_path / "new.csv"
    path.write_text(text)
    with pytest.raises(TableError, match=message) as caught:
        predict_file(trained[-1], path, tmp_path / "out.csv")
    assert "\n" not in str(caught.value)
    assert [p.name for p in tmp_path.iterdir()] == ["new.csv"]


def test_an_id_column_asked_for_but_missing_is_refused(trained, tmp_path):
    path = tmp_path / "new.csv"
    path.write_text("a,b,c,d,site\n1,2,3,4,north\n")
    with pytest.raises(TableError, match="id column 'person' is missing"):
        predict_file(trained[-1], path, tmp_path / "out.csv", ["person"])


def test_saving_replaces_a_checkpoint_whole(trained, folder):
    changed = trained[-1].record.model_copy(update={"best_epoch": 99})
    save_checkpoint(folder, replace(trained[-1], record=changed))
    assert load_checkpoint(folder).record.best_epoch == 99
    assert [path.name for path in folder.parent.iterdir()] == ["best"]


def test_a_crash_while_saving_leaves_the_old_checkpoint(trained, folder, monkeypatch):
    def crash(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("trainer.checkpoint.write_history", crash)
    with pytest.raises(CheckpointError, match="No space left"):
        save_checkpoint(folder, trained[-1])
    assert load_checkpoint(folder).history == trained[-1].history
    assert [path.name for path in folder.parent.iterdir()] == ["best"]


def test_a_disk_that_is_full_is_one_line_and_leaves_the_old_checkpoint(trained, folder):
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2048, limits[1]))  # less than the networks take
    try:
        with pytest.raises(CheckpointError, match=r"can't write .*; name another"):
            save_checkpoint(folder, trained[-1])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    assert [path.name for path in folder.parent.iterdir()] == [folder.name]


def test_a_folder_with_other_files_is_never_replaced(trained, tmp_path):
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter1.txt").write_text("years of work")
    with pytest.raises(CheckpointError, match="other than a checkpoint"):
        save_checkpoint(tmp_path / "thesis", trained[-1])
    assert (tmp_path / "thesis" / "chapter1.txt").exists()


class Bomb:
    """Runs code when unpickled."""

    def __reduce__(self):
        return (exec, ("raise SystemExit('a stranger ran code here')",))


def edit(folder, change):
    path = folder / "checkpoint.json"
    record = json.loads(path.read_text())
    change(record)
    path.write_text(json.dumps(record))


HOSTILE = {
    "no record": lambda f: (f / "checkpoint.json").unlink(),
    "no model": lambda f: (f / "model.safetensors").unlink(),
    "no history": lambda f: (f / "history.csv").unlink(),
    "pickle for a model": lambda f: (f / "model.safetensors").write_bytes(pickle.dumps(Bomb())),
    "torn model": lambda f: (f / "model.safetensors").write_bytes(b"\xff" * 40),
    "pickle for a record": lambda f: (f / "checkpoint.json").write_bytes(pickle.dumps(Bomb())),
    "torn record": lambda f: (f / "checkpoint.json").write_text('{"format_version": 1'),
    "record is a list": lambda f: (f / "checkpoint.json").write_text("[]"),
    "future format": lambda f: edit(f, lambda r: r.update(format_version=4)),
    "unknown key": lambda f: edit(f, lambda r: r.update(run="rm -rf /")),
    "other width": lambda f: edit(f, lambda r: r["config"].update(hidden_dim=48)),
    "enormous width": lambda f: edit(f, lambda r: r["config"].update(hidden_dim=8192)),
    "impossible config": lambda f: edit(f, lambda r: r["config"].update(lr=-1)),
    "other labels": lambda f: edit(f, lambda r: r.update(labels=["rare", "common"])),
    "other features": lambda f: edit(f, lambda r: r["features"].clear()),
    "text in history": lambda f: (f / "history.csv").write_text("epoch,loss\none,two\n"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_or_broken_checkpoint_runs_nothing_and_is_refused(folder, name):
    HOSTILE[name](folder)
    with pytest.raises(CheckpointError) as caught:
        load_checkpoint(folder)
    assert "\n" not in str(caught.value)
    assert str(folder) in str(caught.value)


def test_saving_again_keeps_what_a_user_put_there(trained, folder):
    (folder / "notes.md").write_text("mine")
    (folder / "history.svg").write_text("of the run before")
    save_checkpoint(folder, trained[-1])
    names = {path.name for path in folder.iterdir()}
    assert names == {*FILES, "notes.md"}
    assert (folder / "notes.md").read_text() == "mine"


def test_its_files_have_one_mode(folder):
    assert len({path.stat().st_mode for path in folder.iterdir()}) == 1


@pytest.mark.parametrize("path", [".", "", "/", "..", "a/.."])
def test_odd_folders_are_refused_in_one_line(trained, folder, monkeypatch, path):
    monkeypatch.chdir(folder)
    with pytest.raises(CheckpointError, match="name a folder in it"):
        save_checkpoint(Path(path), trained[-1])
    with pytest.raises(CheckpointError, match="name a folder in it"):
        check_replaceable(Path(path))


def test_a_folder_that_can_not_be_made_is_one_line(trained, tmp_path):
    (tmp_path / "file").touch()
    for path in (tmp_path / "file", tmp_path / "file/below"):
        with pytest.raises(CheckpointError, match="name another folder"):
            save_checkpoint(path, trained[-1])
