"""A storage URL -> Optuna storage tuned for its backend; a study opened, continued or refused."""

import json
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import optuna
from optuna.exceptions import ExperimentalWarning
from optuna.storages import BaseStorage, RDBStorage
from sqlalchemy import event, make_url
from sqlalchemy.engine import URL
from sqlalchemy.exc import ArgumentError, SQLAlchemyError

from trainer.errors import ConfigError, RaretuneError

BUSY_SECONDS = 60
HEARTBEAT_SECONDS, GRACE_SECONDS = 10, 60
FINGERPRINT = "raretune_fingerprint"

optuna.logging.set_verbosity(optuna.logging.WARNING)
warnings.filterwarnings("ignore", category=ExperimentalWarning)
warnings.filterwarnings("ignore", message="Heartbeat of storage")  # search.optimize records it


MEMORY = "memory"


def default_url(workspace: Path) -> str:
    """Return the URL of a workspace's own SQLite database."""
    return f"sqlite:///{(workspace / 'studies.db').resolve()}"


def shown(url: str) -> str:
    """Return a storage URL without its password, fit for output and files."""
    return url if url == MEMORY else make_url(url).render_as_string(hide_password=True)


def open_storage(url: str) -> BaseStorage:
    """Open the database behind a URL, or MEMORY; raises ConfigError."""
    if url == MEMORY:
        return optuna.storages.InMemoryStorage()
    parsed = _parse(url)
    is_sqlite = parsed.get_backend_name() == "sqlite"
    if is_sqlite and parsed.database:
        folder = Path(parsed.database).parent
        if not folder.is_dir():
            raise ConfigError(f"can't open storage {shown(url)}: no folder {folder}; make it first")
    try:
        arguments = {"connect_args": {"timeout": BUSY_SECONDS}} if is_sqlite else {}
        storage = RDBStorage(
            url,
            engine_kwargs=arguments,
            heartbeat_interval=HEARTBEAT_SECONDS,
            grace_period=GRACE_SECONDS,
        )
    except (SQLAlchemyError, ImportError, RuntimeError) as error:
        reason = " ".join(str(getattr(error, "orig", None) or error).split())[:200]
        raise ConfigError(
            f"can't open storage {shown(url)}: {reason}; check --storage, for SQLite sqlite:///FILE"
        ) from error
    if is_sqlite:
        _tune_sqlite(storage)
    return storage


def _parse(url: str) -> URL:
    try:
        return make_url(url)
    except ArgumentError:
        raise ConfigError(
            f"--storage {url!r} is not a database URL; for SQLite write sqlite:///FILE"
        ) from None


def _tune_sqlite(storage: RDBStorage) -> None:
    """Let readers and a writer work at once, and sync at checkpoints, not at each commit."""

    def set_pragmas(connection: Any, _: object) -> None:
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=NORMAL")

    event.listen(storage.engine, "connect", set_pragmas)
    storage.engine.dispose()


def open_study(
    storage: BaseStorage, name: str, fingerprint: Mapping[str, Any], **settings: Any
) -> optuna.Study:
    """Create a study, or continue the one of that name if its fingerprint is the same.

    `settings` go to optuna.create_study. Raises ConfigError with the difference and the way out.
    """
    study = optuna.create_study(
        storage=storage, study_name=name, direction="maximize", load_if_exists=True, **settings
    )
    stored = study.user_attrs.get(FINGERPRINT)
    if stored is None:
        if study.trials:
            raise ConfigError(
                f"study {name!r} was not made by raretune; give the new one another --name"
            )
        study.set_user_attr(FINGERPRINT, json.loads(json.dumps(fingerprint)))
    elif stored != json.loads(json.dumps(fingerprint)):
        changes = "; ".join(differences(stored, fingerprint))
        raise ConfigError(
            f"study {name!r} exists with another definition ({changes}); "
            f"give the new one another --name"
        )
    return study


def load_study(storage: BaseStorage, name: str) -> optuna.Study:
    """Return a study that exists; raises ConfigError with the names there are."""
    try:
        return optuna.load_study(study_name=name, storage=storage)
    except KeyError:
        names = ", ".join(optuna.get_all_study_names(storage)) or "none"
        raise RaretuneError(f"no study {name!r} in this storage; there are: {names}") from None


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
