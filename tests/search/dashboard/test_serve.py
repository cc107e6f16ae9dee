"""`raretune dashboard` without a browser: what it refuses, how it starts and how it ends."""

import json
import signal
import socket
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import urlopen

import optuna
import pytest
from optuna.trial import create_trial

from search.dashboard.serve import readable
from search.store.attributes import DEFINITION
from search.store.storage import default_url, open_storage, open_study
from studies.definition import load_definition
from trainer.config import TrainConfig

RARETUNE = Path(sys.executable).with_name("raretune")
CONFIG = TrainConfig().model_dump(mode="json")
NESTED = {"config": CONFIG, "stack": [1, 2], "owner": "c104/pid 8972"}
FLAT = {"seconds": 2.5, "recall": 0.5, "zeal": "a", "macro_f1": 0.25}

pytest.importorskip(
    "optuna_dashboard", reason='optuna-dashboard is missing: pip install -e ".[dashboard]"'
)


@pytest.fixture(scope="module")
def workspace(tmp_path_factory):
    """A workspace with one study of one trial."""
    workspace = tmp_path_factory.mktemp("runs")
    study = open_study(open_storage(default_url(workspace)), "clinic", {})
    study.add_trial(create_trial(value=0.25, user_attrs={**NESTED, **FLAT}))
    table = {"csv": "clinic.csv", "labels": ["rare"]}
    definition = load_definition("default", {"name": "clinic", "table": table})
    study.set_user_attr(DEFINITION, definition.model_dump(mode="json"))
    return workspace


@contextmanager
def running(*arguments):
    """Run the command until the block ends; hand out the process and its address."""
    command = [RARETUNE, "dashboard", *map(str, arguments)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        yield process, process.stdout.readline().strip()
    finally:
        process.kill()
        process.communicate()


def fetched(address):
    with urlopen(address, timeout=30) as answer:
        return answer.read().decode()


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


def test_only_what_is_shown_loses_nested_attributes(workspace):
    storage = optuna.storages.get_storage(open_storage(default_url(workspace)))
    shown = readable(optuna.storages.get_storage(open_storage(default_url(workspace))))
    assert shown.get_all_trials(1, deepcopy=False)[0].user_attrs == FLAT
    assert shown.get_all_studies()[0].user_attrs == {}
    assert storage.get_all_trials(1)[0].user_attrs == {**NESTED, **FLAT}
    assert DEFINITION in storage.get_all_studies()[0].user_attrs
