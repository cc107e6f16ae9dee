"""What was understood of a table at training is how a new file is read, streamed or whole."""

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

from trainer.checkpoint import load_checkpoint, save_checkpoint
from trainer.config import TrainConfig
from trainer.data.cells.dialect import Dialect
from trainer.data.reading import read_columns
from trainer.data.table import Roles
from trainer.errors import TableError
from trainer.experiment import SplitSettings, make_checkpoint, prepare_experiment
from trainer.loop.fit import fit
from trainer.predict import predict_file
from trainer.record import Record

RARETUNE = Path(sys.executable).with_name("raretune")
ROLES = Roles(("rare", "rarer"), id=("person",), category=("ward",), date=("visit",))
DIALECT = Dialect(decimal=",", thousands=".", missing=("-77",))
CONFIG = TrainConfig.create(batch_size=64, hidden_dim=16, num_layers=1, epochs=1)


def clinic(rows: int = 900, seed: int = 0) -> pd.DataFrame:
    """The shared table as a clinic hands it out: commas, points, words, codes and dates."""
    table = draw_table(rows, seed).drop(columns="family")
    random = np.random.default_rng(seed)
    table["cells"] = random.integers(0, 10**7, rows)
    table["ward"] = random.choice(["007", "012", "7"], rows)
    days = pd.Timestamp("2019-12-01") + pd.to_timedelta(random.integers(0, 900, rows), unit="D")
    table["visit"] = days
    return table


def as_written(table: pd.DataFrame) -> pd.DataFrame:
    written = table.copy()
    for name in "abcd":
        written[name] = [f"{x:.6f}".replace(".", ",") for x in table[name]]
    written["c"] = written["c"].replace("nan", "?")
    written.loc[table.index % 50 == 7, "d"] = "-77"
    written["cells"] = [f"{n:,}".replace(",", ".") for n in table["cells"]]
    written["visit"] = table["visit"].dt.strftime("%d/%m/%Y")
    written.loc[table.index % 60 == 3, "visit"] = "unknown"
    written.loc[table.index % 60 == 4, "person"] = "-77"
    return written


def plain(table: pd.DataFrame) -> pd.DataFrame:
    """The same in ordinary numbers and ISO dates."""
    same = table.copy()
    same[[*"abcd"]] = table[[*"abcd"]].round(6)
    same.loc[table.index % 50 == 7, "d"] = np.nan
    same["visit"] = table["visit"].dt.strftime("%Y-%m-%d")
    same.loc[table.index % 60 == 3, "visit"] = None
    same.loc[table.index % 60 == 4, "person"] = "-77"
    return same


def trained(path: Path, dialect: Dialect):
    shares = SplitSettings(0.2, 0.2, 0)
    experiment = prepare_experiment(path, ROLES, shares, torch.device("cpu"), dialect)
    return experiment, make_checkpoint(experiment, fit(experiment.data, [CONFIG])[0])


@pytest.fixture(scope="module")
def both(tmp_path_factory):
    """The clinic's own table and the same in plain writing, each trained on."""
    folder = tmp_path_factory.mktemp("clinic")
    as_written(clinic()).to_csv(folder / "own.csv", index=False)
    plain(clinic()).to_csv(folder / "plain.csv", index=False)
    return trained(folder / "own.csv", DIALECT), trained(folder / "plain.csv", Dialect())


def test_how_a_table_is_written_does_not_change_a_bit_of_its_networks(both):
    (own, first), (same, second) = both
    pd.testing.assert_frame_equal(own.table.columns, same.table.columns)
    assert own.table.dates == {"visit": "day-month-year"}
    for name, tensor in first.networks[0].parameters.items():
        assert torch.equal(tensor, second.networks[0].parameters[name])


