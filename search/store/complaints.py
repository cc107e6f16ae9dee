"""What a database complains of, put into one line with the remedy, and never with a password."""

import re
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import optuna
from optuna.exceptions import ExperimentalWarning, StorageInternalError
from sqlalchemy import make_url
from sqlalchemy.engine import URL
from sqlalchemy.exc import ArgumentError, SQLAlchemyError

from trainer.errors import ConfigError
from trainer.visible import visible

HIDDEN = "***"
SECRETS = re.compile("pass|pwd|secret|token", re.IGNORECASE)  # in the name of an option of a URL
FILES = ("sqlite", "journal")  # what begins a URL that names a file
RECOVER = "put a backup in its place, or save what can be read with: sqlite3 FILE .recover"
REMEDIES = {  # what a database's complaint matches -> what helps
    "(database|schema) .*does not exist|unknown database": "make the database first",
    "password|access denied|authentication": "check user and password in --storage",
    "refused|could not|can't connect|timed? ?out|timeout|resolve|no such file": "check that the "
    "server runs and that --storage names its host and port",
    "permission denied for": "grant the user all rights in the database",
    "malformed|not a database|is damaged": RECOVER,
    "no such table|relation .* does not exist|table .* doesn't exist": "there are no studies in "
    "it; name another --storage or --workspace",
    "readonly|read-only|unable to open|permission": "make the file and its folder writable",
    "full": "free disk space",
    "upgrade|updating": "or name another --storage",
}


class StudyFullError(Exception):
    """A study has as many trials as its search wants, those that run among them."""


def without_password(url: str) -> str:
    """Return a storage URL without its passwords, fit for output and files, whatever its shape.

    Of a URL that can't be read, all between its first colon and its last @ is hidden, and all after
    the colon if it has no @, for nobody knows where the password begins.
    """
    parsed = _read(url)
    if parsed is not None and not _is_torn(url, parsed):
        secret = {key: HIDDEN for key in parsed.query if SECRETS.search(key)}
        if parsed.password is None and not secret:
            return url
        return parsed.update_query_dict(secret).render_as_string(hide_password=True)
    scheme, colon, rest = url.partition(":")
    marks = list(re.finditer("@|%40", rest))
    if not colon or (scheme in FILES and not marks):
        return url
    return f"{scheme}:{HIDDEN}{rest[marks[-1].start() :] if marks else ''}"


def _read(url: str) -> URL | None:
    try:
        return make_url(url)
    except (ArgumentError, ValueError):
        return None


def _is_torn(url: str, parsed: URL) -> bool:
    """Whether an @ stands where none belongs, so that part of a password was read as the host."""
    if parsed.drivername.split("+")[0] in FILES and parsed.host is None:
        return False
    return url.count("@") != (parsed.username is not None)


@contextmanager
def quiet() -> Iterator[None]:
    """Keep Optuna from telling what it does, and that what we use of it is experimental."""
    verbosity = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(max(verbosity, optuna.logging.WARNING))
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", category=ExperimentalWarning)
            warnings.filterwarnings("ignore", "Heartbeat of storage")  # raretune records it
            yield
    finally:
        optuna.logging.set_verbosity(verbosity)


@contextmanager
def explained(url: str, *others: type[Exception]) -> Iterator[None]:
    """Turn what a database complains of, and `others`, into a ConfigError of one line.

    The line holds no password, though a driver may have put it into its own words.
    """
    expected: tuple[type[Exception], ...] = (SQLAlchemyError, StorageInternalError, *others)
    try:
        yield
    except expected as error:
        reason = _reason(error, url)
        raise ConfigError(
            f"can't use storage {without_password(url)}: {reason}; {_remedy(error, reason, url)}"
        ) from error


def _reason(error: Exception, url: str) -> str:
    """Return the driver's own words on one line; SQLAlchemy and Optuna wrap them."""
    if isinstance(error, StorageInternalError) and error.__cause__ is not None:
        error = error.__cause__  # type: ignore[assignment]
    reason = " ".join(str(getattr(error, "orig", None) or error).split())[:300]
    parsed = _read(url)
    if parsed is None:
        return reason
    secrets = [parsed.password, *(v for k, v in parsed.query.items() if SECRETS.search(k))]
    for secret in filter(None, secrets):
        reason = reason.replace(str(secret), HIDDEN)
    return reason


def _remedy(error: Exception, reason: str, url: str) -> str:
    if isinstance(error, ImportError):
        driver = "raretune[postgres]" if url.startswith("postgres") else "pymysql"
        return f'install its driver with pip install "{driver}"'
    for pattern, remedy in REMEDIES.items():
        if re.search(pattern, reason, re.IGNORECASE):
            return remedy
    return "check --storage, for SQLite sqlite:///FILE"


def tell(sentence: str) -> None:
    """Tell on stderr, in one line, what is not as expected but ends nothing."""
    print(f"raretune: {visible(sentence)}", file=sys.stderr)
