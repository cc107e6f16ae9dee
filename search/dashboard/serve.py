"""optuna-dashboard over a workspace's studies, with notes that are written while it runs."""

import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from socketserver import ThreadingMixIn
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

import optuna
from optuna.storages import BaseStorage

from search.dashboard.guard import LOCAL, PlainFiles, guarded
from search.dashboard.notes import annotate
from search.dashboard.view import look_at_each_trials_own_attributes, readable
from search.store.complaints import explained, without_password
from search.store.records import count_ended
from search.store.storage import default_url, load_study, open_storage, storage_file
from search.store.transactions import study_id
from search.workspace import Workspace
from trainer.commands.interrupt import interruptible
from trainer.errors import ConfigError, RaretuneError

NOTE_SECONDS, LOOK_AGAIN_SECONDS, POLL_SECONDS = 5.0, 60.0, 0.2


class _Server(ThreadingMixIn, WSGIServer):
    """A thread a request; one that is still open does not keep the program from ending."""

    daemon_threads = True
    request_queue_size = 64


class _Handler(WSGIRequestHandler):
    """Answers without a line on stderr for each request."""

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""


def dashboard(name: str | None, workspace: Path, url: str | None, *, host: str, port: int) -> None:
    """Serve the dashboard until Ctrl-C or SIGTERM; raises RaretuneError.

    `port` 0 takes any free one. Where `name` is given, the address is that of the study's page.
    """
    url = url or default_url(workspace)
    file = storage_file(url)
    if file is not None and not file.exists():
        raise ConfigError(
            f"no studies in {without_password(url)}; name another place with --workspace or "
            "--storage"
        )
    with explained(url), interruptible() as interrupt:
        storage = optuna.storages.get_storage(open_storage(url))
        page = "" if name is None else f"/studies/{study_id(load_study(storage, name))}"
        with _serving(_app(open_storage(url), workspace, host), host, port) as address:
            if host not in LOCAL:
                print(
                    f"anyone who reaches {host} can read and delete studies: there is no login",
                    file=sys.stderr,
                )
            print(f"{address}/dashboard{page}", flush=True)
            print("Ctrl-C ends it", file=sys.stderr)
            _annotate_until(interrupt, _Notes(storage, workspace, url))


def _app(storage: BaseStorage, workspace: Path, host: str) -> Any:
    try:
        from optuna_dashboard import wsgi
    except ImportError:
        raise ConfigError(
            'optuna-dashboard is not installed; install it with pip install "raretune[dashboard]"'
        ) from None
    look_at_each_trials_own_attributes()
    artifacts = PlainFiles(Workspace(workspace).artifacts)
    app = wsgi(readable(optuna.storages.get_storage(storage)), artifact_store=artifacts)
    return guarded(app, host, artifacts)


@contextmanager
def _serving(app: Any, host: str, port: int) -> Iterator[str]:
    """Answer requests in the background and hand out the server's address."""
    try:
        server = make_server(host, port, app, server_class=_Server, handler_class=_Handler)
    except OSError as error:
        raise ConfigError(
            f"can't serve at {host}:{port}: {error.strerror}; name another --port or --host"
        ) from None
    thread = threading.Thread(target=server.serve_forever, args=(POLL_SECONDS,))
    thread.start()
    try:
        yield f"http://{host}:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def _annotate_until(interrupt: Callable[[], Any], notes: "_Notes") -> None:
    latest = -NOTE_SECONDS
    while not interrupt():
        if time.monotonic() - latest >= NOTE_SECONDS:
            for name in optuna.get_all_study_names(notes.storage):
                notes.renew(name)
            latest = time.monotonic()
        time.sleep(POLL_SECONDS)


@dataclass
class _Notes:
    """The notes of a storage's studies, renewed where trials have ended, and now and then."""

    storage: BaseStorage
    workspace: Path
    url: str
    _seen: dict[str, tuple[int, float]] = field(default_factory=dict)  # ended trials, and when
    _broken: set[str] = field(default_factory=set)

    def renew(self, name: str) -> None:
        """Renew a study's notes; one that was deleted or renamed meanwhile has none."""
        try:
            study = optuna.load_study(study_name=name, storage=self.storage)
            ended, now = count_ended(study), time.monotonic()
            before, at = self._seen.get(name, (-1, 0.0))
            if ended != before or now - at > LOOK_AGAIN_SECONDS:
                annotate(study, self.workspace, self.url)
                self._seen[name] = ended, now
        except KeyError:  # what Optuna raises for a study that is gone
            if name in optuna.get_all_study_names(self.storage):
                raise
        except RaretuneError as error:
            if name not in self._broken:
                print(f"no notes for study {name!r}: {error}", file=sys.stderr)
            self._broken.add(name)
