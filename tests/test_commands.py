"""The command line as a user meets it: real processes, real files, real SQLite."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import optuna
import pandas as pd
import pytest
from optuna.trial import TrialState

from trainer.checkpoint import load_checkpoint

RARETUNE = Path(sys.executable).with_name("raretune")
QUICK = """
[training]
epochs = 4
[space]
batch_size = [64]
hidden_dim = [16, 32]
[budget]
trials = 8
"""


def raretune(*arguments):
    """Run the command in a process of its own."""
    return subprocess.run(
        [RARETUNE, *map(str, arguments)], capture_output=True, text=True, timeout=120
    )


@pytest.fixture(scope="module")
def quick(tmp_path_factory):
    path = tmp_path_factory.mktemp("definition") / "quick.toml"
    path.write_text(QUICK)
    return path


def roles(csv):
    names = ("--label", "rare", "--label", "rarer", "--group", "family", "--id", "person")
    return ("--csv", csv, *names)


@pytest.fixture(scope="module")
def searched(table_csv, quick, tmp_path_factory):
    workspace = tmp_path_factory.mktemp("runs")
    done = raretune("search", quick, *roles(table_csv), "--workspace", workspace, "--json")
    assert done.returncode == 0, done.stderr
    return workspace, json.loads(done.stdout)


def test_a_search_prints_one_json_object_with_the_promised_keys(searched):
    workspace, found = searched
    assert found["study"] == "clinic"
    assert found["storage"] == f"sqlite:///{workspace}/studies.db"
    assert sum(found["trials"].values()) == 8
    assert set(found["trials"]) == {"complete", "pruned", "failed"}
    assert set(found["best"]) == {"number", "value", "params"}
    validation = found["validation"]
    assert validation["uncorrected_macro_f1"] == pytest.approx(found["best"]["value"])
    low, high = validation["interval"]
    assert low <= validation["macro_f1"] <= high
    assert (validation["folds"], validation["repeats"]) == (5, 1)
    assert set(found["test"]["labels"]) == {"rare", "rarer"}
    keys = {"threshold", "precision", "recall", "f1", "average_precision", "roc_auc", "support"}
    assert keys <= set(found["test"]["labels"]["rare"])
    scores = [row["f1"] for row in found["test"]["labels"].values()]
    assert found["test"]["macro_f1"] == pytest.approx(np.mean(scores))
    assert found["checkpoint"] == f"{workspace}/clinic/best"
    assert found["seconds"] > 0


def test_its_trials_are_in_sqlite_with_plain_bce_first(searched):
    workspace, found = searched
    study = optuna.load_study(study_name="clinic", storage=f"sqlite:///{workspace}/studies.db")
    assert study.best_trial.number == found["best"]["number"]
    assert study.trials[0].user_attrs["recipe"] == "plain BCE"
    assert study.metric_names == ["macro_f1"]


def test_the_same_command_again_trains_nothing_new_and_keeps_the_result(searched, table_csv, quick):
    workspace, found = searched
    before = (workspace / "clinic" / "best" / "checkpoint.json").read_bytes()
    done = raretune("search", quick, *roles(table_csv), "--workspace", workspace, "--json")
    again = json.loads(done.stdout)
    assert again["trials"] == found["trials"]
    assert again["test"] == found["test"]
    assert (workspace / "clinic" / "best" / "checkpoint.json").read_bytes() == before


def test_a_best_folder_that_is_gone_comes_back_bit_for_bit(searched, table_csv, quick):
    workspace, _ = searched
    best = workspace / "clinic" / "best"
    before = {path.name: path.read_bytes() for path in best.iterdir()}
    for path in best.iterdir():
        path.unlink()
    best.rmdir()
    raretune("search", quick, *roles(table_csv), "--workspace", workspace)
    assert {path.name: path.read_bytes() for path in best.iterdir()} == before


def test_predict_writes_every_row_in_order(searched, table_csv, tmp_path):
    workspace, _ = searched
    done = raretune(
        "predict", workspace / "clinic" / "best", "--csv", table_csv, "--output", tmp_path / "o.csv"
    )
    assert done.returncode == 0, done.stderr
    table = pd.read_csv(table_csv, dtype={"person": str})
    predicted = pd.read_csv(tmp_path / "o.csv", dtype={"person": str})
    assert predicted["person"].tolist() == table["person"].tolist()
    columns = [
        f"{label}_{kind}" for label in ("rare", "rarer") for kind in ("probability", "positive")
    ]
    assert predicted.columns.tolist() == ["person", *columns]
    thresholds = load_checkpoint(workspace / "clinic" / "best").record.thresholds_in_use
    decided = predicted["rare_probability"] >= thresholds["rare"]
    assert (predicted["rare_positive"] == decided).all()


def test_plain_output_names_trials_remedies_labels_and_the_next_step(table_csv, quick, tmp_path):
    command = ("search", quick, *roles(table_csv), "--workspace", tmp_path, "--trials", 4)
    done = raretune(*command, "--test_size", 0)
    assert done.returncode == 0, done.stderr
    for part in ("Best trials", "plain BCE", "Which remedies won", "rarer", "raretune predict"):
        assert part in done.stdout
    assert "Test" not in done.stdout
    assert "no rows were held out for test" in done.stdout


def test_a_parquet_table_gives_the_same_search_as_its_csv(searched, table_csv, quick, tmp_path):
    _, found = searched
    parquet = tmp_path / "clinic.parquet"
    pd.read_csv(table_csv, dtype={"person": str}).to_parquet(parquet)
    done = raretune("search", quick, *roles(parquet), "--workspace", tmp_path, "--json")
    assert json.loads(done.stdout)["best"] == found["best"]


def test_ctrl_c_keeps_exports_and_reports_and_the_same_command_goes_on(table_csv, tmp_path):
    definition = tmp_path / "long.toml"
    definition.write_text(QUICK.replace("epochs = 4", "epochs = 300\nearly_stop_patience = 300"))
    command = [RARETUNE, "search", definition, *roles(table_csv), "--workspace", tmp_path, "--json"]
    process = subprocess.Popen(
        list(map(str, command)), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    url = f"sqlite:///{tmp_path}/studies.db"
    wait_for(lambda: reported_epochs(url) >= 2)
    process.send_signal(signal.SIGINT)
    stdout, stderr = process.communicate(timeout=60)
    assert process.returncode == 0, stderr
    found = json.loads(stdout)
    assert found["trials"]["complete"] > 0
    assert Path(found["checkpoint"], "model.safetensors").exists()
    study = optuna.load_study(study_name="clinic", storage=url)
    assert TrialState.RUNNING not in {t.state for t in study.trials}
    done = raretune(*command[1:], "--trials", len(study.trials) + 1, "--timeout", 2)
    assert done.returncode == 0, done.stderr
    assert sum(json.loads(done.stdout)["trials"].values()) >= found["trials"]["complete"]


def wait_for(condition, seconds=60):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited too long"
        time.sleep(0.1)


def reported_epochs(url):
    try:
        study = optuna.load_study(study_name="clinic", storage=url)
    except Exception:  # the database is not there yet
        return 0
    return max((len(t.intermediate_values) for t in study.trials), default=0)


GOOD = "a,b,y\n" + "".join(f"{i % 7},{i % 11},{int(i % 10 == 0)}\n" for i in range(200))
Y = ("--label", "y")
BAD_TABLES = {
    "no such file": (None, Y, "no file"),
    "empty file": ("", Y, "is empty"),
    "header only": ("a,b,y\n", Y, "no rows"),
    "duplicate columns": ("a,a,y\n1,2,0\n", Y, "same name: 'a'"),
    "label missing": (GOOD.replace("a,b,y", "a,b,yes"), ("--label", "yse"), "'yes'"),
    "label not 0/1": (GOOD.replace(",1\n", ",2\n"), Y, "only 0 and 1"),
    "label with gaps": (GOOD.replace(",1\n", ",\n"), Y, "'y'"),
    "label in words": (GOOD.replace(",1\n", ",sick\n"), Y, "sick"),
    "label of one value": (GOOD.replace(",1\n", ",0\n"), Y, "'y'"),
    "too few positives": (
        "a,y\n" + "1,0\n2,0\n" * 90 + "1,1\n2,1\n3,1\n",
        Y,
        "3 positives.*10 would do",
    ),
    "constant features": ("a,b,y\n" + "1,2,0\n" * 50 + "1,2,1\n" * 20, Y, "constant"),
    "no features": ("y\n" + "0\n" * 50 + "1\n" * 20, Y, "feature"),
    "group missing": (GOOD, (*Y, "--group", "g"), "'g'"),
    "infinite values": (GOOD.replace("\n3,", "\ninf,"), Y, "infinite"),
    "not UTF-8": (b"a,b,y\n\xff\xfe,1,0\n1,2,1\n", Y, "UTF-8|UTF8"),
    "dates": (re.sub(r"(?m)^\d", "2024-01-05", GOOD), Y, "'a'"),
    "one column twice": (GOOD, (*Y, "--drop", "y"), "--drop"),
}


@pytest.mark.parametrize("name", BAD_TABLES)
def test_a_bad_table_is_one_line_with_status_2_and_nothing_half_written(name, tmp_path, here):
    content, arguments, message = BAD_TABLES[name]
    csv = tmp_path / "table.csv"
    if content is not None:
        csv.write_bytes(content if isinstance(content, bytes) else content.encode())
    done = here("search", "--csv", csv, *arguments, "--workspace", tmp_path / "runs")
    assert_one_line_error(done, message)
    assert not list((tmp_path / "runs").rglob("*")) or not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    ("groups", "message"),
    [(range(200), "groups nothing|own group"), ([7] * 200, "only 1 group")],
)
def test_a_group_column_that_groups_nothing_or_all_is_refused(groups, message, tmp_path, here):
    header, *rows = GOOD.splitlines()
    lines = [f"g,{header}", *(f"{g},{row}" for g, row in zip(groups, rows, strict=True))]
    csv = tmp_path / "table.csv"
    csv.write_text("\n".join(lines))
    assert_one_line_error(
        here("search", "--csv", csv, *Y, "--group", "g", "--workspace", tmp_path), message
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--storage", "nonsense"], "not a database URL"),
        (["--storage", "sqlite:////no/such/place/x.db"], "no folder"),
        (["--workspace", "/proc/nowhere"], "--workspace"),
        (["--val_size", "0.9", "--test_size", "0.2"], "val_size|sum"),
        (["--trials", "0"], "trials"),
        (["--trials", "many"], "'--trials'.*integer"),
        (["--stack", "0"], "stack"),
        (["--name", "../etc"], "name"),
        (["--device", "tpu"], "auto, cpu or cuda"),
        (["--frobnicate"], "frobnicate"),
        (["--label", "rare"], "once"),
    ],
)
def test_a_bad_argument_is_one_line_with_status_2(table_csv, arguments, message, tmp_path, here):
    defaults = [] if "--workspace" in arguments else ["--workspace", tmp_path]
    assert_one_line_error(here("search", *roles(table_csv), *defaults, *arguments), message)


def test_another_definition_under_the_same_name_is_refused(searched, table_csv, quick, here):
    workspace, _ = searched
    done = here("search", quick, *roles(table_csv), "--workspace", workspace, "--val_size", "0.3")
    assert_one_line_error(done, "split.val_size: 0.2 -> 0.3.*--name")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("search", "nafl"), "bundled ones are"),
        (("search",), "--csv"),
        (("predict", "nowhere", "--csv", "t.csv", "--output", "o.csv"), "no checkpoint"),
        (("example", "titanic", "--output", "t.csv"), "nafld, mesa"),
        (("serach",), "serach"),
    ],
)
def test_a_wrong_command_is_one_line_with_the_remedy(
    arguments, message, tmp_path, monkeypatch, here
):
    monkeypatch.chdir(tmp_path)
    assert_one_line_error(here(*arguments), message)


def assert_one_line_error(done, message):
    assert done.returncode == 2, (done.stdout, done.stderr)
    assert done.stdout == ""
    assert done.stderr.startswith("raretune: ")
    assert done.stderr.count("\n") == 1, done.stderr
    assert re.search(message, done.stderr), done.stderr


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_an_unwritable_workspace_is_refused(table_csv, tmp_path, here):
    tmp_path.chmod(0o500)
    done = here("search", *roles(table_csv), "--workspace", tmp_path)
    assert_one_line_error(done, "can't write to workspace")


def test_help_imports_nothing_heavy():
    code = (
        "import sys; sys.argv = ['raretune', '--help']\n"
        "from search.cli import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "heavy = {'torch', 'optuna', 'pandas', 'numpy', 'pydantic', 'sqlalchemy', 'plotly'}\n"
        "print(heavy & set(sys.modules), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stderr.strip() == "set()"
    assert "search" in done.stdout


def test_a_run_on_folds_is_scored_on_every_row_but_test_and_predicts(table_csv, tmp_path):
    folder, flags = tmp_path / "folded", ("--folds", 3, "--epochs", 2, "--json")
    done = raretune("train", *roles(table_csv), "--output_dir", folder, *flags)
    assert done.returncode == 0, done.stderr
    record = json.loads((folder / "checkpoint.json").read_text())
    assert (record["format_version"], record["split"]["folds"]) == (3, 3)
    assert len(record["features"]) == 3
    rows = pd.read_csv(table_csv)
    assert record["split"]["rows"]["validation"] + record["split"]["rows"]["test"] == len(rows)
    output = tmp_path / "predictions.csv"
    done = raretune("predict", folder, "--csv", table_csv, "--output", output)
    assert done.returncode == 0, done.stderr
    assert len(pd.read_csv(output)) == len(rows)


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--folds", "0"], "folds"),
        (["--folds", "many"], "folds"),
        (["--folds", "65"], "64"),
        (["--folds", "1", "--repeats", "2"], "needs --folds 2 or more"),
        (["--threshold_metric", "recall>=0.8@2"], "the forms are"),
        (["--objective", "accuracy"], "objective"),
        (["--sampler", "luck"], "sampler"),
        (["--pruner", "shears"], "pruner"),
    ],
)
def test_a_search_that_cannot_be_is_refused_in_one_line(flags, words, table_csv, tmp_path, here):
    done = here("search", *roles(table_csv), "--workspace", tmp_path / "runs", *flags)
    assert done.returncode == 2
    assert words in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
