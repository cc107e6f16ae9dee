"""Whom the dashboard answers, and how artifacts leave it, over real HTTP."""

import http.client
import json
import os
import uuid

import pytest
from served import running

from search.dashboard.guard import PlainFiles, is_served
from search.store.attributes import ARTIFACTS
from search.store.storage import default_url, load_study, open_storage

pytest.importorskip(
    "optuna_dashboard", reason='optuna-dashboard is missing: pip install -e ".[dashboard]"'
)


@pytest.fixture(scope="module")
def server(workspace):
    """The address of a server of the workspace: host and port."""
    with running("--port", 0, "--workspace", workspace) as (_, address):
        yield address.removeprefix("http://").partition("/")[0]


def asked(server, path, method="GET", body=None, **headers):
    """Return an answer's status, its headers and its body."""
    connection = http.client.HTTPConnection(server, timeout=30)
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    connection.request(method, path, body, named)
    answer = connection.getresponse()
    found = answer.status, answer.headers, answer.read()
    connection.close()
    return found


@pytest.mark.parametrize(
    "path", ["/dashboard", "/api/studies", "/api/studies/1", "/artifacts/1/1/a"]
)
@pytest.mark.parametrize(
    "host",
    ["evil.example", "evil.example:PORT", "127.0.0.1.evil.example", "localhost@evil.example", ""],
)
def test_a_host_that_is_not_the_served_one_is_refused(server, path, host):
    status, _, body = asked(server, path, Host=host.replace("PORT", server.partition(":")[2]))
    assert status == 403
    assert b"clinic" not in body


@pytest.mark.parametrize("name", ["127.0.0.1", "localhost", "LOCALHOST", "[::1]"])
def test_the_served_host_is_answered_under_its_names(server, name):
    for host in (name, f"{name}:{server.partition(':')[2]}"):
        status, headers, body = asked(server, "/api/studies", Host=host)
        assert status == 200
        assert b"clinic" in body
        assert headers["X-Content-Type-Options"] == "nosniff"


@pytest.mark.parametrize(
    ("asked", "host", "expected"),
    [
        ("192.168.1.5:8080", "0.0.0.0", True),
        ("[fe80::1]:8080", "::", True),
        ("evil.example", "0.0.0.0", False),
        ("192.168.1.5.evil.example", "0.0.0.0", False),
        ("lab.example:8080", "lab.example", True),
        ("127.0.0.1", "lab.example", False),
        ("192.168.1.5", "127.0.0.1", False),
        ("localhost, evil.example", "127.0.0.1", False),
    ],
)
def test_a_name_is_the_servers_or_it_is_not(asked, host, expected):
    assert is_served(asked, host) is expected


@pytest.mark.parametrize("origin", ["http://evil.example", "null"])
def test_another_sites_page_changes_nothing(server, origin):
    study = json.dumps({"study_name": "theirs", "directions": ["maximize"]})
    headers = {"Content_Type": "application/json", "Origin": origin}
    assert asked(server, "/api/studies", "POST", study, **headers)[0] == 403
    assert asked(server, "/api/studies/1", "DELETE", **headers)[0] == 403
    assert b"theirs" not in asked(server, "/api/studies")[2]


@pytest.fixture
def shelf(workspace):
    """Put an artifact into the workspace by a function, and return its path under the server."""
    study = load_study(open_storage(default_url(workspace)), "clinic")
    folder = workspace / "artifacts"
    folder.mkdir(exist_ok=True)

    def put(make):
        name = str(uuid.uuid4())
        make(folder / name)
        meta = {
            "artifact_id": name,
            "filename": "x.html",
            "mimetype": "text/html",
            "encoding": None,
        }
        trial_id = study.trials[0]._trial_id
        key = f"{ARTIFACTS}{trial_id}:{name}"
        study._storage.set_study_system_attr(study._study_id, key, json.dumps(meta))
        return f"/artifacts/{study._study_id}/{trial_id}/{name}"

    return put


def test_an_artifact_is_handed_over_as_a_file_that_no_browser_runs(server, shelf):
    path = shelf(lambda path: path.write_text("<script>alert(1)</script>"))
    for asked_for in (path, f"{path}/", f"/{path}"):
        status, headers, body = asked(server, asked_for)
        if status == 404:  # a path that the dashboard does not know
            continue
        assert (status, body) == (200, b"<script>alert(1)</script>")
        assert headers["Content-Disposition"] == "attachment"
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert headers["Content-Security-Policy"] == "sandbox"
        assert headers["Access-Control-Allow-Origin"] is None


@pytest.mark.parametrize("kind", ["link", "pipe", "folder", "gone"])
def test_what_is_no_plain_file_is_no_artifact(server, shelf, tmp_path, kind):
    secret = tmp_path / "secret"
    secret.write_text("secret")
    make = {
        "link": lambda path: path.symlink_to(secret),
        "pipe": os.mkfifo,
        "folder": lambda path: path.mkdir(),
        "gone": lambda path: None,
    }
    status, _, body = asked(server, shelf(make[kind]))
    assert status == 404
    assert b"secret" not in body


def test_an_artifact_is_found_in_its_folder_only(tmp_path):
    (tmp_path / "shelf").mkdir()
    (tmp_path / "secret").write_text("secret")
    assert not PlainFiles(tmp_path / "shelf").holds("../secret")
