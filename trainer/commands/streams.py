"""stdout and stderr that take any text, and that end quietly when nobody reads them any more."""

import codecs
import os
import select
import sys
from pathlib import Path
from typing import TextIO

ESCAPE = "raretune-escape"


def take_any_text() -> None:
    """Let stdout and stderr write what their encoding lacks as JSON escapes it: \\u00e9.

    So a terminal in ASCII or Latin-1 shows less, and JSON stays JSON. A stream that was closed
    before the program began takes all and keeps nothing.
    """
    codecs.register_error(ESCAPE, _escaped)
    if sys.stdout is None:
        sys.stdout = _nowhere()
    if sys.stderr is None:
        sys.stderr = _nowhere()
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors=ESCAPE)


def flush() -> None:
    """Write what is still held back; raises OSError if nobody can take it."""
    for stream in (sys.stdout, sys.stderr):
        stream.flush()


def leave(stream: TextIO | None) -> None:
    """Let what a stream still holds, and what comes, go nowhere: also as the program ends."""
    try:
        descriptor = stream.fileno() if stream is not None else None
    except (OSError, ValueError):  # a stream that is no file
        return
    if descriptor is not None:
        with Path(os.devnull).open("wb") as nowhere:
            os.dup2(nowhere.fileno(), descriptor)


def leave_dead_terminal() -> None:
    """After a hang-up: leave those of stdout and stderr whose terminal is gone."""
    for stream in (sys.__stdout__, sys.__stderr__):
        try:
            os.write(stream.fileno() if stream is not None else -1, b"")
        except (OSError, ValueError):
            leave(stream)


def has_no_reader(stream: TextIO | None) -> bool:
    """Return whether a stream is a pipe or a socket that nobody reads any more."""
    try:
        descriptor = stream.fileno() if stream is not None else None
    except (OSError, ValueError):  # a stream that is no file
        descriptor = None
    if descriptor is None:
        return False
    poll = select.poll()
    poll.register(descriptor, 0)
    return any(events & (select.POLLERR | select.POLLHUP) for _, events in poll.poll(0))


def _escaped(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    units = error.object[error.start : error.end].encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{units[i : i + 2].hex()}" for i in range(0, len(units), 2)), error.end


def _nowhere() -> TextIO:
    return Path(os.devnull).open("w", encoding="utf-8")
