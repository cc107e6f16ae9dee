import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from conftest import draw_table
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from trainer.checkpoint import save_checkpoint
from trainer.config import TrainConfig
from trainer.data.reading import read_columns
from trainer.data.table import Roles
from trainer.errors import TableError
from trainer.experiment import SplitSettings, make_checkpoint, prepare_experiment
from trainer.loop.fit import fit
from trainer.predict import predict_file, predict_frame

ROLES = Roles(("rare", "rarer"), group="family", id=("person",))


@pytest.fixture(scope="module")
def checkpoint(table_csv):
    device, shares = torch.device("cpu"), SplitSettings(0.2, 0.2, 0)
    experiment = prepare_experiment(table_csv, ROLES, shares, device)
    config = TrainConfig.create(batch_size=64, hidden_dim=32, num_layers=1, epochs=3, lr=3e-3)
    return make_checkpoint(experiment, fit(experiment.data, [config])[0])


@pytest.fixture(scope="module")
def calibrated(checkpoint):
    """The checkpoint with curves that move its probabilities far."""
    curves = {"rare": {"a": 1.6, "b": 0.5, "c": -2.0}, "rarer": {"a": 0.0, "b": 0.0, "c": -3.0}}
    record = checkpoint.record.model_copy(update={"calibration": curves})
    return replace(checkpoint, record=record)


@pytest.fixture(scope="module")
def columns(table_csv):
    return read_columns(table_csv, text=["person"])


@pytest.fixture
def small_tables(monkeypatch):
    """Read and predict in many small steps, so that every one ends somewhere odd."""
    monkeypatch.setattr("trainer.data.reading.BLOCK_BYTES", 1 << 10)
    monkeypatch.setattr("trainer.data.reading.TABLE_ROWS", 70)
    monkeypatch.setattr("trainer.predict.ROWS_AT_ONCE", 32)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(rows=st.lists(st.integers(0, 899), min_size=1, max_size=70))
def test_the_rows_beside_a_row_do_not_change_its_bits(checkpoint, columns, rows):
    whole = predict_frame(checkpoint, columns)
    assert torch.equal(predict_frame(checkpoint, columns.iloc[rows]), whole[rows])


def test_a_frame_without_rows_has_no_probabilities(checkpoint, columns):
    assert predict_frame(checkpoint, columns.iloc[:0]).shape == (0, 2)


@pytest.mark.parametrize("suffix", [".csv", ".csv.gz", ".parquet"])
def test_a_file_predicted_in_steps_is_the_frame_predicted_at_once(
    checkpoint, tmp_path, small_tables, suffix
):
    """In file order and to the bit, from columns in another order, with others among them."""
    table = draw_table(rows=1000, seed=1)
    table.loc[3:700:7, "site"] = "elsewhere"
    table.loc[5:990:11, ["site", "a", "d"]] = None
    table = table[["d", "site", "rare", "a", "person", "c", "b"]]
    path, output = tmp_path / f"new{suffix}", tmp_path / "out.csv"
    if suffix == ".parquet":
        table.to_parquet(path, index=False)
    else:
        table.to_csv(path, index=False)
    assert predict_file(checkpoint, path, output) == len(table)
    predicted = read_columns(output, text=["person"])
    assert predicted["person"].tolist() == table["person"].tolist()
    expected = predict_frame(checkpoint, read_columns(path, text=["person"])).numpy()
    for i, label in enumerate(checkpoint.record.labels):
        probability = predicted[f"{label}_probability"].to_numpy().astype(np.float32)
        np.testing.assert_array_equal(probability, expected[:, i])
        decided = expected[:, i] >= np.float32(checkpoint.record.thresholds[label])
        np.testing.assert_array_equal(predicted[f"{label}_positive"], decided)


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_calibrated_probabilities_decide_every_row_as_raw_ones(
    checkpoint, calibrated, tmp_path, small_tables, new_csv, suffix
):
    """By what is written, against the thresholds that are written beside the checkpoint."""
    save_checkpoint(tmp_path / "best", calibrated)
    thresholds = json.loads((tmp_path / "best" / "thresholds.json").read_text())
    for name, one, raw in (("c", calibrated, False), ("r", calibrated, True), ("o", checkpoint, 0)):
        predict_file(one, new_csv, tmp_path / f"{name}{suffix}", raw=raw)
    assert (tmp_path / f"r{suffix}").read_bytes() == (tmp_path / f"o{suffix}").read_bytes()
    read = pd.read_csv if suffix == ".csv" else pd.read_parquet
    found, before = (read(tmp_path / f"{name}{suffix}") for name in ("c", "r"))
    for label in ("rare", "rarer"):
        decided = found[f"{label}_positive"]
        assert decided.tolist() == before[f"{label}_positive"].tolist()
        assert 0 < decided.sum() < len(decided)
        reached = found[f"{label}_probability"] >= thresholds[label]
        assert reached.tolist() == (decided == 1).tolist()
        assert found[f"{label}_probability"].mean() < before[f"{label}_probability"].mean()
    raw = before["rare_probability"].to_numpy()
    rising = found["rare_probability"].to_numpy()[np.argsort(raw)]
    assert (np.diff(rising) >= 0).all()


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [("a", "many", r"column 'a': Row #952: .*many"), ("b", "inf", "'b' has 1 infinite")],
)
def test_a_fault_far_down_the_file_leaves_no_output(
    checkpoint, tmp_path, small_tables, column, value, message
):
    table = draw_table(rows=1000).astype({column: object})
    table.loc[950, column] = value
    table.to_csv(tmp_path / "new.csv", index=False)
    with pytest.raises(TableError, match=message):
        predict_file(checkpoint, tmp_path / "new.csv", tmp_path / "out.csv")
    assert [path.name for path in tmp_path.iterdir()] == ["new.csv"]


