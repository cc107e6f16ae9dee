"""A path -> what kind of file it is, how it is packed, and its unpacked bytes.

    kind        endings
    text        .csv .tsv .tab .txt, also packed: .gz .zst .zip, as .csv.gz
    parquet     .parquet
    arrow       .feather .arrow .ipc
    workbook    .xlsx .xlsm .xlsb .xls .ods
    statistics  .sas7bdat .xpt .dta .sav .zsav .por

A packed file must be of text. Standard input, named -, is kept as a file for as long as the process
runs, since it is read more than once.
"""

import atexit
import shutil
import sys
import tempfile
import zipfile
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import IO, Literal

import pyarrow as pa

from trainer.errors import TableError

Kind = Literal["text", "parquet", "arrow", "workbook", "statistics"]

STANDARD_INPUT = Path("-")
ENDINGS: dict[Kind, tuple[str, ...]] = {
    "text": (".csv", ".tsv", ".tab", ".txt"),
    "parquet": (".parquet",),
    "arrow": (".feather", ".arrow", ".ipc"),
    "workbook": (".xlsx", ".xlsm", ".xlsb", ".xls", ".ods"),
    "statistics": (".sas7bdat", ".xpt", ".dta", ".sav", ".zsav", ".por"),
}
PACKINGS = (".gz", ".zst", ".zip")
STARTS = {  # of what comes through standard input, which has no name
    b"PAR1": ".parquet",
    b"ARROW1": ".arrow",
    b"\x1f\x8b": ".csv.gz",
    b"\x28\xb5\x2f\xfd": ".csv.zst",
    b"PK\x03\x04": ".csv.zip",
}


@dataclass(frozen=True)
class Source:
    """A file that is there; `packing` is one of PACKINGS, or "" for none."""

    path: Path
    kind: Kind
    packing: str

    @property
    def name(self) -> str:
        """The file's name, for messages."""
        return self.path.name

    def open(self) -> pa.NativeFile:
        """Open the unpacked bytes; raises TableError for a .zip that is not of one file."""
        if self.packing == ".zip":
            return pa.PythonFile(_only_member(self.path), mode="r")
        packing = {".gz": "gzip", ".zst": "zstd"}.get(self.packing)
        return pa.input_stream(str(self.path), compression=packing)

    def head(self, n_bytes: int) -> bytes:
        """Return the first unpacked bytes."""
        with self.open() as file:
            return bytes(file.read(n_bytes))


def source_of(path: Path) -> Source:
    """Return what a file is by its name; raises TableError when it can't be a table."""
    if not path.exists():
        raise TableError(f"no file {path}; give the path of a table to --csv")
    if not path.is_file():
        raise TableError(f"{path} is a directory; give the path of a file in it to --csv")
    name = path.name.lower()
    packing = next((ending for ending in PACKINGS if name.endswith(ending)), "")
    unpacked = name.removesuffix(packing)
    kind = next((kind for kind, endings in ENDINGS.items() if unpacked.endswith(endings)), None)
    if packing == ".zip" and kind is None:
        kind = "text"
    if kind is None or (packing and kind != "text"):
        raise TableError(
            f"{path.name} is none of {_listed()}; "
            + ("unpack it first" if kind else "convert it to one of these")
        )
    if not path.stat().st_size:
        raise TableError(f"{path.name} is empty; give a file with a header and rows to --csv")
    return Source(path, kind, packing)


def stem_of(path: Path) -> str:
    """Return a table's file name without the endings that say its format."""
    name, endings = path.name, [*PACKINGS, *(e for several in ENDINGS.values() for e in several)]
    while ending := next((e for e in endings if name.lower().endswith(e)), ""):
        name = name[: -len(ending)]
    return name


def from_anywhere(path: Path) -> Path:
    """Return a path that can be read again and again: standard input's copy for -."""
    return _standard_input() if path == STANDARD_INPUT else path


@cache
def _standard_input() -> Path:
    folder = Path(tempfile.mkdtemp(prefix="raretune-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    start = sys.stdin.buffer.read(8)
    ending = next((end for begin, end in STARTS.items() if start.startswith(begin)), ".csv")
    path = folder / f"stdin{ending}"
    with path.open("wb") as file:
        file.write(start)
        shutil.copyfileobj(sys.stdin.buffer, file)
    if not path.stat().st_size:
        raise TableError("standard input is empty; pipe a table with a header and rows into it")
    return path


def members(path: Path) -> list[zipfile.ZipInfo]:
    """The files in a .zip, without what a packer adds by itself; raises TableError if broken."""
    try:
        with zipfile.ZipFile(path) as packed:
            found = [info for info in packed.infolist() if not info.is_dir()]
    except (zipfile.BadZipFile, NotImplementedError) as error:
        raise TableError(f"can't read {path.name}: {error}; repair it or pack it again") from error
    return [
        info
        for info in found
        if not info.filename.startswith("__MACOSX/")
        and not info.filename.rpartition("/")[2].startswith(".")
    ]


def _only_member(path: Path) -> IO[bytes]:
    inside = members(path)
    names = [info.filename for info in inside]
    if len(inside) != 1:
        raise TableError(
            f"{path.name} holds {len(inside)} files ({', '.join(names[:5])}); unpack the one that "
            "is the table"
        )
    typed = (ending for kind, several in ENDINGS.items() if kind != "text" for ending in several)
    if names[0].lower().endswith(tuple(typed)):
        raise TableError(f"{path.name} holds {names[0]!r}, which is no text; unpack it first")
    try:
        return zipfile.ZipFile(path).open(inside[0])
    except (RuntimeError, NotImplementedError, zipfile.BadZipFile) as error:
        raise TableError(f"can't read {path.name}: {error}; unpack it first") from error


def _listed() -> str:
    text = f"{', '.join(ENDINGS['text'])} (also {', '.join(PACKINGS)})"
    others = (ending for kind, several in ENDINGS.items() if kind != "text" for ending in several)
    return f"{text}, {', '.join(others)}"
