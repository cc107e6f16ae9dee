"""Which file system a folder is on: SQLite's locks do not hold on those of a network."""

from pathlib import Path

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
