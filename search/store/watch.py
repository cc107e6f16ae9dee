"""Every call of a storage, watched: its server may be away for a while, its file may be taken away.

Optuna's own calls and ours go through here, so that a search outlives a restart of its server and
whoever uses a storage gets one line with the remedy, a RaretuneError, instead of a traceback.
"""

import functools
import inspect
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from json import JSONDecodeError
from pathlib import Path
from typing import Any

from optuna.exceptions import StorageInternalError, UpdateFinishedTrialError
from optuna.storages import BaseStorage, RDBStorage
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError, SQLAlchemyError

from search.store.complaints import explained
from search.store.journal import Journal
from trainer.errors import ConfigError

LONGEST_PAUSE = 5.0  # seconds between two tries
PRIVATE = ("_get_trials", "_create_new_trial", "_set_trial_param", "_get_stale_trial_ids")
OUTSIDE = ("one_ask", "remove_session")  # no transaction by themselves


class DatabaseGoneError(ConfigError):
    """The file of a database is no longer the one that was opened."""


def watch(storage: BaseStorage, url: str, file: Path | None, *, patience: float = 0.0) -> None:
    """Watch all calls of a storage from now on; raises ConfigError from within them.

    A call that finds no server is repeated for `patience` seconds. `file` is that of a database or
    journal, which must stay the one that it is now.
    """
    watcher = _Watcher(url, file, patience)
    for name in dir(storage):
        method = getattr(storage, name)
        is_call = inspect.ismethod(method) and (name in PRIVATE or not name.startswith("_"))
        if is_call and name not in OUTSIDE:
            setattr(storage, name, functools.partial(watcher.call, method))


class _Watcher:
    def __init__(self, url: str, file: Path | None, patience: float) -> None:
        self.url, self.file, self.patience = url, file, patience
        self.identity = _identity(file)
        self.here = threading.local()  # a call may make others, which are not watched themselves

    def call(self, method: Callable[..., Any], *arguments: Any, **named: Any) -> Any:
        if getattr(self.here, "inside", False):
            return method(*arguments, **named)
        self._check_there()
        self.here.inside = True
        reads = method.__name__.lstrip("_").startswith("get_")
        try:
            with explained(self.url, OSError, sqlite3.Error, JSONDecodeError), _typed(reads):
                return self._repeated(method, arguments, named)
        except ConfigError:
            self._check_there()  # it may have been taken away within the call
            raise
        finally:
            self.here.inside = False

    def _check_there(self) -> None:
        if self.identity != _identity(self.file):
            raise DatabaseGoneError(
                f"{self.file} was removed or replaced while it was in use; put it back, or name "
                "another --storage"
            )

    def _repeated(
        self, method: Callable[..., Any], arguments: tuple[Any, ...], named: dict[str, Any]
    ) -> Any:
        deadline, pause, repeats = time.monotonic() + self.patience, 0.1, False
        while True:
            try:
                return method(*arguments, **named)
            except UpdateFinishedTrialError:
                if repeats and method.__name__ == "set_trial_state_values":
                    return True  # the try before came through, only its answer did not
                raise
            except (SQLAlchemyError, StorageInternalError) as error:
                if not _is_away(error) or time.monotonic() + pause > deadline:
                    raise
            repeats = True
            time.sleep(pause)
            pause = min(2 * pause, LONGEST_PAUSE)


@contextmanager
def _typed(reads: bool) -> Iterator[None]:
    """Where a call reads, take values of other types than Optuna writes for a damaged database."""
    try:
        yield
    except (ValueError, TypeError, LookupError, AttributeError, AssertionError) as error:
        if not reads or isinstance(error, KeyError):  # by which Optuna says that something is gone
            raise
        raise StorageInternalError(f"what it holds is damaged: {error}") from None


def _is_away(error: BaseException) -> bool:
    """Whether an error says that a server can't be reached, or broke off; SQLite has none."""
    cause = error.__cause__ if isinstance(error, StorageInternalError) else error
    if not isinstance(cause, DBAPIError) or isinstance(cause.orig, sqlite3.Error):
        return False
    return cause.connection_invalidated or isinstance(cause, OperationalError | InterfaceError)


def _identity(file: Path | None) -> tuple[int, int] | None:
    try:
        found = None if file is None else file.stat()
    except OSError:
        return None
    return None if found is None else (found.st_dev, found.st_ino)


def rescue(storage: BaseStorage, url: str, file: Path) -> Path | None:
    """Write all that an open storage still sees into a new file of its kind beside the lost one.

    Returns the new file, None if the storage has nothing open to read.
    """
    is_sqlite = isinstance(storage, RDBStorage) and storage.engine.name == "sqlite"
    journal = getattr(storage, "_backend", None)
    if not is_sqlite and not isinstance(journal, Journal):
        return None
    numbers = iter(range(2, 1000))
    saved = file.with_name(f"{file.stem}-rescued{file.suffix}")
    while saved.exists():
        saved = file.with_name(f"{file.stem}-rescued-{next(numbers)}{file.suffix}")
    with explained(url, OSError, sqlite3.Error):
        if isinstance(journal, Journal):
            journal.write_again(saved)
        elif isinstance(storage, RDBStorage):
            with storage.engine.connect() as connection, closing(sqlite3.connect(saved)) as target:
                source: Any = connection.connection.driver_connection
                source.backup(target)
    return saved
