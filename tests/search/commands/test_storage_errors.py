"""Commands that touch a storage: one line where that fails, no trace of it where they read."""

import json
import shutil
import sqlite3
from contextlib import closing
from os import W_OK

import pytest

from search import reopen
from search.report.reproducibility import definition_toml
from search.store import storage
from search.store.storage import open_storage
from search.workspace import file_url

COMMANDS = {
    "trials": (),
    "best": (),
    "export": ("--output", "{out}"),
    "retrain": ("--output", "{out}"),
    "confirm": ("--top", "1", "--seeds", "1"),
    "report": ("--output", "{out}.html"),
}
READING = [name for name in COMMANDS if name != "confirm"]


@pytest.fixture
def workspace(session, tmp_path):
    """A copy of a searched workspace, as a process that has ended leaves it."""
    copy = tmp_path / "runs"
    shutil.copytree(session.workspace.folder, copy)
    with closing(sqlite3.connect(copy / "studies.db")) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    return copy


def command(name, workspace, tmp_path, *more):
    given = (one.format(out=tmp_path / "out") for one in COMMANDS[name])
    return (name, "quick_one", "--workspace", workspace, *given, *more)


def assert_one_line(done, *words):
    assert done.returncode == 2, (done.stdout, done.stderr)
    assert done.stderr.startswith("raretune: ")
    assert done.stderr.count("\n") == 1, done.stderr
    for word in words:
        assert word in done.stderr


def after_opening(monkeypatch, happens):
    """Let something happen when a command has opened its study."""

    def load(opened, name):
        study = storage.load_study(opened, name)
        happens()
        return study

    monkeypatch.setattr(reopen, "load_study", load)


def damage(path):
    content = bytearray(path.read_bytes())
    content[4096:] = b"\xa5" * (len(content) - 4096)
    path.write_bytes(content)


@pytest.mark.parametrize("name", COMMANDS)
def test_a_damaged_database_is_one_line(name, workspace, tmp_path, here):
    damage(workspace / "studies.db")
    done = here(*command(name, workspace, tmp_path))
    assert_one_line(done, "can't use storage", "sqlite3 FILE .recover")


@pytest.mark.parametrize("name", COMMANDS)
def test_a_database_removed_after_opening_is_one_line(name, workspace, tmp_path, here, monkeypatch):
    after_opening(monkeypatch, (workspace / "studies.db").unlink)
    done = here(*command(name, workspace, tmp_path))
    assert_one_line(done, "studies.db was removed or replaced", "put it back")
    assert not (workspace / "studies.db").exists()


@pytest.mark.parametrize("name", COMMANDS)
def test_a_database_without_studies_is_one_line(name, workspace, tmp_path, here):
    for path in workspace.glob("studies.db*"):
        path.unlink()
    (workspace / "studies.db").touch()
    done = here(*command(name, workspace, tmp_path))
    assert_one_line(done, "no study" if name == "confirm" else "there are no studies in it")


@pytest.mark.parametrize("name", COMMANDS)
@pytest.mark.parametrize("kind", ["sqlite", "journal"])
def test_a_storage_that_is_not_there_is_not_made(kind, name, workspace, tmp_path, here):
    typo = tmp_path / "typo.db"
    done = here(*command(name, workspace, tmp_path, "--storage", file_url(kind, typo)))
    assert_one_line(done, "no file" if name != "confirm" else "no study")
    assert not typo.exists() or name == "confirm"


@pytest.mark.parametrize("name", READING)
def test_a_command_that_reads_writes_nothing_into_its_workspace(name, workspace, tmp_path, here):
    before = {path: path.stat().st_mtime_ns for path in sorted(workspace.rglob("*"))}
    done = here(*command(name, workspace, tmp_path))
    assert done.returncode == 0, done.stderr
    assert {path: path.stat().st_mtime_ns for path in sorted(workspace.rglob("*"))} == before


