"""optuna-dashboard over a workspace's studies, with notes that are written while it runs.

What it shows is what is stored, less the nested attributes: in its table of trials each would make
the rows as high as a page.
"""

import copy
import sys
import threading
import time
from collections.abc import Container, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from socketserver import ThreadingMixIn
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

import optuna
from optuna.artifacts import FileSystemArtifactStore
from optuna.storages import BaseStorage
from optuna.trial import FrozenTrial, TrialState

from search.dashboard.notes import annotate
from search.store.attributes import (
    AVERAGE_PRECISION,
    BEST_EPOCH,
    DIAGNOSIS,
    EPOCHS,
    FAILURE,
    MACRO_F1,
    OWNER,
    PREDICTED_SHARE,
    RECALL,
    RECIPE,
    SECONDS,
    STOPPED,
)
from search.store.complaints import explained, without_password
from search.store.storage import default_url, load_study, open_storage, storage_file
from search.store.transactions import study_id
from search.workspace import Workspace
from trainer.commands.interrupt import interruptible
from trainer.errors import ConfigError

LOCAL = ("127.0.0.1", "localhost")
NOTE_SECONDS, POLL_SECONDS = 5.0, 0.2
FIRST = (  # columns of the table of trials, in this order, before all others
    *(MACRO_F1, AVERAGE_PRECISION, RECALL, PREDICTED_SHARE),
    *(BEST_EPOCH, EPOCHS, SECONDS, DIAGNOSIS, RECIPE, STOPPED, FAILURE),
)


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
        with _serving(_app(open_storage(url), workspace), host, port) as address:
            if host not in LOCAL:
                print(
                    f"anyone who reaches {host} can read and delete studies: there is no login",
                    file=sys.stderr,
                )
            print(f"{address}/dashboard{page}", flush=True)
            print("Ctrl-C ends it", file=sys.stderr)
            _annotate_until(interrupt, storage, workspace, url)


def _app(storage: BaseStorage, workspace: Path) -> Any:
    try:
        from optuna_dashboard import wsgi
    except ImportError:
        raise ConfigError(
            'optuna-dashboard is not installed; install it with pip install "raretune[dashboard]"'
        ) from None
    shelf = FileSystemArtifactStore(Workspace(workspace).artifacts)
    return wsgi(readable(optuna.storages.get_storage(storage)), artifact_store=shelf)


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


def _annotate_until(interrupt: Any, storage: BaseStorage, workspace: Path, url: str) -> None:
    latest = -NOTE_SECONDS
    while not interrupt():
        if time.monotonic() - latest >= NOTE_SECONDS:
            for name in optuna.get_all_study_names(storage):
                _annotate(name, storage, workspace, url)
            latest = time.monotonic()
        time.sleep(POLL_SECONDS)


def _annotate(name: str, storage: BaseStorage, workspace: Path, url: str) -> None:
    try:
        annotate(optuna.load_study(study_name=name, storage=storage), workspace, url)
    except KeyError:  # what Optuna raises for a study that was deleted in the dashboard meanwhile
        if name in optuna.get_all_study_names(storage):
            raise


def readable(storage: BaseStorage) -> BaseStorage:
    """Return the storage, whose trials and studies now come with plain attributes only."""
    trials, studies = storage.get_all_trials, storage.get_all_studies

    def get_all_trials(
        study_id: int, deepcopy: bool = True, states: Container[TrialState] | None = None
    ) -> list[FrozenTrial]:
        return [_plain(trial) for trial in trials(study_id, deepcopy, states)]

    def get_all_studies() -> list[Any]:
        return [_plain(study) for study in studies()]

    storage.get_all_trials = get_all_trials  # type: ignore[method-assign]
    storage.get_all_studies = get_all_studies  # type: ignore[method-assign]
    return storage


def _plain(one: Any) -> Any:
    """Return a copy of a trial or a study with its plain attributes, those of FIRST in front."""
    shortened = copy.copy(one)
    shortened.user_attrs = _shown(one.user_attrs)
    return shortened


def _shown(attributes: Mapping[str, Any]) -> dict[str, Any]:
    first = {key: attributes[key] for key in FIRST if key in attributes}
    plain = {k: v for k, v in attributes.items() if not isinstance(v, dict | list) and k != OWNER}
    return first | plain
