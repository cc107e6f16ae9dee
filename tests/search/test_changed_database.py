"""A database whose values were changed: each command works, or ends in one line with the remedy."""

import json
import random
import shutil
import sqlite3

import pytest

from search.report.reproducibility import definition_toml
from search.run import run_search

ODD = [None, True, -1, 0, 3, 1e39, float("nan"), 10**20, "", "x", "nan", [], {}, [1], {"a": None}]
RAW = [None, -1, 0, 7, 1e39, 2**62, "", "x", b"\xff\x00", "{", "[]", "1e999"]
CACHES = ("version_info", "alembic_version")  # of which Optuna itself complains, tested elsewhere


@pytest.fixture(scope="module")
def workspace(searched_session, tmp_path_factory):
    """A searched study with all that a search keeps; its database is one file."""
    session = searched_session(
        "clinic",
        budget={"trials": 4},
        training={"epochs": 2},
        pruner="none",
        space={"batch_size": [64], "hidden_dim": [16]},
    )
    run_search(session, should_stop=lambda: True, on_progress=lambda progress: None)
    folder = tmp_path_factory.mktemp("whole") / "runs"
    shutil.copytree(session.workspace.folder, folder)
    with sqlite3.connect(folder / "studies.db") as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    connection.close()
    (folder / "clinic.toml").write_text(definition_toml(session.definition))
    return folder


@pytest.fixture
def changed(workspace, tmp_path):
    """Change one value of a copy of the database; return the copied workspace and what was done."""

    def change(draw, number):
        folder = tmp_path / str(number)
        shutil.copytree(workspace, folder)
        with sqlite3.connect(folder / "studies.db") as connection:
            told = None
            while told is None:
                told = change_a_value(connection, draw)
        connection.close()
        return folder, told

    return change


def change_a_value(connection, draw):
    """Change one value and say which; None if the database does not take it."""
    tables = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()
    table = draw.choice([name for (name,) in tables if name not in CACHES])
    rows = connection.execute(f"SELECT rowid, * FROM {table}").fetchall()
    if not rows:
        return None
    names = [row[1] for row in connection.execute(f"PRAGMA table_info({table})")]
    rowid, *values = draw.choice(rows)
    place = draw.randrange(len(names))
    try:
        content = json.loads(values[place])
    except (TypeError, ValueError):
        new = draw.choice(RAW)
    else:
        new = json.dumps(inside(content, draw)) if draw.random() < 0.9 else draw.choice(RAW)
    try:
        update = f"UPDATE {table} SET {names[place]} = ? WHERE rowid = ?"
        connection.execute(update, (new, rowid))
    except (sqlite3.Error, OverflowError):
        return None
    key = values[names.index("key")] if "key" in names else rowid
    return f"{table}.{names[place]} of {key}: {str(values[place])[:200]} -> {str(new)[:200]}"


def inside(content, draw):
    """Return a JSON document with one value replaced, or left out, somewhere in it."""
    if isinstance(content, str) and content[:1] in "{[" and content:
        try:
            return json.dumps(inside(json.loads(content), draw))
        except ValueError:
            return draw.choice(ODD)
    if not isinstance(content, dict | list) or not content or draw.random() < 0.15:
        return draw.choice(ODD)
    keys = list(content) if isinstance(content, dict) else range(len(content))
    key = draw.choice(list(keys))
    new = content.copy()
    if draw.random() < 0.15:
        del new[key]
    else:
        new[key] = inside(content[key], draw)
    return new


COMMANDS = {  # and how many changes are tried with each
    "trials": (16, "clinic"),
    "best": (12, "clinic", "--json"),
    "report": (5, "clinic"),
    "export": (8, "clinic", "--output", "{folder}/out"),
    "retrain": (8, "clinic", "--output", "{folder}/out"),
    "confirm": (6, "clinic", "--top", "1", "--seeds", "1"),
    "ensemble": (6, "clinic"),
    "doctor": (8, "--csv", "{table}"),
    "search": (5, "{folder}/clinic.toml"),
}


@pytest.mark.parametrize("command", COMMANDS)
def test_a_changed_value_is_no_traceback(changed, here, table_csv, command):
    draw = random.Random(command)
    for number in range(COMMANDS[command][0]):
        folder, told = changed(draw, number)
        check(here, command, folder, table_csv, told)


def test_a_trial_that_is_missing_is_no_gap_to_search_on(workspace, tmp_path, here):
    """Optuna counts the trials of a study to number the next, so that one would be there twice."""
    folder = shutil.copytree(workspace, tmp_path / "runs")
    with sqlite3.connect(folder / "studies.db") as connection:
        connection.execute("UPDATE trials SET study_id = 7 WHERE number = 1")
    connection.close()
    done = here("search", folder / "clinic.toml", "--workspace", folder)
    assert done.returncode == 2
    assert "is damaged: trials are missing from it" in done.stderr


def check(here, command, folder, table, told):
    words = [word.format(folder=folder, table=table) for word in COMMANDS[command][1:]]
    done = here(command, *words, "--workspace", folder)
    assert done.returncode in (0, 2), (told, done.stderr)
    assert "Traceback" not in done.stderr, told
    if done.returncode == 2:
        line = done.stderr.splitlines()[-1]
        assert line.startswith("raretune: "), (told, done.stderr)
        assert ";" in line, (told, line)
