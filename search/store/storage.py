"""A storage URL -> Optuna storage tuned for its backend; a study opened, continued or refused.

sqlite:///FILE                         one machine, any number of processes
postgresql://USER:PASSWORD@HOST/NAME   several machines (mysql:// likewise)
journal:///FILE                        several machines that share only a folder
memory                                 this process
"""

import json
import os
import re
import sqlite3
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import optuna
from optuna.exceptions import StorageInternalError
from optuna.storages import BaseStorage, JournalStorage, RDBStorage
from sqlalchemy import event, make_url
from sqlalchemy.engine import URL, Connection
from sqlalchemy.exc import ArgumentError, SQLAlchemyError

from search.store import tables
from search.store.attributes import FINGERPRINT
from search.store.complaints import explained, quiet, without_password
from search.store.filesystem import network_file_system, read_only
from search.store.identity import identify
from search.store.journal import Journal
from search.store.records import read_fingerprint
from search.store.watch import watch
from search.workspace import Workspace, file_url
from trainer.errors import ConfigError, RaretuneError

T = TypeVar("T")

BUSY_SECONDS = 60  # how long a process waits for its turn to write to SQLite
CONNECT_SECONDS = 10
HEARTBEAT_SECONDS, GRACE_SECONDS = 10, 60
MEMORY = "memory"
DRIVERS = {"postgres": "postgresql+psycopg", "postgresql": "postgresql+psycopg"} | {
    name: f"{name}+pymysql" for name in ("mysql", "mariadb")
}


def default_url(workspace: Path) -> str:
    """Return the URL of a workspace's own SQLite database."""
    return Workspace(workspace).url


@quiet()
def open_storage(url: str, *, writable: bool = True, patience: float = 0.0) -> BaseStorage:
    """Open the storage behind a URL; raises ConfigError, as every call of what is opened does.

    A `writable` one is made if it is new; any other must be there, is read only, and needs no right
    to write. A call that finds no server is repeated for `patience` seconds.
    """
    if url == MEMORY:
        return optuna.storages.InMemoryStorage()
    parsed, file = _parse(url), storage_file(url)
    if file is not None and not writable and not file.is_file():
        raise ConfigError(
            f"no studies in {without_password(url)}: there is no file {file}; name another "
            "--storage or --workspace"
        )
    if file is not None and writable:
        _check_file(file, url)
    with explained(url, RuntimeError, ImportError, OSError, sqlite3.Error):
        storage = _opened(parsed, file, writable=writable)
    watch(storage, url, file, patience=patience)
    storage.writable = writable  # type: ignore[attr-defined]
    return storage


def _opened(parsed: URL, file: Path | None, *, writable: bool) -> BaseStorage:
    if parsed.drivername == "journal":
        return JournalStorage(Journal(str(file)))
    if parsed.get_backend_name() != "sqlite":
        waiting = {} if "connect_timeout" in parsed.query else _connect_timeout(parsed)
        return _connect(parsed, waiting, make=writable, pool_pre_ping=True)
    if file is not None and not writable:
        parsed = parsed.set(database=read_only(file), query={"uri": "true"})
    elif file is not None:
        _patiently(partial(_set_wal, file))
    storage = _connect(parsed, {"timeout": BUSY_SECONDS}, make=writable)
    if writable:
        _tune_sqlite(storage)
    return storage


def storage_file(url: str) -> Path | None:
    """Return the file of a SQLite or journal URL; None for servers and memory."""
    if url == MEMORY:
        return None
    parsed = _parse(url)
    is_file = parsed.drivername == "journal" or parsed.get_backend_name() == "sqlite"
    name = parsed.database or ""
    in_memory = name in ("", ":memory:") or name.startswith("file:")
    return Path(name) if is_file and not in_memory else None


