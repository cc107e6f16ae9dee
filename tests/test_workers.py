"""Deaths and interruptions of real processes on a real database."""

import json
import random
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import optuna
import psutil
import pytest
from optuna.trial import TrialState

from search.store.stale import ORPHAN_SECONDS
from trainer.checkpoint import load_checkpoint

RARETUNE = Path(sys.executable).with_name("raretune")
DEFINITION = """
[training]
epochs = 12
early_stop_patience = 12
[space]
batch_size = [32, 64]
hidden_dim = [16, 32]
"""
UNCLAIMED = ORPHAN_SECONDS + 1  # a process may die between asking a trial and claiming it
ENDED = {TrialState.COMPLETE, TrialState.PRUNED}


def search(table_csv, tmp_path, *arguments):
    definition = tmp_path / "definition.toml"
    definition.write_text(DEFINITION)
    roles = ("--label", "rare", "--label", "rarer", "--group", "family", "--id", "person")
    where = ("--name", "killed", "--workspace", tmp_path, "--json")
    command = [RARETUNE, "search", definition, "--csv", table_csv, *roles, *where, *arguments]
    return subprocess.Popen(
        list(map(str, command)), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def load(tmp_path):
    return optuna.load_study(study_name="killed", storage=f"sqlite:///{tmp_path}/studies.db")


def wait_for_epochs(tmp_path, epochs, seconds=90):
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if (tmp_path / "studies.db").exists():
            try:
                trials = load(tmp_path).trials
            except Exception:  # the study is not there yet
                trials = []
            if sum(len(trial.intermediate_values) for trial in trials) >= epochs:
                return
        time.sleep(0.1)
    raise AssertionError("the search never began")


def workers_of(process):
    """The workers: what was forked from the server that the search has started."""
    with suppress(psutil.NoSuchProcess):
        children = psutil.Process(process.pid).children()
        servers = [child for child in children if is_forkserver(child)]
        return [worker for server in servers for worker in server.children()]
    return []


def is_forkserver(process):
    """Whether multiprocessing's forkserver runs in a process of this search."""
    with suppress(psutil.NoSuchProcess):
        return "forkserver" in " ".join(process.cmdline())
    return False


def ended(tmp_path):
    return {t.number: (t.state, t.values) for t in load(tmp_path).trials if t.state in ENDED}


def test_workers_killed_at_random_moments_lose_no_finished_trial(table_csv, tmp_path):
    trials, kills = 600, 0
    process = search(table_csv, tmp_path, "--workers", 2, "--trials", trials)
    wait_for_epochs(tmp_path, 5)
    dice, seen = random.Random(0), {}
    while kills < 20:
        if process.poll() is not None:  # it was faster than its killer
            stderr = process.communicate()[1]
            assert process.returncode == 0, stderr
            trials += 200
            process = search(table_csv, tmp_path, "--workers", 2, "--trials", trials)
        time.sleep(dice.uniform(0.1, 1.0))
        workers = workers_of(process)
        if not workers:
            continue
        kills += 1
        before = ended(tmp_path)
        with suppress(psutil.NoSuchProcess):  # it ended by itself just now
            dice.choice(workers).kill()
        after = ended(tmp_path)
        assert before.items() <= after.items()
        seen |= after
    stdout, stderr = process.communicate(timeout=180)
    assert process.returncode == 0, stderr
    time.sleep(UNCLAIMED)
    again = search(table_csv, tmp_path, "--trials", trials)
    stdout, stderr = again.communicate(timeout=60)
    assert again.returncode == 0, stderr
    found, study = json.loads(stdout), load(tmp_path)
    assert seen.items() <= ended(tmp_path).items()
    assert {t.state for t in study.trials} <= {*ENDED, TrialState.FAIL, TrialState.WAITING}
    assert found["trials"]["complete"] + found["trials"]["pruned"] >= trials
    lost = [t for t in study.trials if "lost" in t.user_attrs]
    retried = {t.user_attrs.get("retry_of") for t in study.trials}
    assert lost
    assert {t.number for t in lost if "retry_of" not in t.user_attrs} <= retried
    load_checkpoint(Path(found["checkpoint"]))


def test_a_stranger_whose_command_line_is_no_text_harms_nothing(tmp_path):
    stranger = [sys.executable, "-c", "import time; time.sleep(60)", b"\xff\xfe forkserver"]
    with subprocess.Popen(stranger) as process:
        try:
            assert workers_of(process) == []
            assert is_forkserver(psutil.Process(process.pid))
        finally:
            process.kill()


def test_a_killed_search_is_cleaned_up_by_the_next_start(table_csv, tmp_path):
    process = search(table_csv, tmp_path, "--trials", 30)
    wait_for_epochs(tmp_path, 20)
    process.kill()
    process.communicate()
    left = [t.number for t in load(tmp_path).trials if t.state == TrialState.RUNNING]
    before = ended(tmp_path)
    assert left
    time.sleep(UNCLAIMED)
    again = search(table_csv, tmp_path, "--trials", 30)
    stdout, stderr = again.communicate(timeout=120)
    assert again.returncode == 0, stderr
    study = load(tmp_path)
    assert before.items() <= ended(tmp_path).items()
    assert all(study.trials[number].state == TrialState.FAIL for number in left)
    assert {t.user_attrs.get("retry_of") for t in study.trials} >= set(left)
    counts = json.loads(stdout)["trials"]
    assert counts["complete"] + counts["pruned"] == 30


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_all_workers_within_an_epoch_with_the_best_exported(
    table_csv, tmp_path, number
):
    process = search(table_csv, tmp_path, "--workers", 2, "--trials", 1000)
    wait_for_epochs(tmp_path, 40)
    process.send_signal(number)
    stdout, stderr = process.communicate(timeout=60)
    assert process.returncode == 0, stderr
    assert TrialState.RUNNING not in {t.state for t in load(tmp_path).trials}
    assert Path(json.loads(stdout)["checkpoint"], "model.safetensors").exists()


@pytest.mark.skipif(sys.platform != "linux", reason="limits the memory of processes")
@pytest.mark.parametrize("workers", [1, 2])
def test_a_search_that_gives_up_says_why_however_many_processes_it_has(
    table_csv, tmp_path, monkeypatch, workers
):
    """A network of 16 x 8192 units alone is beyond the memory that each process may have."""
    limited = tmp_path / "limited"
    limited.write_text(f'#!/bin/sh\nulimit -v 4150000\nexec {RARETUNE} "$@"\n')
    limited.chmod(0o755)
    monkeypatch.setattr(sys.modules[__name__], "RARETUNE", limited)
    huge = ("--set", "training.num_layers=16", "--set", "training.hidden_dim=8192")
    process = search(table_csv, tmp_path, *huge, "--workers", workers, "--device", "cpu")
    stdout, stderr = process.communicate(timeout=180)
    assert process.returncode == 2, stderr
    assert "gave up: the last 10 trials failed, the latest because out of memory" in stderr
    assert json.loads(stdout)["trials"]["complete"] == 0
    assert 10 <= len([t for t in load(tmp_path).trials if "failure" in t.user_attrs]) < 100


def test_a_second_ctrl_c_ends_at_once_and_the_next_start_cleans_up(table_csv, tmp_path):
    process = search(table_csv, tmp_path, "--trials", 1000)
    wait_for_epochs(tmp_path, 10)
    for _ in range(2):
        process.send_signal(signal.SIGINT)
        time.sleep(0.01)
    _, stderr = process.communicate(timeout=30)
    assert process.returncode in (0, 130), stderr
    assert "Traceback" not in stderr
    trials = max(1, len(ended(tmp_path)))
    time.sleep(UNCLAIMED)
    again = search(table_csv, tmp_path, "--trials", trials)
    again.communicate(timeout=60)
    assert TrialState.RUNNING not in {t.state for t in load(tmp_path).trials}
