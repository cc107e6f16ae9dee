"""The options that say how a table is written and what its columns are, the same in all commands.

Every text stands alone as a sentence and names its default. Nothing heavy is imported here.
"""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from trainer.commands.options import FILES, flag

if TYPE_CHECKING:
    from trainer.data.cells.dialect import Dialect

Category = Annotated[
    list[str] | None,
    flag(
        "category",
        "Column whose cells are texts though they look like numbers, such as codes or postcodes; "
        "leading zeros are kept. Can be given more than once.",
    ),
]
Date = Annotated[
    list[str] | None,
    flag(
        "date",
        "Column of dates to make numbers of: days, year, month and weekday. Can be given more than "
        "once.",
    ),
]
Missing = Annotated[
    list[str] | None,
    flag(
        "missing",
        "Text or number that stands for a missing value in the features; ?, ., -, --, NA, N/A, "
        "None, unknown and missing do so among numbers anyway. Can be given more than once.",
    ),
]
Decimal = Annotated[
    str | None,
    flag("decimal", "Character before the fraction of a number: . by default, or a comma."),
]
Thousands = Annotated[
    str | None,
    flag(
        "thousands",
        "Character between groups of three digits, such as the comma of 1,234; by default there is "
        "none.",
    ),
]


def _typed(separator: str | None) -> str | None:
    r"""Return the separator that is meant: in a shell, a tab is easily typed as \t only."""
    return "\t" if separator == r"\t" else separator


Separator = Annotated[
    str | None,
    flag(
        "separator",
        "Character between the cells of a text file; by default it is found from the file: a "
        "comma, semicolon, tab or |.",
        callback=_typed,
    ),
]
Encoding = Annotated[
    str | None,
    flag(
        "encoding",
        "Encoding of a text file, such as cp1252; by default UTF-8, or UTF-16 where the file is.",
    ),
]
Sheet = Annotated[
    str | None, flag("sheet", "Sheet of a workbook that holds the table; the first by default.")
]
Positive = Annotated[
    list[str] | None,
    flag(
        "positive",
        "Value that is positive in a label column, any other being negative; by default labels are "
        "written 0/1, false/true, no/yes or n/y. Can be given more than once.",
    ),
]
LabelsFrom = Annotated[
    str | None,
    flag(
        "labels_from",
        "Column of lists such as a|b|c, each item of which is a label; those in too few rows are "
        "left out, and with --label only the named ones are taken.",
    ),
]
ListSeparator = Annotated[
    str | None,
    flag("list_separator", "Text between the items of such a list; | by default."),
]
Strict = Annotated[
    bool,
    flag(
        "strict",
        "Refuse a table of which something looks like a leak; by default it is only warned of.",
    ),
]
Inspected = Annotated[Path, typer.Argument(help=f"Table to read: {FILES}.")]


def dialect_of(given: Mapping[str, Any]) -> "Dialect":
    """Return how a table is written by the flags given; raises ConfigError."""
    from trainer.data.cells.dialect import Dialect, check_dialect

    names = ("separator", "encoding", "sheet", "decimal", "thousands")
    values = {name: given[name] for name in names if given.get(name) is not None}
    dialect = Dialect(missing=tuple(given.get("missing") or ()), **values)
    check_dialect(dialect)
    return dialect


def dialect_for(path: Path, kept: "Dialect", given: Mapping[str, Any]) -> "Dialect":
    """Return how a new file is written: as the training's was where that fits it, or by the flags.

    Raises ConfigError for flags that no file is written by, TableError where there is no file.
    """
    from trainer.data.files.sources import source_of
    from trainer.data.files.text import adapted

    named = {name: value for name, value in given.items() if value is not None}
    dialect = dialect_of(named)
    fitting = adapted(kept, source_of(path))
    return replace(fitting, **{name: getattr(dialect, name) for name in named})
