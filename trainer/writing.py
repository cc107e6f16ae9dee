"""Files and folders that appear whole or not at all, and keep what is not theirs.

What is being written lies beside its place, under a hidden name and locked; what a process that was
killed left of that is removed by the next one that writes into the same folder.
"""

import ctypes
import fcntl
import os
import shutil
import stat
import sys
import tempfile
from collections.abc import Collection, Iterator
from contextlib import (
    AbstractContextManager,
    contextmanager,
    nullcontext,
    redirect_stdout,
    suppress,
)
from pathlib import Path
from typing import BinaryIO

from trainer.errors import RaretuneError

PART = ".raretune-part"  # ends the hidden names
STDOUT = ("-", "/dev/stdout", "/dev/fd/1", "/proc/self/fd/1")


@contextmanager
def written_whole(path: Path, flag: str = "--output") -> Iterator[BinaryIO]:
    """Hand out a file to write, which takes the place of `path` if the block ends well.

    A link is followed, and a file there before hands on its mode. `-` is stdout; it, a pipe and a
    device are written to directly. Raises RaretuneError, naming `flag` as the remedy, for an
    OSError within the block too, but for a closed pipe.
    """
    try:
        if path.is_dir():
            raise IsADirectoryError(None, "it is a folder")
        if _is_stream(path):
            with _stream(path) as file:
                yield file
            return
        place = Path(os.path.realpath(path))
        place.parent.mkdir(parents=True, exist_ok=True)
        remove_leftovers(place.parent)
        with _part_of(place) as (scratch, file):
            yield file
            file.flush()
            scratch.replace(place)
    except BrokenPipeError:
        raise
    except OSError as error:
        reason = error.strerror or str(error)
        raise RaretuneError(f"can't write {path}: {reason}; name another {flag}") from error


def write_whole(path: Path, text: str, flag: str = "--output") -> None:
    """Write `text` to `path`, its folder made if need be, as `written_whole` does."""
    with written_whole(path, flag) as file:
        file.write(text.encode())


def beside(output: Path) -> AbstractContextManager[object]:
    """Return what sends prints to stderr where the output itself goes to stdout."""
    return redirect_stdout(sys.stderr) if str(output) in STDOUT else nullcontext()


@contextmanager
def replaced_folder(folder: Path, own: Collection[str]) -> Iterator[Path]:
    """Hand out an empty folder to fill, which takes the place of `folder` if the block ends well.

    What lies there and has none of the names in `own` is kept; the change is one step where the
    system can exchange folders. A link is followed. Raises OSError.
    """
    place = Path(os.path.realpath(folder))
    place.parent.mkdir(parents=True, exist_ok=True)
    remove_leftovers(place.parent)
    with _part_folder(place) as scratch:
        fresh = scratch / "new"
        fresh.mkdir()
        yield fresh
        if place.exists():
            _keep_others(place, fresh, own)
            if not _exchange(fresh, place):
                place.rename(scratch / "old")
                fresh.rename(place)
        else:
            fresh.rename(place)


def remove_leftovers(folder: Path) -> None:
    """Remove what processes that were killed left half written in a folder.

    A folder set aside between two renames stays, since it may be the only copy.
    """
    for left in folder.glob(f".*{PART}"):
        with suppress(OSError), _locked(left):
            if not left.is_dir():
                left.unlink()
            elif not (left / "old").exists():
                shutil.rmtree(left)


def _is_stream(path: Path) -> bool:
    """Whether a path is no file to replace: stdout, a pipe, a device, what a shell has opened."""
    where = path.absolute().parts[1:]
    opened = where[:1] == ("proc",) or where[:2] == ("dev", "fd") or where[:-1] == ("dev",)
    return str(path) in STDOUT or (path.exists() and (opened or not path.is_file()))


@contextmanager
def _stream(path: Path) -> Iterator[BinaryIO]:
    if str(path) == "-":
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
    else:
        with path.open("wb") as file:
            yield file


@contextmanager
def _part_of(place: Path) -> Iterator[tuple[Path, BinaryIO]]:
    """Hand out a hidden file beside a place, with the mode and owner of the file there, if any."""
    if place.exists() and not os.access(place, os.W_OK):
        raise PermissionError(None, "Permission denied")
    while True:
        name = f"{_hidden(place)}{os.getpid()}.{os.urandom(4).hex()}{PART}"
        scratch = place.with_name(name)
        with scratch.open("xb") as file:
            _lock(file.fileno())
            if not os.fstat(file.fileno()).st_nlink:  # removed as a leftover before it was locked
                continue
            try:
                if place.exists():
                    before = place.stat()
                    with suppress(OSError):
                        os.fchown(file.fileno(), before.st_uid, before.st_gid)
                    os.fchmod(file.fileno(), stat.S_IMODE(before.st_mode))
                yield scratch, file
            finally:
                scratch.unlink(missing_ok=True)
            return


@contextmanager
def _part_folder(place: Path) -> Iterator[Path]:
    """Hand out a hidden folder beside a place."""
    while True:
        scratch = Path(tempfile.mkdtemp(PART, _hidden(place), place.parent))
        number = os.open(scratch, os.O_RDONLY)
        try:
            _lock(number)
            if not scratch.exists():  # removed as a leftover before it was locked
                continue
            yield scratch
            return
        finally:
            os.close(number)
            shutil.rmtree(scratch, ignore_errors=True)


def _lock(number: int) -> None:
    """Wait for the lock of an open file or folder; where there are none, nothing is removed."""
    with suppress(OSError):
        fcntl.flock(number, fcntl.LOCK_EX)


def _hidden(place: Path) -> str:
    return f".{place.name[:40]}."  # so that no file system finds the whole too long


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Hold the lock of a file or folder; raises OSError at once where another process does."""
    number = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    try:
        fcntl.flock(number, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    finally:
        os.close(number)


def _keep_others(place: Path, fresh: Path, own: Collection[str]) -> None:
    """Put into `fresh` all of `place` that is not `own`, as further names of the same files."""
    for entry in place.iterdir():
        if entry.name in own or entry.name.endswith(PART) or (fresh / entry.name).exists():
            continue
        if entry.is_dir() and not entry.is_symlink():
            shutil.copytree(entry, fresh / entry.name, symlinks=True, copy_function=_link)
        else:
            _link(entry, fresh / entry.name)
    with suppress(OSError):
        os.chown(fresh, place.stat().st_uid, place.stat().st_gid)
    shutil.copystat(place, fresh)


def _link(source: str | Path, target: str | Path) -> None:
    try:
        os.link(source, target, follow_symlinks=False)
    except OSError:  # the file system has no further names, or the file is another user's
        shutil.copy2(source, target, follow_symlinks=False)


def _exchange(one: Path, other: Path) -> bool:
    """Exchange two folders in one step; False where the system can't."""
    exchange = getattr(ctypes.CDLL(None), "renameat2", None)  # of Linux
    if exchange is None:
        return False
    here, both = -100, 2  # AT_FDCWD, RENAME_EXCHANGE
    return bool(exchange(here, os.fsencode(one), here, os.fsencode(other), both) == 0)
