import builtins
import multiprocessing
import sqlite3
from pathlib import Path
from types import SimpleNamespace

import optuna
import psutil
import pytest
from optuna.distributions import FloatDistribution

from search.store.filesystem import file_system
from search.store.storage import (
    default_url,
    differences,
    open_storage,
    open_study,
    storage_file,
)
from search.store.transactions import ask, database, report_epoch
from search.workspace import file_url
from trainer.errors import ConfigError


def test_sqlite_runs_in_wal_so_that_a_dashboard_can_read_while_a_search_writes(tmp_path):
    url = default_url(tmp_path)
    open_study(open_storage(url), "s", {"seed": 0})
    with sqlite3.connect(tmp_path / "studies.db") as connection:
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)


NAMES = ["a%20b", "a b", "a#b", "a?b=c", "Münze", "a%2520", "{a}", "a+b", "me:pw@host"]


@pytest.mark.parametrize("kind", ["sqlite", "journal"])
@pytest.mark.parametrize(
    "folder", ["a%20b", "a b", "a#b", "a?b=c", "Münze", "a%2520", "{a}", "a+b"]
)
def test_a_study_lies_in_the_folder_of_that_name_whatever_urls_make_of_it(kind, folder, tmp_path):
    workspace = tmp_path / folder
    workspace.mkdir()
    file = workspace / "studies.db"
    url = default_url(workspace) if kind == "sqlite" else file_url(kind, file)
    open_study(open_storage(url), "s", {})
    assert file.exists()
    assert storage_file(url) == file
    assert [path.name for path in tmp_path.iterdir()] == [folder]
    assert optuna.get_all_study_names(open_storage(url)) == ["s"]


def test_the_same_fingerprint_continues_a_study(tmp_path):
    url = default_url(tmp_path)
    study = open_study(open_storage(url), "s", {"seed": 0, "labels": ("a", "b")})
    study.tell(study.ask(), 1.0)
    again = open_study(open_storage(url), "s", {"seed": 0, "labels": ["a", "b"]})
    assert len(again.trials) == 1


def test_another_fingerprint_is_refused_with_the_difference_and_the_way_out(tmp_path):
    url = default_url(tmp_path)
    open_study(open_storage(url), "s", {"seed": 0, "split": {"val_size": 0.2}})
    with pytest.raises(ConfigError, match=r"split.val_size: 0.2 -> 0.3.*--name"):
        open_study(open_storage(url), "s", {"seed": 0, "split": {"val_size": 0.3}})


def test_a_study_of_another_program_is_not_touched(tmp_path):
    storage = open_storage(default_url(tmp_path))
    other = optuna.create_study(storage=storage, study_name="other")
    other.tell(other.ask(), 0.0)
    with pytest.raises(ConfigError, match="not made by raretune"):
        open_study(storage, "other", {})


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("nonsense", "not a database URL"),
        ("sqlite:////no/such/folder/x.db", "no folder"),
        ("oracle+nothing://u:secret@localhost/x", "no database 'oracle.nothing' is known"),
        ("postgresql://me:secret@host:port/db", "not a database URL"),
        ("postgresql://me:secret@localhost:1/db", "check that the server runs"),
        ("postgresql://me@localhost:1/db?password=secret", "check that the server runs"),
        ("postgresql://me:se{cr}et%25@localhost:1/db", "check that the server runs"),
        ("sqlite:///file:/?mode=ro&uri=true", "make the file and its folder writable"),
        ("journal:////no/such/folder/x.log", "no folder"),
    ],
)
def test_a_storage_that_cannot_open_is_one_line_without_the_password(url, message):
    with pytest.raises(ConfigError, match=message) as caught:
        open_storage(url)
    assert "\n" not in str(caught.value)
    assert not {"secret", "se{cr}et"} & set(str(caught.value).replace("@", ":").split(":"))


def test_a_file_that_is_no_database_is_refused(tmp_path):
    path = tmp_path / "studies.db"
    path.write_text("not a database, but long enough to look like a file with a header " * 20)
    with pytest.raises(ConfigError, match="not a database"):
        open_storage(f"sqlite:///{path}")


@pytest.mark.parametrize(
    ("url", "driver", "remedy"),
    [
        ("postgresql://me@host/db", "psycopg", r'pip install "raretune\[postgres\]"'),
        ("postgres://me@host/db", "psycopg", r'pip install "raretune\[postgres\]"'),
        ("mysql://me@host/db", "pymysql", r'pip install "pymysql"'),
    ],
)
def test_a_missing_driver_is_named_with_what_installs_it(url, driver, remedy, monkeypatch):
    load = builtins.__import__

    def without(name, *arguments):
        if name == driver:
            raise ModuleNotFoundError(f"No module named {name!r}")
        return load(name, *arguments)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(ConfigError, match=remedy):
        open_storage(url)


