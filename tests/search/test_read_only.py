"""A workspace that its reader has no right to write to: real processes of another user."""

import json
import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile
from contextlib import closing
from pathlib import Path

import pytest

from search.report.reproducibility import definition_toml
from search.run import run_search

NOBODY = 65534
SETPRIV = shutil.which("setpriv")
AS_NOBODY = (
    *(SETPRIV or "setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups"),
    sys.executable,
)


# Each command in a fork of one process that has imported all.
EACH = """
import contextlib, json, os, sys, traceback
import search.cli, search.commands.search, search.commands.report, search.commands.retrain

results = []
for words in json.loads(sys.argv[1]):
    out, err = (os.path.join(os.getcwd(), name) for name in ("stdout", "stderr"))
    if not os.fork():
        for path, number in ((out, 1), (err, 2)):
            os.dup2(os.open(path, os.O_CREAT | os.O_TRUNC | os.O_WRONLY), number)
        sys.argv = ["raretune", *words]
        try:
            search.cli.main()
        except SystemExit as ended:
            sys.stdout.flush()
            os._exit(ended.code or 0)
        finally:
            os._exit(99)
    status = os.waitstatus_to_exitcode(os.wait()[1])
    results.append([status, open(out).read(), open(err).read()])
print(json.dumps(results))
"""


def run(place, *arguments):
    """Run Python as a user without rights, whose own folder is `place`/own."""
    own = place / "own"
    variables = {"HOME": own, "XDG_CACHE_HOME": own / "cache", "TMPDIR": own}
    return subprocess.run(
        [*AS_NOBODY, *map(str, arguments)],
        env={**os.environ, **{name: str(value) for name, value in variables.items()}},
        cwd=own,
        capture_output=True,
        text=True,
        timeout=300,
    )


def raretune(place, commands):
    """Run commands so; return the status, stdout and stderr of each."""
    lines = [
        [*(word.format(place=place) for word in words), "--workspace", str(place / "runs")]
        for words in commands
    ]
    done = run(place, "-c", EACH, json.dumps(lines))
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def place(searched_session, table_csv):
    """A folder with a searched workspace and its table, which all may read and nobody write to."""
    if os.geteuid() != 0 or SETPRIV is None:
        pytest.skip("only root can become another user")
    session = searched_session(
        "clinic",
        budget={"trials": 4},
        training={"epochs": 2},
        pruner="none",
        space={"batch_size": [64], "hidden_dim": [16]},
    )
    run_search(session, should_stop=lambda: True, on_progress=lambda progress: None)
    folder = Path(tempfile.mkdtemp(prefix="readers"))
    shutil.copytree(session.workspace.folder, folder / "runs")
    shutil.copy(table_csv, folder / "clinic.csv")
    with closing(sqlite3.connect(folder / "runs" / "studies.db")) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    roles = session.definition.table.model_copy(update={"csv": folder / "clinic.csv"})
    moved = session.definition.model_copy(update={"table": roles})
    (folder / "clinic.toml").write_text(definition_toml(moved))
    (folder / "own").mkdir()
    os.chown(folder / "own", NOBODY, NOBODY)
    for path in (folder, *folder.rglob("*")):
        path.chmod(0o755 if path.is_dir() else 0o644)
    if run(folder, "-c", "import search.cli, torch").returncode:
        shutil.rmtree(folder)
        pytest.skip("another user can't run this Python")
    yield folder
    shutil.rmtree(folder)


def tree(folder):
    return {path: path.stat().st_mtime_ns for path in sorted(folder.rglob("*"))}


READING = [
    ("trials", "clinic"),
    ("best", "clinic", "--json"),
    ("report", "clinic", "--output", "{place}/own/report.html"),
    ("export", "clinic", "--csv", "{place}/clinic.csv", "--output", "{place}/own/exported"),
    ("retrain", "clinic", "--csv", "{place}/clinic.csv", "--output", "{place}/own/again"),
    ("doctor",),
]
WRITING = [
    ("search", "{place}/clinic.toml"),
    ("confirm", "clinic", "--csv", "{place}/clinic.csv", "--top", "1", "--seeds", "1"),
    ("ensemble", "clinic", "--csv", "{place}/clinic.csv"),
    ("report", "clinic"),
]


@pytest.mark.parametrize("open_elsewhere", [False, True])
def test_what_reads_works_without_a_right_to_write(place, open_elsewhere):
    """Also while another process searches, whose last trials stand in the database's log."""
    with closing(sqlite3.connect(place / "runs" / "studies.db")) as connection:
        if open_elsewhere:
            connection.execute("UPDATE studies SET study_name = 'clinic'")
            connection.commit()
            assert (place / "runs" / "studies.db-wal").stat().st_size
            for log in (place / "runs").glob("studies.db-*"):
                log.chmod(0o644)
        before = tree(place / "runs")
        for words, (status, out, err) in zip(READING, raretune(place, READING), strict=True):
            assert status == 0, (words, out, err)
        assert tree(place / "runs") == before


def test_what_writes_is_refused_in_one_line(place):
    before = tree(place / "runs")
    for words, (status, out, err) in zip(WRITING, raretune(place, WRITING), strict=True):
        assert (status, out) == (2, ""), (words, err)
        assert err.count("\n") == 1, (words, err)
    assert tree(place / "runs") == before
