"""A search with --compare, from the command line to the report."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

RARETUNE = Path(sys.executable).with_name("raretune")
WEAK = (
    "[training]\nepochs = 1\n[space]\nbatch_size = [512]\nhidden_dim = [16]\n"
    "[budget]\ntrials = 2\n[split]\nfolds = 3\n"
)


def raretune(*arguments):
    done = subprocess.run(
        [str(RARETUNE), *map(str, arguments)], capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    return done


@pytest.fixture(scope="module")
def compared(table_csv, tmp_path_factory):
    """The command of a search that trains too little to be worth anything, and its workspace."""
    folder = tmp_path_factory.mktemp("compared")
    (folder / "weak.toml").write_text(WEAK)
    labels = ("--label", "rare", "--label", "rarer", "--group", "family", "--id", "person")
    where = ("--csv", table_csv, "--workspace", folder / "runs")
    command = ("search", folder / "weak.toml", *where, *labels, "--workers", 2)
    return command, folder / "runs", raretune(*command, "--compare")


def test_the_first_line_says_that_a_baseline_is_better(compared):
    first = compared[2].stdout.splitlines()[0]
    assert " is better than what the search found: its validated macro-F1 is 0." in first
    assert "on the test rows" in first
    assert "ordinary models on the same folds" in compared[2].stdout
    for name in ("prevalence", "logistic regression", "HistGradientBoosting"):
        assert name in compared[2].stdout


def test_the_report_says_so_first_too_and_needs_no_table(compared):
    _, workspace, _ = compared
    page = (workspace / "clinic" / "report.html").read_text(encoding="utf-8")
    verdicts = page.split('class="verdict">')
    assert " is better than what the search found" in verdicts[1]
    assert "Ordinary models on the same folds" in page
    raretune("report", "clinic", "--workspace", workspace, "--output", workspace / "again.html")
    again = (workspace / "again.html").read_text(encoding="utf-8")
    assert again.split('class="verdict">')[1] == verdicts[1]


def test_the_same_search_again_fits_nothing_and_shows_the_same(compared):
    command, workspace, _ = compared
    files = {path: path.stat().st_mtime_ns for path in (workspace / "clinic/baselines").iterdir()}
    assert len(files) >= 3
    found = json.loads(raretune(*command, "--compare", "--json").stdout)
    assert {path: path.stat().st_mtime_ns for path in files} == files
    for name in ("prevalence", "logistic regression", "HistGradientBoosting"):
        one = found["baselines"][name]
        assert one["failed"] == ""
        assert 0 < one["validation"]["macro_f1"] < 1
        assert len(one["test"]["interval"]) == 2
    plain = json.loads(raretune(*command, "--no-compare", "--json").stdout)
    assert plain["baselines"] is None
