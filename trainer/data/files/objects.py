"""Workbooks and the files of SAS, Stata and SPSS, by libraries that give Python's objects.

They come with `pip install "raretune[files]"`. A column becomes numbers, dates or texts as its
cells are; of mixed cells each becomes the text that a CSV would have.
"""

import importlib
import zipfile
from collections.abc import Sequence
from datetime import date, time
from typing import Any

import pandas as pd
import pyarrow as pa

from trainer.data.cells.dialect import Dialect
from trainer.data.files.sources import Source, members
from trainer.data.size import check_needed
from trainer.errors import TableError

PROGRAMS = {
    ".sas7bdat": "sas7bdat",
    ".xpt": "xport",
    ".dta": "dta",
    ".sav": "sav",
    ".zsav": "sav",
    ".por": "por",
}
LABELLESS = ("sas7bdat", "xport")  # formats that keep no words for values


def read_objects(source: Source, dialect: Dialect) -> pa.Table:
    """Return all columns of a workbook's sheet or of a statistics program's file.

    Raises TableError when the library is not installed or the file or the sheet can't be read.
    """
    if source.kind == "workbook":
        return _workbook(source, dialect)
    return _statistics(source)


def _workbook(source: Source, dialect: Dialect) -> pa.Table:
    calamine = _library("python_calamine", source, "is a workbook, which python-calamine reads")
    if zipfile.is_zipfile(source.path):
        check_needed(source.path, sum(info.file_size for info in members(source.path)))
    try:
        with calamine.load_workbook(str(source.path)) as book:
            names = list(book.sheet_names)
            if dialect.sheet is not None and dialect.sheet not in names:
                raise TableError(
                    f"{source.name} has no sheet {dialect.sheet!r} but "
                    f"{', '.join(map(repr, names))}; name one of these with --sheet"
                )
            sheet = book.get_sheet_by_name(dialect.sheet or names[0])
            rows = sheet.to_python(skip_empty_area=True)
    except (calamine.CalamineError, OSError, ValueError, IndexError) as error:
        raise _unreadable(source, error) from error
    rows = [row for row in rows if any(cell != "" for cell in row)]
    if not rows:
        raise TableError(
            f"sheet {dialect.sheet or names[0]!r} of {source.name} is empty; name another with "
            "--sheet"
        )
    header = [_as_text(cell) or "" for cell in rows[0]]
    return _table(header, [list(column) for column in zip(*rows[1:], strict=True)])


def _statistics(source: Source) -> pa.Table:
    what = "is a file of SAS, Stata or SPSS, which pyreadstat reads"
    pyreadstat = _library("pyreadstat", source, what)
    program = PROGRAMS[source.path.suffix.lower()]
    labels = {"apply_value_formats": True, "formats_as_category": False}
    try:
        read = getattr(pyreadstat, f"read_{program}")
        frame, _ = read(str(source.path), **({} if program in LABELLESS else labels))
    except (pyreadstat.ReadstatError, pyreadstat.PyreadstatError, OSError, ValueError) as error:
        raise _unreadable(source, error) from error
    cells = [frame.iloc[:, i].tolist() for i in range(frame.shape[1])]
    known = [[None if pd.isna(cell) else cell for cell in column] for column in cells]
    return _table(list(frame.columns), known)


def _table(names: Sequence[str], columns: Sequence[Sequence[Any]]) -> pa.Table:
    filled = columns or [[] for _ in names]
    return pa.Table.from_arrays([_array(column) for column in filled], names=list(names))


def _array(cells: Sequence[Any]) -> pa.Array:
    """One column's cells as numbers, dates or texts; an empty text is missing."""
    cells = [None if cell is None or cell == "" else cell for cell in cells]
    kinds = {type(cell) for cell in cells} - {type(None)}
    if kinds <= {bool}:
        return pa.array(cells, pa.bool_() if kinds else pa.null())
    if kinds <= {int, float}:
        return pa.array([None if cell is None else float(cell) for cell in cells], pa.float64())
    if all(issubclass(kind, date) for kind in kinds):
        moments = [pd.Timestamp(cell) if cell else None for cell in cells]
        return pa.array(moments, pa.timestamp("us"))
    return pa.array([_as_text(cell) for cell in cells], pa.string())


def _as_text(cell: Any) -> str | None:
    if cell is None:
        return None
    if isinstance(cell, bool):
        return str(cell).lower()
    if isinstance(cell, float) and cell.is_integer():
        return str(int(cell))
    if isinstance(cell, date | time):
        return cell.isoformat()
    return str(cell)


def _library(name: str, source: Source, what: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError:
        raise TableError(
            f'{source.name} {what}; pip install "raretune[files]", or save it as CSV'
        ) from None


def _unreadable(source: Source, error: Exception) -> TableError:
    reason = " ".join(str(error).split())[:200]
    return TableError(f"can't read {source.name}: {reason}; repair it or export it again")