def test_row_names_come_out_as_they_went_in(checkpoint, tmp_path, columns):
    names = ["007", "", "NA", "1e3", 'said "no", twice', "ünï"]
    pd.DataFrame(columns.iloc[:6]).assign(person=names).to_csv(tmp_path / "new.csv", index=False)
    predict_file(checkpoint, tmp_path / "new.csv", tmp_path / "out.csv")
    predicted = pd.read_csv(tmp_path / "out.csv", dtype=str, keep_default_na=False)
    assert predicted["person"].tolist() == names


def test_values_that_were_not_seen_in_training_are_said(checkpoint, tmp_path, small_tables):
    table = draw_table(rows=300, seed=1)
    table["site"] = ["NORTH"] * 150 + [None] * 50 + [" south"] * 50 + ["west"] * 50
    table.to_csv(tmp_path / "new.csv", index=False)
    said = []
    predict_file(checkpoint, tmp_path / "new.csv", tmp_path / "out.csv", say=said.append)
    assert said == [
        "site: 200 of 250 values were seen in fewer than 5 rows of the training, or in none, "
        "first 'NORTH'; spelled otherwise there: 'NORTH' for 'north', ' south' for 'south'"
    ]
    table.assign(site="south").to_csv(tmp_path / "new.csv", index=False)
    predict_file(checkpoint, tmp_path / "new.csv", tmp_path / "out.csv", say=said.append)
    assert len(said) == 1


def test_row_names_never_stand_where_predictions_do(checkpoint, tmp_path):
    table = draw_table(rows=30).rename(columns={"person": "rare_probability"})
    table.to_csv(tmp_path / "new.csv", index=False)
    with pytest.raises(TableError, match="'rare_probability' has the name of a column of pred"):
        predict_file(checkpoint, tmp_path / "new.csv", tmp_path / "out.csv", ["rare_probability"])
    assert [path.name for path in tmp_path.iterdir()] == ["new.csv"]


def test_a_number_that_the_network_reads_may_name_the_rows(checkpoint, tmp_path):
    table = draw_table(rows=30)
    table.to_csv(tmp_path / "new.csv", index=False)
    predict_file(checkpoint, tmp_path / "new.csv", tmp_path / "out.csv", ["a"])
    predicted = read_columns(tmp_path / "out.csv")
    np.testing.assert_array_equal(predicted["a"], table["a"])


@pytest.fixture
def new_csv(tmp_path):
    draw_table(rows=3000, seed=1).to_csv(tmp_path / "new.csv", index=False)
    return tmp_path / "new.csv"


@pytest.mark.parametrize("name", ["p.csv.gz", "p.parquet", "p.CSV", "p"])
def test_an_output_has_the_format_that_its_name_says(
    checkpoint, tmp_path, small_tables, new_csv, name
):
    predict_file(checkpoint, new_csv, tmp_path / "as.csv")
    expected = pd.read_csv(tmp_path / "as.csv", dtype={"person": str})
    predict_file(checkpoint, new_csv, tmp_path / name)
    if name == "p.parquet":
        found = pd.read_parquet(tmp_path / name)
    else:
        compression = "gzip" if name.endswith("gz") else None
        found = pd.read_csv(tmp_path / name, dtype={"person": str}, compression=compression)
    pd.testing.assert_frame_equal(found, expected, check_dtype=False)


@pytest.mark.parametrize("name", ["p.xlsx", "p.tsv", "p.csv.zip", "p.json"])
def test_a_format_that_can_not_be_written_is_refused(checkpoint, tmp_path, new_csv, name):
    with pytest.raises(TableError, match=rf"{name} is none of .csv, .csv.gz, .parquet"):
        predict_file(checkpoint, new_csv, tmp_path / name)
    assert [path.name for path in tmp_path.iterdir()] == ["new.csv"]


def test_predictions_go_through_pipes_and_to_stdout(checkpoint, tmp_path, new_csv):
    """As `--output -`, as a shell's `--output >(gzip > FILE)`, and to a device."""
    save_checkpoint(tmp_path / "best", checkpoint)
    predict_file(checkpoint, new_csv, tmp_path / "as.csv")
    command = f"{Path(sys.executable).with_name('raretune')} predict best --csv new.csv --output"

    def run(arguments):
        bash = ["bash", "-c", f"set -e; {command} {arguments}"]
        return subprocess.run(bash, cwd=tmp_path, capture_output=True, text=True, check=True)

    done = run("-")
    assert done.stdout == (tmp_path / "as.csv").read_text()
    assert done.stderr == "3000 rows predicted to -\n"
    assert "3000 rows" in run(">(cat > through.csv); wait $!").stdout
    assert (tmp_path / "through.csv").read_text() == done.stdout
    assert run("/dev/stdout > redirected.csv").stderr == "3000 rows predicted to /dev/stdout\n"
    assert (tmp_path / "redirected.csv").read_text() == done.stdout
    run("/dev/null")
    closed = run("- | head -1")
    assert (closed.stdout.count("\n"), closed.stderr) == (1, "")
    assert Path("/dev/null").is_char_device()
