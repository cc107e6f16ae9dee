"""A file that appears whole or not at all."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from trainer.errors import RaretuneError


@contextmanager
def written_whole(path: Path, flag: str = "--output") -> Iterator[Path]:
    """Hand out a scratch file to write, which takes the place of `path` if the block ends well.

    Raises RaretuneError, naming `flag` as the remedy, for an OSError within the block too.
    """
    scratch = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        yield scratch
        scratch.replace(path)
    except OSError as error:
        reason = error.strerror or str(error)
        raise RaretuneError(f"can't write {path}: {reason}; name another {flag}") from error
    finally:
        scratch.unlink(missing_ok=True)


def write_whole(path: Path, text: str, flag: str = "--output") -> None:
    """Write `text` to `path`, its folder made if need be, as `written_whole` does."""
    with written_whole(path, flag) as scratch:
        path.parent.mkdir(parents=True, exist_ok=True)
        scratch.write_text(text, encoding="utf-8")