def test_what_a_search_has_not_yet_written_into_the_file_itself_is_read(workspace, here):
    with closing(sqlite3.connect(workspace / "studies.db")) as connection:
        connection.execute("UPDATE studies SET study_name = 'renamed'")
        connection.commit()
        assert (workspace / "studies.db-wal").stat().st_size
        done = here("best", "renamed", "--workspace", workspace)
        assert done.returncode == 0, done.stderr


def test_a_log_that_can_t_be_shared_is_read_in_a_copy(workspace, here, monkeypatch):
    with closing(sqlite3.connect(workspace / "studies.db")) as connection:
        connection.execute("UPDATE studies SET study_name = 'renamed'")
        connection.commit()
        monkeypatch.setattr("search.store.filesystem.os.access", lambda path, mode: mode != W_OK)
        assert here("best", "renamed", "--workspace", workspace).returncode == 0


def test_a_row_that_can_t_be_read_is_named_by_its_trial(workspace, here):
    with closing(sqlite3.connect(workspace / "studies.db")) as connection:
        connection.execute("UPDATE trial_user_attributes SET value_json = '{' WHERE trial_id = 3")
        connection.commit()
    done = here("trials", "quick_one", "--workspace", workspace)
    assert_one_line(done, "trial 2 is damaged")


def test_a_server_that_is_not_there_is_one_line_in_all_commands(workspace, tmp_path, here):
    url = "postgresql://me:S3cr3t@localhost:1/db"
    for name in COMMANDS:
        done = here(*command(name, workspace, tmp_path, "--storage", url))
        assert_one_line(done, "check that the server runs", "me:***@localhost")


def test_a_journal_that_is_removed_while_it_is_used_is_not_made_anew(tmp_path):
    url = f"journal:///{tmp_path}/s.log"
    study = storage.open_study(open_storage(url), "s", {})
    (tmp_path / "s.log").unlink()
    with pytest.raises(storage.ConfigError, match="removed or replaced"):
        study.ask()
    assert not (tmp_path / "s.log").exists()


TORN = b'{"op_code":9,"worker_id":"x","trial_id":1,"user_attr":{"sco'


@pytest.fixture(scope="module")
def journal(searched_session, tmp_path_factory):
    """A searched study in a journal."""
    url = file_url("journal", tmp_path_factory.mktemp("journal") / "studies.log")
    quick = {"training": {"epochs": 2}, "pruner": "none", "budget": {"trials": 3}}
    space = {"batch_size": [64], "hidden_dim": [16]}
    return searched_session("quick_one", storage=url, space=space, **quick)


@pytest.fixture
def torn(journal, tmp_path):
    """A copy of that journal as a process which died while it wrote leaves it."""
    file = tmp_path / "torn.log"
    shutil.copy(storage.storage_file(journal.url), file)
    with file.open("ab") as opened:
        opened.write(TORN)
    return file


@pytest.mark.parametrize("name", COMMANDS)
def test_a_torn_last_line_of_a_journal_keeps_no_command_from_it(
    name, journal, torn, tmp_path, here
):
    where = ("--storage", file_url("journal", torn))
    done = here(*command(name, journal.workspace.folder, tmp_path, *where))
    assert done.returncode == 0, done.stderr
    assert torn.read_bytes().endswith(TORN) == (name in READING)
    for line in torn.read_bytes().removesuffix(TORN).splitlines():
        json.loads(line)


def test_a_search_goes_on_after_a_torn_last_line(journal, torn, tmp_path, here):
    definition = journal.definition.model_copy(update={"storage": None})
    (tmp_path / "more.toml").write_text(definition_toml(definition))
    more = ("--trials", "5", "--storage", file_url("journal", torn), "--workspace", tmp_path)
    done = here("search", tmp_path / "more.toml", *more, "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["trials"]["complete"] == 5
    assert TORN not in torn.read_bytes()
