"""The ensemble through the real command line: searched, shown, predicted with, made anew."""

import json
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from trainer.checkpoint import load_checkpoint
from trainer.data.reading import read_columns
from trainer.predict import predict_frame

RARETUNE = Path(sys.executable).with_name("raretune")
QUICK = (
    'pruner = "none"\n[split]\nfolds = 2\n[training]\nepochs = 3\nlr = 0.01\n'
    "[space]\nbatch_size = [64]\nhidden_dim = [16, 32]\n[budget]\ntrials = 5\n"
)


def run(*arguments):
    done = subprocess.run(
        [str(RARETUNE), *map(str, arguments)], capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    return done


@pytest.fixture(scope="module")
def workspace(table_csv, tmp_path_factory):
    """A searched workspace, and what the search printed as JSON."""
    folder = tmp_path_factory.mktemp("command")
    (folder / "quick.toml").write_text(QUICK)
    table = ["--csv", table_csv, "--label", "rare", "--label", "rarer", "--group", "family"]
    where = ["--id", "person", "--workspace", folder / "runs", "--json"]
    done = run("search", folder / "quick.toml", *table, *where)
    assert "raretune:" not in done.stderr
    return folder / "runs", json.loads(done.stdout)


def test_a_search_shows_best_trial_and_ensemble(workspace, here):
    folder, found = workspace
    ensemble = found["ensemble"]
    assert ensemble["checkpoint"] == str(folder / "clinic" / "ensemble")
    assert sum(ensemble["weights"]) == pytest.approx(1)
    assert len(ensemble["trials"]) == len(ensemble["weights"])
    gain, validation = ensemble["gain"]["macro_f1"], ensemble["validation"]
    assert validation["macro_f1"] == pytest.approx(gain["best"] + gain["difference"])
    assert ensemble["recommended"] == (gain["difference"] > 0)
    assert ensemble["test"]["labels"].keys() == {"rare", "rarer"}
    record = load_checkpoint(folder / "clinic" / "ensemble").record
    assert [one["trial"]["number"] for one in record.members] == ensemble["trials"]
    again = here("best", "clinic", "--workspace", folder, "--json")
    kept = json.loads(again.stdout)["ensemble"]
    assert {**kept, "test": None} == {**ensemble, "test": None}
    assert kept["test"]["macro_f1"] == ensemble["test"]["macro_f1"]
    assert here("best", "clinic", "--workspace", folder).stdout.splitlines()[-1].startswith("Use ")
    page = (folder / "clinic" / "report.html").read_text()
    assert f"Ensemble of {len(ensemble['trials'])} trial" in page
    assert f"Best trial, {found['best']['number']}" in page


def test_every_command_that_opens_a_checkpoint_takes_an_ensemble(
    workspace, table_csv, tmp_path, here
):
    folder, _ = workspace
    ensemble = folder / "clinic" / "ensemble"
    run("predict", ensemble, "--csv", table_csv, "--output", tmp_path / "out.csv", "--raw")
    predicted = read_columns(tmp_path / "out.csv", text=["person"])
    columns = read_columns(table_csv, text=["person"])
    expected = predict_frame(load_checkpoint(ensemble), columns)
    pd.testing.assert_series_equal(
        predicted["rare_probability"].astype("float32"),
        pd.Series(expected[:, 0].numpy()),
        check_names=False,
    )
    scored = here(
        "evaluate", ensemble, "--csv", table_csv, "--output", tmp_path / "page.html", "--json"
    )
    assert json.loads(scored.stdout)["macro_f1"] == pytest.approx(
        load_checkpoint(ensemble).record.test["macro_f1"]
    )
    told = here("doctor", "--workspace", folder, "--csv", table_csv)
    assert "ensemble opens and is an ensemble of" in told.stdout
    assert " is wrong" not in told.stdout


def test_a_changed_ensemble_is_found_by_doctor_and_made_anew(workspace, table_csv, here):
    folder, found = workspace
    path = folder / "clinic" / "ensemble" / "checkpoint.json"
    before = path.read_text()
    record = json.loads(before)
    record["test"]["macro_f1"] = 0.987
    path.write_text(json.dumps(record))
    told = here("doctor", "--workspace", folder, "--csv", table_csv)
    assert "ensemble is wrong: its test score macro_f1 is said to be 0.987" in told.stdout
    again = here("ensemble", "clinic", "--workspace", folder, "--json")
    assert "is made again: its test macro_f1 is said to be 0.987" in again.stderr
    assert json.loads(again.stdout)["trials"] == found["ensemble"]["trials"]
    assert json.loads(path.read_text()) == json.loads(before)
    record["members"][0]["trial"]["study_id"] = "another"
    path.write_text(json.dumps(record))
    told = here("doctor", "--workspace", folder)
    assert "is not of study 'clinic' as it is: it is of another study" in told.stdout


def test_an_ensemble_of_another_size_is_printed_beside_the_best_trial(workspace, here):
    folder, _ = workspace
    shown = here("ensemble", "clinic", "--size", 1, "--workspace", folder)
    assert shown.returncode == 0, shown.stderr
    assert "Best trial and ensemble (validated on rows that chose neither)" in shown.stdout
    assert "The ensemble is the weighted mean of trials" in shown.stdout
    assert "raretune predict" in shown.stdout
    for size in (0, 1001):
        refused = here("ensemble", "clinic", "--size", size, "--workspace", folder)
        assert refused.returncode == 2
        assert "--size must be from 1 to 1000" in refused.stderr
