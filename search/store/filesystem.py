"""Which file system a folder is on: SQLite's locks do not hold on those of a network."""

import re
import sys
from pathlib import Path

MOUNTS = Path("/proc/self/mountinfo")
NETWORK = {
    *("nfs", "nfs4", "cifs", "smbfs", "smb2", "smb3", "ncpfs", "afs", "9p", "davfs", "davfs2"),
    *("ceph", "lustre", "gpfs", "beegfs", "panfs", "wekafs", "orangefs", "glusterfs", "juicefs"),
    *("sshfs", "s3fs", "gcsfuse", "rclone", "grpcfuse"),
}


def network_file_system(folder: Path) -> str | None:
    """Return the type of the network file system a folder is on, or None; looks on Linux only."""
    if not sys.platform.startswith("linux") or not MOUNTS.exists():
        return None
    kind = file_system(folder.resolve(), MOUNTS.read_text(encoding="utf-8", errors="replace"))
    return kind if kind.removeprefix("fuse.") in NETWORK else None


def file_system(folder: Path, mounts: str) -> str:
    """Return the type of the file system that holds an absolute folder.

    `mounts` is the text of /proc/self/mountinfo, whose lines read "ID PARENT DEVICE ROOT PLACE
    OPTIONS [TAGS...] - TYPE SOURCE OPTIONS", spaces as octal escapes (man 5 proc). The deepest
    place counts, of equal ones the last, which hides the others.
    """
    kind, depth = "", 0
    for line in mounts.splitlines():
        before, _, after = line.partition(" - ")
        escaped = before.split()[4]
        place = Path(re.sub(r"\\([0-7]{3})", lambda octal: chr(int(octal[1], 8)), escaped))
        if folder.is_relative_to(place) and len(place.parts) >= depth:
            kind, depth = after.split()[0], len(place.parts)
    return kind