MOUNTS = {
    "/": "ext4",
    "/home": "nfs4",
    "/home/me/local": "xfs",
    "/mnt/my share": "fuse.sshfs",
    "/mnt/twice": "cifs",
    "/mnt/twice/": "tmpfs",
}


def mount(monkeypatch, places):
    mounts = [SimpleNamespace(mountpoint=place, fstype=kind) for place, kind in places.items()]
    monkeypatch.setattr(psutil, "disk_partitions", lambda all: mounts)


@pytest.mark.parametrize(
    ("folder", "kind"),
    [
        ("/srv", "ext4"),
        ("/home/me/runs", "nfs4"),
        ("/home/me/local/runs", "xfs"),
        ("/homes", "ext4"),
        ("/mnt/my share", "fuse.sshfs"),
        ("/mnt/twice/x", "tmpfs"),
    ],
)
def test_a_folder_has_the_file_system_of_the_deepest_last_mount(folder, kind, monkeypatch):
    mount(monkeypatch, MOUNTS)
    assert file_system(Path(folder)) == kind


def test_the_file_system_of_this_machine_is_known():
    assert file_system(Path("/proc/self")) == "proc"


@pytest.mark.parametrize("kind", ["nfs4", "fuse.sshfs", "9p"])
def test_sqlite_on_a_network_file_system_is_refused_and_a_journal_is_not(
    kind, tmp_path, monkeypatch
):
    mount(monkeypatch, {"/": "ext4", str(tmp_path): kind})
    with pytest.raises(ConfigError, match=rf"network file system \({kind}\).*journal:///.*local"):
        open_storage(default_url(tmp_path))
    assert not (tmp_path / "studies.db").exists()
    open_storage(f"journal:///{tmp_path}/studies.log")


def test_a_journal_is_read_by_another_process_while_trials_run(tmp_path):
    url = f"journal:///{tmp_path}/studies.log"
    study = open_study(open_storage(url), "s", {"seed": 0})
    report_epoch(study, [(study.ask(), 3, 0.5)])
    again = open_study(open_storage(url), "s", {"seed": 0})
    assert again.trials[0].intermediate_values == {3: 0.5}


SPACE = {name: FloatDistribution(0, 1) for name in "ab"}


def work(url, start, results):
    """Open the study, take trials from the queue, report epochs and tell."""
    try:
        start.wait()
        study = open_study(open_storage(url), "s", {"seed": 0})
        trials = [ask(study, SPACE) for _ in range(5)]
        for epoch in range(10):
            report_epoch(study, [(trial, epoch, epoch / 10) for trial in trials])
        for trial in trials:
            study.tell(trial, trial.params["a"])
        results.put([(trial.number, trial.params["a"]) for trial in trials])
    except Exception as error:
        results.put(repr(error))


@pytest.mark.parametrize("queued", [0, 40])
def test_eight_processes_on_one_sqlite_file_neither_fail_nor_share_a_trial(queued, tmp_path):
    """Optuna alone lets two take the same waiting trial, and the tables' making fails at once."""
    context = multiprocessing.get_context("fork")
    url, start, results = default_url(tmp_path), context.Event(), context.Queue()
    if queued:
        study = open_study(open_storage(url), "s", {"seed": 0})
        for number in range(queued):
            study.enqueue_trial({"a": number / queued})
        database(study).engine.dispose()
    workers = [context.Process(target=work, args=(url, start, results)) for _ in range(8)]
    for worker in workers:
        worker.start()
    start.set()
    outcomes = [results.get(timeout=60) for _ in workers]
    for worker in workers:
        worker.join()
    assert [o for o in outcomes if isinstance(o, str)] == []
    trials = optuna.load_study(study_name="s", storage=open_storage(url)).trials
    told = [trial for outcome in outcomes for trial in outcome]
    assert sorted(number for number, _ in told) == list(range(40))
    assert {t.number: t.value for t in trials} == dict(told)
    assert all(len(t.intermediate_values) == 10 for t in trials)


def test_differences_name_each_leaf():
    old, new = {"a": 1, "b": {"c": 2, "d": 3}}, {"a": 1, "b": {"c": 5}, "e": 4}
    assert list(differences(old, new)) == ["b.c: 2 -> 5", "b.d: 3 -> null", "e: null -> 4"]
