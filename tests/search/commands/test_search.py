import json
import os
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from search.commands.search import study_name
from studies.definition import load_definition

RARETUNE = Path(sys.executable).with_name("raretune")
QUICK = (
    "[training]\nepochs = 2\n[space]\nbatch_size = [64]\nhidden_dim = [16]\n[budget]\ntrials = 4\n"
)


@pytest.fixture
def quick(tmp_path):
    path = tmp_path / "quick.toml"
    path.write_text(QUICK)
    return path


@pytest.mark.parametrize("encoding", ["ascii", "latin-1"])
def test_a_search_in_another_encoding_ends_well(encoding, quick, table_csv, tmp_path):
    csv = tmp_path / "clinic.csv"
    table = pd.read_csv(table_csv, dtype={"person": str})
    table.rename(columns={"rare": "r\u00e4r \u60a3"}).to_csv(csv, index=False)
    command = ["search", quick, "--csv", csv, "--label", "r\u00e4r \u60a3", "--group", "family"]
    command += ["--drop", "person", "--workspace", tmp_path / "runs"]
    shown = [
        subprocess.run(
            [str(RARETUNE), *map(str, command), *more],
            capture_output=True,
            encoding=encoding,
            env={**os.environ, "PYTHONIOENCODING": encoding},
            timeout=120,
        )
        for more in ((), ("--json",))
    ]
    assert [done.returncode for done in shown] == [0, 0], shown[0].stderr
    assert "\\u60a3" in shown[0].stdout
    assert list(json.loads(shown[1].stdout)["test"]["labels"]) == ["r\u00e4r \u60a3"]


def test_trials_into_a_closed_pipe_end_quietly(searched_session):
    session = searched_session(
        "piped",
        training={"epochs": 1},
        pruner="none",
        budget={"trials": 3},
        space={"batch_size": [64], "hidden_dim": [16]},
    )
    line = f'"{RARETUNE}" trials piped --workspace "{session.workspace.folder}"'
    for reader in ("head -n 1 >/dev/null", "true"):
        script = f"{line} | {reader}; echo ${{PIPESTATUS[0]}}"
        done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, timeout=60)
        assert done.stdout.strip() in ("0", "141")
        assert done.stderr == ""


def test_the_study_of_a_table_has_its_files_name():
    names = {
        "clinic.csv": "clinic",
        "clinic.csv.gz": "clinic",
        "my table.parquet": "my-table",
        "...csv": "study",
    }
    assert {file: study_name(Path(file)) for file in names} == names


def test_two_files_whose_names_have_other_letters_are_two_studies():
    files = ["\u60a3\u8005.csv", "\u691c\u67fb.csv", "caf\u00e9.csv", "caf\u00e8.csv", "caf.csv"]
    files += ["x" * 150 + "a.csv", "x" * 150 + "b.csv", os.fsdecode(b"\xff\xe9.csv")]
    names = [study_name(Path(file)) for file in files]
    assert len(set(names)) == len(files)
    assert names[0].startswith("study-")
    for name in names:
        load_definition("default", {"name": name})


def test_what_was_taken_for_missing_is_said_and_a_study_goes_on_with_the_same_reading(
    here, quick, table_csv, tmp_path
):
    csv = tmp_path / "clinic.csv"
    table = pd.read_csv(table_csv, dtype={"person": str}).round({"c": 0})
    table.to_csv(csv, index=False, na_rep="?")
    labels = ("--label", "rare", "--label", "rarer", "--drop", "person", "--folds", "1")
    command = ("search", quick, "--csv", csv, *labels, "--workspace", tmp_path / "runs")
    done = here(*command)
    assert done.returncode == 0, done.stderr
    assert "'?' is taken as missing among the numbers of 'c'" in done.stderr
    again = here(*command, "--category", "c", "--trials", "5")
    assert again.returncode == 2
    assert 'table.numbers_among_texts: ["c"] -> null' in again.stderr
    assert 'table.category: null -> ["c"]' in again.stderr
    assert here("retrain", "clinic", "--output", tmp_path / "again", *command[-2:]).returncode == 0


def test_two_roles_for_a_column_are_refused(here, quick, table_csv, tmp_path):
    roles = ("--label", "rare", "--category", "site", "--date", "site")
    done = here("search", quick, "--csv", table_csv, *roles, "--workspace", tmp_path)
    assert done.returncode == 2
    assert "column 'site' is given to --category and to --date; give it to one" in done.stderr
