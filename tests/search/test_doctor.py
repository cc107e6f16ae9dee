import shutil
import sqlite3
from collections import namedtuple

import pytest
import torch
from optuna.distributions import FloatDistribution

from search import doctor
from search.doctor import examine
from search.store.attributes import OWNER
from search.store.stale import owner
from search.store.storage import default_url, open_storage, open_study
from search.store.transactions import ask, set_attributes
from trainer.checkpoint import save_checkpoint
from trainer.config import TrainConfig
from trainer.data.table import Roles
from trainer.experiment import SplitSettings, make_checkpoint, prepare_experiment
from trainer.loop.fit import fit
from trainer.steps.compiler import Build


@pytest.fixture(scope="module")
def searched(table_csv, tmp_path_factory):
    """A workspace with one study of one complete trial, and its checkpoint."""
    workspace = tmp_path_factory.mktemp("searched")
    roles = Roles(labels=("rare", "rarer"), group="family", id=("person",))
    settings = SplitSettings(0.2, 0.2, 0)
    experiment = prepare_experiment(table_csv, roles, settings, torch.device("cpu"))
    result = fit(experiment.data, [TrainConfig.create(epochs=1)])[0]
    study = open_study(open_storage(default_url(workspace)), "clinic", {})
    study.tell(study.ask(), 0.5)
    checkpoint = make_checkpoint(experiment, result, {"study": "clinic", "number": 0})
    save_checkpoint(workspace / "clinic" / "best", checkpoint)
    return workspace


@pytest.fixture
def workspace(searched, tmp_path):
    return shutil.copytree(searched, tmp_path / "runs")


def bad(findings):
    return [finding for finding in findings if finding.level != "ok"]


def test_a_workspace_after_a_search_is_well(workspace):
    findings = examine(default_url(workspace), workspace)
    assert bad(findings) == []
    said = " ".join(finding.what for finding in findings)
    for part in ("schema", "WAL", "whole", "is trial", "GB free", "OMP_NUM_THREADS", "CUDA"):
        assert part in said


def test_nothing_is_made_where_nothing_is(tmp_path):
    assert bad(examine(default_url(tmp_path), tmp_path / "runs")) == []
    assert list(tmp_path.iterdir()) == []


def test_a_damaged_database_is_found(workspace):
    with sqlite3.connect(workspace / "studies.db") as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        root = connection.execute(
            "SELECT rootpage FROM sqlite_master WHERE name = 'trial_params'"
        ).fetchone()[0]
        size = connection.execute("PRAGMA page_size").fetchone()[0]
    connection.close()
    with (workspace / "studies.db").open("r+b") as file:
        file.seek((root - 1) * size)
        file.write(b"\xff" * size)
    found = bad(examine(default_url(workspace), workspace))
    assert any(finding.level == "error" and ".recover" in finding.remedy for finding in found)


def test_a_file_that_is_no_database_is_one_error(tmp_path):
    (tmp_path / "studies.db").write_text("no database " * 500)
    (finding,) = bad(examine(default_url(tmp_path), tmp_path))
    assert finding.level == "error"
    assert "not a database" in finding.what
    assert finding.remedy


def test_lost_trials_are_named_and_reaped_when_asked(workspace):
    url = default_url(workspace)
    study = open_study(open_storage(url), "other", {})
    trial = ask(study, {"lr": FloatDistribution(0, 1)})
    set_attributes(study, trial, {OWNER: owner() + "0"})
    (finding,) = bad(examine(url, workspace))
    assert "1 trials are marked as running, but their process has died" in finding.what
    assert "--repair" in finding.remedy
    findings = examine(url, workspace, repair=True)
    assert bad(findings) == []
    assert any("lost trials 0 are failed" in finding.what for finding in findings)
    assert [t.state.name for t in study.trials] == ["FAIL", "WAITING"]


def test_a_checkpoint_that_is_broken_gone_or_of_another_study_is_named(workspace):
    url, best = default_url(workspace), workspace / "clinic" / "best"
    open_study(open_storage(url), "other", {})
    shutil.copytree(best, workspace / "other" / "best")
    (best / "model.safetensors").write_bytes(b"x")
    broken, foreign = bad(examine(url, workspace))
    assert "is broken" in broken.what
    assert "holds no complete trial of study 'other'" in foreign.what
    shutil.rmtree(workspace / "other")
    shutil.rmtree(best)
    (gone,) = bad(examine(url, workspace))
    assert (gone.level, "no checkpoint" in gone.what) == ("warning", True)
    assert all(finding.remedy for finding in (broken, foreign, gone))


def test_other_versions_little_disk_many_threads_are_warned_of(workspace, monkeypatch):
    url, usage = default_url(workspace), namedtuple("Usage", "total used free")
    monkeypatch.setattr(doctor, "library_versions", lambda: {"torch": "9.9"})
    monkeypatch.setattr(doctor.shutil, "disk_usage", lambda path: usage(10, 9, 10**9))
    monkeypatch.setenv("OMP_NUM_THREADS", "8")
    versions, disk, threads = bad(examine(url, workspace))
    assert "now 9.9" in versions.what
    assert "1.0 GB free" in disk.what
    assert "OMP_NUM_THREADS=8" in threads.what


def test_a_machine_without_a_compiler_is_told_what_it_misses(tmp_path, monkeypatch):
    missing = Build(None, "there is no C compiler 'cc'")
    for module in ("search.doctor", "trainer.steps.compiler"):
        monkeypatch.setattr(f"{module}.build", lambda: missing)
    (finding,) = bad(examine(default_url(tmp_path), tmp_path))
    assert finding.level == "warning"
    assert "install gcc or clang" in finding.remedy
    assert finding.what.startswith("there is no C compiler 'cc', so")


def test_a_machine_that_compiles_in_every_process_is_told_why(tmp_path, monkeypatch):
    unkept = Build(object(), "C compiler 12, 8 floats at once", "somebody else may write to /cache")
    monkeypatch.setattr("search.doctor.build", lambda: unkept)
    (finding,) = bad(examine(default_url(tmp_path), tmp_path))
    assert "compiles it again: somebody else may write to /cache" in finding.what
    assert "XDG_CACHE_HOME" in finding.remedy