def _parse(url: str) -> URL:
    """Return the URL with the driver that raretune installs, where it names none."""
    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError):
        raise ConfigError(
            f"--storage {without_password(url)!r} is not a database URL; write sqlite:///FILE, "
            "postgresql://USER:PASSWORD@HOST/NAME or journal:///FILE"
        ) from None
    known = ("sqlite", "journal", "postgres", "postgresql", "mysql", "mariadb")
    if parsed.drivername.split("+")[0] not in known:
        raise ConfigError(
            f"can't open storage {without_password(url)}: no database {parsed.drivername!r} is "
            "known; use sqlite, postgresql, mysql or journal"
        )
    return parsed.set(drivername=DRIVERS.get(parsed.drivername, parsed.drivername))


def _connect(parsed: URL, arguments: Mapping[str, Any], *, make: bool, **engine: Any) -> RDBStorage:
    """Open a database; of several processes that find it new, one makes its tables."""
    kind = RDBStorage
    if tables.are_known():
        from search.store.database import Database  # its tables may not be there

        kind = Database
    template = parsed.render_as_string(hide_password=False)
    return _patiently(
        lambda: kind(
            template.replace("{", "{{").replace("}", "}}"),
            engine_kwargs={"connect_args": dict(arguments), **engine},
            heartbeat_interval=HEARTBEAT_SECONDS,
            grace_period=GRACE_SECONDS,
            skip_table_creation=not make,
        )
    )


def _patiently(make: Callable[[], T]) -> T:
    """Make something that another process may be making; SQLite's own patience has gaps there."""
    for delay in (0.1, 0.2, 0.4, 0.8, 1.6, 3.2, None):
        try:
            return make()
        except (SQLAlchemyError, StorageInternalError, sqlite3.Error, ConfigError) as error:
            made_by_another = re.search(
                "already exists|unique|duplicate|database is locked",
                f"{error} {error.__cause__}",
                re.IGNORECASE,
            )
            if not made_by_another or delay is None:
                raise
            time.sleep(delay)
    raise AssertionError("unreachable")


def _connect_timeout(parsed: URL) -> dict[str, int]:
    known = ("psycopg", "psycopg2", "pymysql", "mysqldb")
    return {"connect_timeout": CONNECT_SECONDS} if parsed.get_driver_name() in known else {}


def _check_file(file: Path, url: str) -> None:
    """Refuse a place where the database can't work, before anything is written there."""
    folder, refused = file.parent, f"can't open storage {without_password(url)}"
    if not folder.is_dir():
        raise ConfigError(f"{refused}: no folder {folder}; make it first")
    for path in (folder, file):
        if path.exists() and not os.access(path, os.W_OK):
            raise ConfigError(
                f"{refused}: {path} is not writable; make it so, or name another --storage"
            )
    kind = network_file_system(folder)
    if kind is not None and not url.startswith("journal"):
        journal = file_url("journal", file.with_suffix(".log"))
        raise ConfigError(
            f"{refused}: {folder} is on a network file system ({kind}), where SQLite loses data; "
            f"use --storage {journal} or postgresql://..., or a local folder"
        )


def _set_wal(file: Path) -> None:
    """Let readers and a writer work at once; the file keeps it."""
    with closing(sqlite3.connect(file, timeout=BUSY_SECONDS)) as connection:
        connection.execute("PRAGMA journal_mode=WAL")


def _tune_sqlite(storage: RDBStorage) -> None:
    """Sync at checkpoints, not at each commit; and lock where Optuna asks for it.

    SQLite knows no SELECT ... FOR UPDATE and ignores it, so that two processes could take the same
    waiting trial. The lock on writing does instead.
    """

    def set_pragmas(connection: Any, _: object) -> None:
        connection.execute("PRAGMA synchronous=NORMAL")

    def lock(connection: Connection, clause: Any, *_: object) -> None:
        driver: Any = connection.connection.driver_connection
        if getattr(clause, "_for_update_arg", None) is not None and not driver.in_transaction:
            driver.execute("BEGIN IMMEDIATE")

    event.listen(storage.engine, "connect", set_pragmas)
    event.listen(storage.engine, "before_execute", lock)
    storage.engine.dispose()


