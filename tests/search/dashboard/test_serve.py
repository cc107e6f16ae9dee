"""`raretune dashboard` without a browser: what it refuses, how it starts and how it ends."""

import json
import signal
import socket
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from urllib.error import HTTPError

import optuna
import pytest
from optuna.trial import create_trial
from served import fetched, running
from study_case import make_study

from search.dashboard import serve
from search.dashboard.serve import _Notes
from search.store.storage import default_url, open_storage

pytest.importorskip(
    "optuna_dashboard", reason='optuna-dashboard is missing: pip install -e ".[dashboard]"'
)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_it_serves_several_at_once_on_this_machine_and_ends_quietly(workspace, number):
    with running("clinic", "--port", 0, "--workspace", workspace) as (process, address):
        assert address.startswith("http://127.0.0.1:")
        assert address.endswith("/dashboard/studies/1")
        assert "<title>Optuna Dashboard" in fetched(address)
        root = address.partition("/dashboard")[0]
        with socket.create_connection(("127.0.0.1", int(root.rpartition(":")[2]))):
            with ThreadPoolExecutor(8) as pool:  # while one connection says nothing
                answers = list(pool.map(fetched, [f"{root}/api/studies/1?after=0"] * 16))
            process.send_signal(number)
            stdout, stderr = process.communicate(timeout=30)
    assert process.returncode == 0
    assert (stdout, stderr) == ("", "Ctrl-C ends it\n")
    assert len(set(answers)) <= 2  # the second one has the notes
    shown = json.loads(answers[0])["trials"][0]["user_attrs"]
    assert [one["key"] for one in shown] == ["macro_f1", "recall", "seconds", "zeal"]


def test_notes_are_written_while_it_runs(workspace):
    with running("--port", 0, "--workspace", workspace) as (_, address):
        assert address.endswith("/dashboard")
        study = {"note": {"body": ""}}
        deadline = time.monotonic() + 60
        while not study["note"]["body"] and time.monotonic() < deadline:
            time.sleep(0.1)
            study = json.loads(fetched(address.replace("/dashboard", "/api/studies/1?after=0")))
        assert "clinic.csv" in study["note"]["body"]
        assert study["trials"][0]["note"]["body"].startswith("**Complete**")


def test_another_host_is_served_with_a_warning_that_there_is_no_login(workspace):
    with running("--host", "0.0.0.0", "--port", 0, "--workspace", workspace) as (process, address):
        assert address.startswith("http://0.0.0.0:")
        process.terminate()
        assert "there is no login" in process.communicate(timeout=30)[1]


def test_an_artifact_that_is_gone_is_an_error_of_that_request_alone(workspace):
    with running("--port", 0, "--workspace", workspace) as (_, address):
        root = address.removesuffix("/dashboard")
        with pytest.raises(HTTPError, match="404"):
            fetched(f"{root}/artifacts/1/1/0000-0000")
        assert "clinic" in fetched(f"{root}/api/studies")


def assert_one_line(done, *parts):
    assert done.returncode == 2, (done.stdout, done.stderr)
    assert done.stdout == ""
    assert done.stderr.startswith("raretune: ")
    assert done.stderr.count("\n") == 1, done.stderr
    assert all(part in done.stderr for part in parts), done.stderr


def test_a_port_that_is_taken_is_refused(workspace, here):
    with closing(socket.create_server(("127.0.0.1", 0))) as other:
        port = other.getsockname()[1]
        done = here("dashboard", "--port", port, "--workspace", workspace)
    assert_one_line(done, f"127.0.0.1:{port}", "in use", "--port")


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        (["--host", "no.such.host.invalid"], ["no.such.host.invalid", "--host"]),
        (["--port", "65536"], ["--port", "65535"]),
        (["nowhere"], ["no study 'nowhere'", "clinic"]),
        (["--storage", "nonsense"], ["not a database URL"]),
        (["--storage", "sqlite:////no/such/place.db"], ["no studies in", "--storage"]),
    ],
)
def test_what_can_not_be_served_is_refused(arguments, parts, workspace, here):
    assert_one_line(here("dashboard", *arguments, "--workspace", workspace), *parts)


def test_a_workspace_that_is_not_there_is_refused_and_not_made(tmp_path, here):
    done = here("dashboard", "--workspace", tmp_path / "runs")
    assert_one_line(done, "no studies in", "--workspace")
    assert not (tmp_path / "runs").exists()


def test_a_password_is_never_shown(here):
    done = here("dashboard", "--storage", "postgresql://me:hunter2@127.0.0.1:1/db")
    assert_one_line(done, "me:***@127.0.0.1")
    assert "hunter2" not in done.stderr


def test_without_optuna_dashboard_the_extra_is_named(workspace, here, monkeypatch):
    monkeypatch.setitem(sys.modules, "optuna_dashboard", None)
    done = here("dashboard", "--workspace", workspace)
    assert_one_line(done, 'pip install "raretune[dashboard]"')


@pytest.fixture
def notes(tmp_path):
    """The notes of a workspace with one study of two trials."""
    url = default_url(tmp_path)
    make_study(2, storage=url)
    return _Notes(optuna.storages.get_storage(open_storage(url)), tmp_path, url)


def test_notes_are_looked_at_only_where_trials_have_ended(notes, monkeypatch):
    seen = []
    monkeypatch.setattr(serve, "annotate", lambda study, *_: seen.append(study.study_name))
    notes.renew("clinic")
    notes.renew("clinic")
    assert seen == ["clinic"]
    optuna.load_study(study_name="clinic", storage=notes.storage).add_trial(create_trial(value=0.1))
    notes.renew("clinic")
    assert seen == ["clinic", "clinic"]


def test_a_study_that_was_deleted_or_renamed_meanwhile_has_no_notes(notes, capsys):
    optuna.delete_study(study_name="clinic", storage=notes.storage)
    notes.renew("clinic")
    assert capsys.readouterr().err == ""


def test_a_study_that_is_not_as_raretune_writes_it_costs_one_line_and_only_its_notes(notes, capsys):
    study = optuna.load_study(study_name="clinic", storage=notes.storage)
    study.add_trial(create_trial(value=0.1, user_attrs={"config": "odd"}))
    notes.renew("clinic")
    study.add_trial(create_trial(value=0.1))
    notes.renew("clinic")
    told = capsys.readouterr().err
    assert told.startswith("no notes for study 'clinic': trial 2 ")
    assert told.count("\n") == 1
