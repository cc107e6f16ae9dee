import sqlite3

import optuna
import pytest

from search.storage import default_url, differences, open_storage, open_study, shown
from trainer.errors import ConfigError


def test_sqlite_runs_in_wal_so_that_a_dashboard_can_read_while_a_search_writes(tmp_path):
    url = default_url(tmp_path)
    open_study(open_storage(url), "s", {"seed": 0})
    with sqlite3.connect(tmp_path / "studies.db") as connection:
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)


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
        ("oracle+nothing://u:secret@localhost/x", "can't open storage"),
    ],
)
def test_a_storage_that_cannot_open_is_one_line_without_the_password(url, message):
    with pytest.raises(ConfigError, match=message) as caught:
        open_storage(url)
    assert "\n" not in str(caught.value)
    assert "secret" not in str(caught.value)


def test_a_file_that_is_no_database_is_refused(tmp_path):
    path = tmp_path / "studies.db"
    path.write_text("not a database, but long enough to look like a file with a header " * 20)
    with pytest.raises(ConfigError, match="not a database"):
        open_storage(f"sqlite:///{path}")


def test_passwords_are_hidden():
    assert shown("postgresql://me:secret@host/db") == "postgresql://me:***@host/db"


def test_differences_name_each_leaf():
    old, new = {"a": 1, "b": {"c": 2, "d": 3}}, {"a": 1, "b": {"c": 5}, "e": 4}
    assert list(differences(old, new)) == ["b.c: 2 -> 5", "b.d: 3 -> null", "e: null -> 4"]
