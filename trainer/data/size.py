"""Whether a table fits into memory, as its file says before it is read."""

import resource
import zipfile
import zlib
from contextlib import suppress
from pathlib import Path

import pyarrow as pa
from pyarrow import parquet

from trainer.errors import TableError

CGROUP_LIMITS = (
    Path("/sys/fs/cgroup/memory.max"),
    Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"),
)
MOST_PACKED = 1032  # bytes that deflate can make one of; https://zlib.net/zlib_tech.html
CELL_BYTES = 8  # of a number, and of where a text lies
PIECE = 1 << 20


def check_fits(path: Path) -> None:
    """Raise TableError if the table in a file needs more memory than is free.

    The least that it can need: a text, unpacked, or all cells of a Parquet file. Raises OSError or
    the errors of its reader if the file can't be read.
    """
    free = free_memory()
    name, packed = path.name.lower(), path.stat().st_size
    if name.endswith(".parquet"):
        needed = _parquet_bytes(path)
    elif name.endswith(".gz"):
        needed = _unpacked_bytes(path, free) if packed * MOST_PACKED > free else 0
    elif name.endswith(".zst"):
        needed = _unpacked_zst_bytes(path, free)
    elif name.endswith(".zip"):
        with zipfile.ZipFile(path) as file:
            needed = sum(info.file_size for info in file.infolist())
    else:
        needed = packed
    check_needed(path, needed, free)


def check_needed(path: Path, needed: int, free: int | None = None) -> None:
    """Raise TableError if a table needs more bytes than are free."""
    free = free_memory() if free is None else free
    if needed > free:
        more = "more than " if path.name.lower().endswith((".gz", ".zst")) else ""
        raise TableError(
            f"{path.name} is too large for this machine: it needs {more}{needed / 1e9:.1f} GB of "
            f"memory and {free / 1e9:.1f} GB are free; leave out rows or columns, or take a larger "
            "machine"
        )


def free_memory() -> int:
    """Bytes of memory that this process may still take, by the machine, its container, its user."""
    import psutil  # slow

    free = int(psutil.virtual_memory().available)
    for limit in CGROUP_LIMITS:
        with suppress(OSError, ValueError):  # "max" where there is none
            free = min(free, int(limit.read_text(encoding="ascii")))
    soft, _ = resource.getrlimit(resource.RLIMIT_AS)
    if soft != resource.RLIM_INFINITY:
        free = min(free, max(0, soft - psutil.Process().memory_info().vms))
    return free


def _parquet_bytes(path: Path) -> int:
    footer = parquet.read_metadata(path)
    cells = footer.num_rows * footer.num_columns * CELL_BYTES
    groups = (footer.row_group(i) for i in range(footer.num_row_groups))
    columns = (group.column(j) for group in groups for j in range(footer.num_columns))
    texts = sum(c.total_uncompressed_size for c in columns if c.physical_type == "BYTE_ARRAY")
    return int(cells + texts)


def _unpacked_bytes(path: Path, enough: int) -> int:
    """Bytes of text in a .gz file, counted until they are more than `enough`.

    Its own count at its end is no help: it starts anew at each 4 GB and at each member.
    """
    count, unpack = 0, zlib.decompressobj(wbits=31)
    with path.open("rb") as file, suppress(zlib.error):  # of which its reader says more
        while count <= enough and (piece := unpack.unconsumed_tail or file.read(PIECE)):
            count += len(unpack.decompress(piece, PIECE))
            if unpack.eof:  # another member may follow
                file.seek(-len(unpack.unused_data), 1)
                unpack = zlib.decompressobj(wbits=31)
    return count


def _unpacked_zst_bytes(path: Path, enough: int) -> int:
    """Bytes of text in a .zst file, counted until they are more than `enough`."""
    count = 0
    with pa.input_stream(str(path), compression="zstd") as file:
        while count <= enough and (piece := file.read(PIECE)):
            count += len(piece)
    return count
