"""Compiled libraries kept between processes, in a folder that only this user can write to.

    $XDG_CACHE_HOME/raretune    or ~/.cache/raretune; mode 0700
        NAME                    the library
        NAME.sha256             digest of its bytes; without it, or with another, NAME is not used

What is loaded runs, so whatever is in doubt counts as not kept.
"""

import hashlib
import os
import stat
import tempfile
from contextlib import suppress
from pathlib import Path

WRITABLE_BY_OTHERS = stat.S_IWGRP | stat.S_IWOTH


def cache_folder() -> Path | None:
    """Return the folder, there or not; None for a user without a home.

    A relative $XDG_CACHE_HOME is ignored, as the XDG Base Directory Specification asks.
    """
    named = Path(os.environ.get("XDG_CACHE_HOME", ""))
    if named.is_absolute():
        return named / "raretune"
    with suppress(RuntimeError):  # as in some containers
        home = Path.home()
        return home / ".cache" / "raretune" if home.is_absolute() else None
    return None


def kept(name: str) -> Path | None:
    """Return the kept library of this name, None if there is none or it is in doubt."""
    folder = cache_folder()
    if folder is None:
        return None
    with suppress(OSError, ValueError):
        if _is_private(folder):
            digest = _own_file(folder / f"{name}.sha256").read_text(encoding="ascii").strip()
            if digest == _digest(_own_file(folder / name).read_bytes()):
                return folder / name
    return None


def keep(name: str, made: Path) -> str:
    """Keep a library for later processes; return why that is not possible, or nothing."""
    folder = cache_folder()
    if folder is None:
        return "this user has no home folder"
    try:
        for missing in reversed([f for f in (folder, *folder.parents) if not f.exists()]):
            missing.mkdir(mode=stat.S_IRWXU, exist_ok=True)
        if not _is_private(folder):
            return f"somebody else may write to {folder}"
        folder.chmod(stat.S_IRWXU)
        content = made.read_bytes()
        _write(folder / name, content)
        _write(folder / f"{name}.sha256", f"{_digest(content)}\n".encode())
        _sync(folder)
    except OSError as error:
        return f"can't write to {folder}: {error.strerror or error}"
    return ""


def _is_private(folder: Path) -> bool:
    """Whether nobody but this user, and root, can change what lies in a folder, or replace it.

    Folders above it may be root's; sticky ones, such as /tmp, may be written to by anybody.
    """
    if _is_open_to_others(folder.stat(), {os.geteuid()}):
        return False
    above = {*folder.parents, *folder.resolve().parents}
    return not any(_is_open_to_others(parent.stat(), {os.geteuid(), 0}) for parent in above)


def _is_open_to_others(found: os.stat_result, owners: set[int]) -> bool:
    sticky = bool(found.st_mode & stat.S_ISVTX) and found.st_uid == 0
    return found.st_uid not in owners or bool(found.st_mode & WRITABLE_BY_OTHERS and not sticky)


def _own_file(path: Path) -> Path:
    """Return a path if it is a regular file that this user alone can write to; raises OSError."""
    found = path.lstat()
    if not stat.S_ISREG(found.st_mode) or _is_open_to_others(found, {os.geteuid()}):
        raise PermissionError(f"{path} is not this user's own file")
    return path


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _write(path: Path, content: bytes) -> None:
    """Write a file whole, to the disk, under its name."""
    number, scratch = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(number, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        Path(scratch).replace(path)
    except OSError:
        Path(scratch).unlink(missing_ok=True)
        raise


def _sync(folder: Path) -> None:
    number = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(number)
    finally:
        os.close(number)