@quiet()
def open_study(
    storage: BaseStorage, name: str, fingerprint: Mapping[str, Any], **options: Any
) -> optuna.Study:
    """Create a study, or continue the one of that name if its fingerprint is the same.

    `options` go to optuna.create_study. Raises ConfigError with the difference and the way out.
    """
    study = _patiently(
        lambda: optuna.create_study(
            storage=storage,
            study_name=name,
            direction="maximize",
            load_if_exists=True,
            **options,
        )
    )
    stored = read_fingerprint(study)
    if stored is None and study.trials:
        raise ConfigError(
            f"study {name!r} was not made by raretune; give the new one another --name"
        )
    _check_trials(study)
    if stored is None:
        identify(study)
        study.set_user_attr(FINGERPRINT, json.loads(json.dumps(fingerprint)))
    elif stored != json.loads(json.dumps(fingerprint)):
        changes = "; ".join(differences(stored, fingerprint))
        raise ConfigError(
            f"study {name!r} exists with another definition ({changes}); "
            f"give the new one another --name, and --fork {name} to begin with the trials that fit"
        )
    else:
        identify(study)  # one of an earlier version has no identity
    return study


def _check_trials(study: optuna.Study) -> None:
    """Refuse a study whose trials can't be searched on: Optuna counts them for the next number."""
    name = study.study_name
    if [direction.name for direction in study.directions] != ["MAXIMIZE"]:
        raise ConfigError(
            f"study {name!r} does not maximise one value, as those of raretune do; give the new "
            "one another --name"
        )
    numbers = sorted(trial.number for trial in study.get_trials(deepcopy=False))
    if numbers != list(range(len(numbers))):
        raise ConfigError(
            f"study {name!r} is damaged: trials are missing from it, or have a number twice; put "
            "a backup of the database in its place, or search again under another --name"
        )


def stored_folds(url: str, name: str) -> int | None:
    """Return how many folds a stored study holds rows out in; None if there is no such study."""
    file = storage_file(url)
    if url == MEMORY or (file is not None and not file.exists()):
        return None
    try:
        study = optuna.load_study(study_name=name, storage=open_storage(url))
    except KeyError:
        return None
    fingerprint = read_fingerprint(study)
    folds = None if fingerprint is None else fingerprint.get("split", {}).get("folds", 1)
    return folds if isinstance(folds, int) else None


def load_study(storage: BaseStorage, name: str) -> optuna.Study:
    """Return a study that exists; raises ConfigError with the names there are."""
    try:
        return optuna.load_study(study_name=name, storage=storage)
    except KeyError:
        names = ", ".join(map(str, optuna.get_all_study_names(storage))) or "none"
        raise RaretuneError(f"no study {name!r} in this storage; there are: {names}") from None


class StudyGoneError(ConfigError):
    """A study was deleted or renamed while it was in use."""


@contextmanager
def while_it_exists(study: optuna.Study) -> Iterator[None]:
    """Raise StudyGoneError where the study is gone from its storage within the block."""
    try:
        yield
    except KeyError:  # what Optuna raises for a study that is gone, and for much else
        try:
            study.user_attrs  # noqa: B018  asks the storage
        except KeyError:
            raise StudyGoneError(
                f"study {study.study_name!r} was deleted or renamed while it was searched, by "
                "another process or in the dashboard; search again, under --name if it has "
                "another one now"
            ) from None
        raise


def differences(old: Mapping[str, Any], new: Mapping[str, Any], at: str = "") -> Iterator[str]:
    """Yield "key: old -> new" for each leaf in which two nested mappings differ."""
    for key in sorted({*old, *new}):
        before, after = old.get(key), new.get(key)
        if isinstance(before, Mapping) and isinstance(after, Mapping):
            yield from differences(before, after, f"{at}{key}.")
        elif json.dumps(before) != json.dumps(after):
            yield f"{at}{key}: {_short(before)} -> {_short(after)}"


def _short(value: object) -> str:
    text = json.dumps(value)
    return text if len(text) <= 60 else text[:57] + "..."