@pytest.mark.parametrize("suffix", [".csv", ".csv.gz", ".parquet"])
def test_a_new_file_is_read_by_what_was_understood(both, tmp_path, monkeypatch, suffix):
    """In blocks, where nothing can be found out from a column as a whole."""
    monkeypatch.setattr("trainer.data.reading.BLOCK_BYTES", 1 << 12)
    monkeypatch.setattr("trainer.data.reading.TABLE_ROWS", 70)
    (_, checkpoint), (_, other) = both
    save_checkpoint(tmp_path / "saved", checkpoint)
    new = clinic(400, seed=1)
    new["visit"] = pd.Timestamp("2020-02-03")  # which of 03/02/2020 is the month is not in here
    for frame, name in ((as_written(new), "own"), (plain(new), "plain")):
        path = tmp_path / f"{name}{suffix}"
        frame.to_parquet(path) if suffix == ".parquet" else frame.to_csv(path, index=False)
    predict_file(load_checkpoint(tmp_path / "saved"), tmp_path / f"own{suffix}", tmp_path / "1.csv")
    predict_file(other, tmp_path / f"plain{suffix}", tmp_path / "2.csv")
    assert (tmp_path / "1.csv").read_bytes() == (tmp_path / "2.csv").read_bytes()
    assert len(read_columns(tmp_path / "1.csv")) == 400


def test_a_number_written_otherwise_than_in_training_is_refused(both, tmp_path):
    (_, checkpoint), _ = both
    frame = as_written(clinic(50))
    frame.loc[4, "a"] = "12 mg"
    frame.to_csv(tmp_path / "new.csv", index=False)
    with pytest.raises(TableError, match=r"'a' must hold numbers as it .*, got '12 mg'"):
        predict_file(checkpoint, tmp_path / "new.csv", tmp_path / "out.csv")
    frame = as_written(clinic(50)).drop(columns="visit")
    frame.to_csv(tmp_path / "new.csv", index=False)
    with pytest.raises(TableError, match="lacks the date column 'visit'"):
        predict_file(checkpoint, tmp_path / "new.csv", tmp_path / "out.csv")


def test_a_record_of_an_earlier_version_knows_of_no_dialect(both):
    (_, _), (_, checkpoint) = both
    kept = checkpoint.record.model_dump(mode="json")
    del kept["dialect"], kept["dates"]
    del kept["roles"]["category"], kept["roles"]["date"]
    record = Record.model_validate(kept)
    assert record.dialect == Dialect()
    assert record.roles == replace(ROLES, category=(), date=())


@pytest.mark.parametrize(
    ("name", "written"),
    [
        ("t.csv", {"sep": ";", "decimal": ","}),
        ("t.tsv", {"sep": "\t", "encoding": "utf-16"}),
        ("t.csv.zip", {"sep": "|", "encoding": "utf-8-sig"}),
        ("t.txt.gz", {"sep": ";", "encoding": "cp1252"}),
        ("t.feather", {}),
    ],
)
def test_predictions_are_the_same_whatever_file_the_rows_are_in(
    both, tmp_path, here, name, written
):
    """By the command itself; of a dialect only what the file can't tell is named."""
    _, (_, checkpoint) = both
    save_checkpoint(tmp_path / "saved", checkpoint)
    new = plain(clinic(200, seed=1)).replace({"site": {"north": "n\u00f6rd"}})
    if name.endswith(".feather"):
        new.to_feather(tmp_path / name)
    else:
        new.to_csv(tmp_path / name, index=False, **written)
    new.to_csv(tmp_path / "usual.csv", index=False)
    flags = ["--decimal", ","] if "decimal" in written else []
    flags += ["--encoding", "cp1252"] if written.get("encoding") == "cp1252" else []
    command = ("predict", tmp_path / "saved", "--csv")
    done = here(*command, tmp_path / name, *flags, "--output", tmp_path / "1.csv")
    assert done.returncode == 0, done.stderr
    here(*command, tmp_path / "usual.csv", "--output", tmp_path / "2.csv")
    assert (tmp_path / "1.csv").read_bytes() == (tmp_path / "2.csv").read_bytes()


def test_rows_come_through_standard_input(both, tmp_path):
    _, (_, checkpoint) = both
    save_checkpoint(tmp_path / "saved", checkpoint)
    text = plain(clinic(200, seed=1)).to_csv(index=False, sep=";").encode()
    for command, more in (("predict", ["--output", "-"]), ("evaluate", ["--json"])):
        done = subprocess.run(
            [RARETUNE, command, tmp_path / "saved", "--csv", "-", *more],
            input=text,
            capture_output=True,
            timeout=120,
        )
        assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["rows"] == 200
