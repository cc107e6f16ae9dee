"""Where a command line is entered and left: its errors, signals and exit status.

0    done
1    a fault of raretune; the traceback is in a file that the line on stderr names
2    an error that a user can mend, in one line
130  stopped at once by a second Ctrl-C; 128 + N by signal N
141  nobody reads the output any more
"""

import errno
import os
import re
import signal
import sys
import tempfile
import traceback
from contextlib import suppress
from typing import NoReturn

import typer

from trainer.commands.interrupt import Stopped, ends_in_order
from trainer.commands.streams import (
    flush,
    has_no_reader,
    leave,
    take_any_text,
)
from trainer.errors import RaretuneError
from trainer.visible import visible

BROKEN_PIPE = 141
NO_MEMORY = re.compile(
    "can't allocate memory|cannot allocate memory|unable to allocate|out of memory|"
    "not enough memory|bad_alloc|malloc of size",
    re.IGNORECASE,
)
REFUSED = {  # what the system says of a file -> what helps
    errno.ENOSPC: "free disk space, and run the same command again",
    errno.EDQUOT: "free disk space, and run the same command again",
    errno.EROFS: "name a place that can be written to",
    errno.EACCES: "name a place that you may use",
    errno.EPERM: "name a place that you may use",
    errno.EMFILE: "raise the limit on open files (ulimit -n)",
}


def make_app(name: str, help_text: str) -> typer.Typer:
    """Return an app whose errors `run_app` shows."""
    return typer.Typer(
        name=name,
        help=help_text,
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
        rich_markup_mode=None,
    )


def run_app(app: typer.Typer) -> NoReturn:
    """Run a command line and exit; whatever happens is one line at most, and never a traceback."""
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    take_any_text()
    try:
        with ends_in_order():
            status = _run(app)
    except Stopped as stopped:
        _fail(f"stopped by {signal.Signals(stopped.number).name}", 128 + stopped.number)
    except KeyboardInterrupt:
        status = 130
    if status == 130:
        _fail("stopped at once", 130)
    sys.exit(status)


def _run(app: typer.Typer) -> int:
    try:
        status = app(standalone_mode=False)
        flush()
    except RaretuneError as error:
        _fail(str(error), 2)
    except typer.TyperException as error:
        if len(sys.argv) == 1:  # no command: its words are the help
            print(error.format_message(), file=sys.stderr)
            sys.exit(2)
        _fail(f"{_plain(error.format_message())} (see --help)", 2)
    except SystemExit as ended:  # as typer ends a command whose output nobody reads
        if isinstance(ended.__context__, BrokenPipeError):
            _end_unread(ended.__context__)
        raise
    except BrokenPipeError as error:
        _end_unread(error)
    except Exception as error:
        _fail_unexpectedly(error)
    return status if isinstance(status, int) else 0


def _end_unread(error: BrokenPipeError) -> NoReturn:
    """End quietly if it is the output that nobody reads; another broken pipe is a fault."""
    streams = (sys.__stdout__, sys.__stderr__)
    broken = [stream for stream in streams if has_no_reader(stream)]
    if not broken:
        _fail_unexpectedly(error)
    for stream in broken:
        leave(stream)
    sys.exit(BROKEN_PIPE)


def _fail_unexpectedly(error: Exception) -> NoReturn:
    """Tell of an exception that nobody expected: a machine short of something, or a fault."""
    if isinstance(error, MemoryError) or NO_MEMORY.search(str(error)):
        _fail(
            f"there is not enough memory ({_one_line(error)}); train on fewer rows, with smaller "
            "networks, a smaller --stack or fewer --workers, or on a machine with more memory",
            2,
        )
    if isinstance(error, OSError) and error.errno in REFUSED:
        what = f"use {error.filename}" if error.filename else "write the results"
        _fail(f"can't {what}: {error.strerror}; {REFUSED[error.errno]}", 2)
    what = f"{type(error).__name__}: {_one_line(error)}"
    _fail(f"this is a fault of raretune ({what}); {_reported(error)}", 1)


def _reported(error: Exception) -> str:
    """Write the traceback to a file of this user alone; return where it is and what to do."""
    try:
        descriptor, path = tempfile.mkstemp(prefix="raretune-", suffix=".txt")
        with os.fdopen(descriptor, "w", encoding="utf-8", errors="backslashreplace") as file:
            file.writelines(map(_without_passwords, traceback.format_exception(error)))
    except OSError as problem:
        return f"its traceback can't be written: {problem.strerror}"
    return f"please report it with its traceback, which is in {path}"


def _one_line(error: Exception) -> str:
    text = "".join(c if c.isprintable() else " " for c in _without_passwords(str(error)))
    return text[:200].strip() or "no words"


def _without_passwords(text: str) -> str:
    return re.sub(r"(:/+)[^/\s@]*@", r"\1***@", text)


def _plain(message: str) -> str:
    """Return a message of typer as ours are: it begins small and has no full stop."""
    return f"{message[:1].lower()}{message[1:]}".rstrip(".")


def _fail(message: str, status: int) -> NoReturn:
    with suppress(OSError):  # where stderr is gone there is nobody to tell
        print(f"raretune: {visible(str(message))}", file=sys.stderr)
    sys.exit(status)
