import shutil
import sqlite3
from collections import namedtuple
from dataclasses import replace

import pytest
from optuna.distributions import FloatDistribution

from search import doctor
from search.doctor import examine
from search.store.artifacts import Shelf
from search.store.attributes import OWNER
from search.store.stale import owner
from search.store.storage import default_url, load_study, open_storage, open_study
from search.store.transactions import ask, set_attributes
from trainer.checkpoint import load_checkpoint, save_checkpoint
from trainer.steps.compiler import Build


@pytest.fixture
def workspace(exported, tmp_path):
    return shutil.copytree(exported[0].workspace.folder, tmp_path / "runs")


def bad(findings):
    return [finding for finding in findings if finding.level != "ok"]


def test_a_workspace_after_a_search_is_well(workspace):
    findings = examine(default_url(workspace), workspace)
    assert bad(findings) == []
    said = " ".join(finding.what for finding in findings)
    for part in ("schema", "WAL", "whole", "is trial", "GB free", "OMP_NUM_THREADS", "CUDA"):
        assert part in said


def test_a_database_that_nobody_has_open_is_well(workspace):
    """Its last reader took the log away."""
    connection = sqlite3.connect(workspace / "studies.db")
    connection.execute("SELECT * FROM studies").fetchall()
    connection.close()
    assert not (workspace / "studies.db-wal").exists()
    assert bad(examine(default_url(workspace), workspace)) == []


def test_every_kept_checkpoint_is_scored_on_its_table(workspace, table_csv):
    url, best = default_url(workspace), workspace / "clinic" / "best"
    findings = examine(url, workspace, table=table_csv)
    assert bad(findings) == []
    assert "5 kept checkpoints score as the study says" in " ".join(f.what for f in findings)
    study = load_study(open_storage(url), "clinic")
    shelf = Shelf(study, workspace / "artifacts")
    other = next(
        t for t in study.trials if t.number != load_checkpoint(best).record.trial["number"]
    )
    kept = shelf.fetch(other)
    (network,) = kept.networks
    negated = {name: -tensor for name, tensor in network.parameters.items()}
    shelf.keep(other.number, replace(kept, networks=(replace(network, parameters=negated),)))
    checkpoint = load_checkpoint(best)
    test = {**checkpoint.record.test, "macro_f1": 0.999}
    flattered = checkpoint.record.model_copy(update={"test": test})
    save_checkpoint(best, replace(checkpoint, record=flattered))
    assert bad(examine(url, workspace)) == []
    on_shelf, in_best = bad(examine(url, workspace, table=table_csv))
    assert f"the kept checkpoint of trial {other.number} is wrong: its score" in on_shelf.what
    assert "its test score macro_f1 is said to be 0.999" in in_best.what


def test_a_kept_checkpoint_that_is_wrong_is_replaced_as_doctor_says(
    workspace, tmp_path, table_csv, here
):
    """Two trials' checkpoints in each other's places, each of them right in itself."""
    url = default_url(workspace)
    study = load_study(open_storage(url), "clinic")
    shelf = Shelf(study, workspace / "artifacts")
    first, second = (n for n in range(4) if n != study.best_trial.number and n != 0)
    kept = [shelf.fetch(study.trials[n]) for n in (first, second)]
    shelf.keep(first, kept[1])
    shelf.keep(second, kept[0])
    findings = bad(examine(url, workspace, table=table_csv))
    assert [
        f"trial {n} is wrong: it is not of trial {n}" in f.what
        for n, f in zip((first, second), findings, strict=True)
    ] == [True, True]
    where = ("--workspace", workspace, "--csv", table_csv)
    for finding in findings:
        words = (
            finding.remedy.rpartition("with ")[2].replace("FOLDER", str(tmp_path / "out")).split()
        )
        done = here(*words[1:], *where)
        assert done.returncode == 0, done.stderr
        assert "is not used" in done.stderr
    assert bad(examine(url, workspace, table=table_csv)) == []
    assert here(*words[1:], *where).stderr == ""


def test_a_study_of_another_table_is_not_scored(workspace, tmp_path, table_csv):
    csv = tmp_path / "other.csv"
    csv.write_text(table_csv.read_text().replace("north", "upper"))
    (finding,) = bad(examine(default_url(workspace), workspace, table=csv))
    assert finding.level == "warning"
    assert "its checkpoints are not scored" in finding.what


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
