"""Which file system a folder is on, where SQLite's locks hold, and how to read without a trace."""

import atexit
import os
import shutil
import tempfile
from pathlib import Path
from urllib.parse import quote

import psutil

NETWORK = {
    *("nfs", "nfs4", "cifs", "smbfs", "smb2", "smb3", "ncpfs", "afs", "9p", "davfs", "davfs2"),
    *("ceph", "lustre", "gpfs", "beegfs", "panfs", "wekafs", "orangefs", "glusterfs", "juicefs"),
    *("sshfs", "s3fs", "gcsfuse", "rclone", "grpcfuse"),
}


def network_file_system(folder: Path) -> str | None:
    """Return the type of the network file system a folder is on, or None."""
    kind = file_system(folder.resolve())
    return kind if kind.removeprefix("fuse.") in NETWORK else None


def file_system(folder: Path) -> str:
    """Return the type of the file system that holds an absolute folder, "" if it is not known.

    The deepest mount counts, of equal ones the last, which hides the others.
    """
    kind, depth = "", 0
    for mount in psutil.disk_partitions(all=True):
        place = Path(mount.mountpoint)
        if folder.is_relative_to(place) and len(place.parts) >= depth:
            kind, depth = mount.fstype, len(place.parts)
    return kind


def read_only(database: Path) -> str:
    """Return the name by which SQLite opens a database and writes nothing, as a URI of its own.

    Where nothing is in its log, none is opened. A log that is there is read together with whoever
    writes it, or in a copy where its index can't be written.
    """
    log, index = (database.with_name(f"{database.name}-{end}") for end in ("wal", "shm"))
    if not log.exists() or not log.stat().st_size:
        return f"file:{quote(str(database.resolve()))}?immutable=1&mode=ro"
    if os.access(index if index.exists() else database.parent, os.W_OK):
        return f"file:{quote(str(database.resolve()))}?mode=ro"
    folder = tempfile.mkdtemp(prefix="raretune-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    for path in (database, log):
        shutil.copy(path, folder)
    return f"file:{quote(str(Path(folder) / database.name))}?mode=ro"
