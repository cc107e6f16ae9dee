"""Text columns that are numbers with a few other texts among them: read as numbers, or refused.

A column is one if at least NUMBER_SHARE of its different texts are numbers. Texts that usually
stand for a missing value then become missing, and any other text must be settled by its reader.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import pyarrow as pa
from pyarrow import compute

from trainer.data.cells.dialect import Dialect
from trainer.data.cells.numerals import almost_numbers, is_token, remedies, to_numbers
from trainer.errors import TableError

NUMBER_SHARE = 0.8  # of a text column's different texts that are numbers, for it to be numbers
MAX_EXAMPLES = 5
CODES = (-9.0, -99.0, -999.0, -9999.0, 99.0, 999.0, 9999.0, 99999.0)
SEVERAL_COLUMNS = 2  # that have a code, and rows of each, for it to be told


@dataclass(frozen=True)
class Numbers:
    """A text column as (N,) float64, null where missing, and the texts that stood for missing."""

    values: pa.ChunkedArray
    tokens: tuple[str, ...]


def different_texts(column: pa.ChunkedArray, dialect: Dialect) -> list[str]:
    """The different texts of a column that don't stand for a missing value."""
    texts = compute.drop_null(compute.unique(column)).to_pylist()
    return [text for text in texts if text.strip() and not is_token(text, dialect)]


def as_number_column(name: str, column: pa.ChunkedArray, dialect: Dialect) -> Numbers | None:
    """Return a text column as numbers if it holds some, None if it is anything else.

    Plain numbers without any other text stay texts, for their file says that they are.

    Raises TableError for a column of numbers with texts that could mean anything.
    """
    different = different_texts(column, dialect)
    if not different:
        return None
    numbers = to_numbers(pa.array(different, pa.string()), dialect)
    n_numbers = len(different) - numbers.null_count
    if n_numbers < NUMBER_SHARE * len(different):
        if almost_numbers(different, NUMBER_SHARE):
            raise _unsettled(name, column, different, numbers, dialect)
        return None
    if numbers.null_count:
        raise _unsettled(name, column, different, numbers, dialect)
    read = read_as_numbers(name, column, dialect)
    return read if read.tokens or not _are_plain(different) else None


def read_as_numbers(name: str, column: pa.ChunkedArray, dialect: Dialect) -> Numbers:
    """Return a text column as the numbers that it must hold; raises TableError for another text."""
    distinct = compute.drop_null(compute.unique(column))
    if isinstance(distinct, pa.ChunkedArray):
        distinct = distinct.combine_chunks()
    texts = distinct.to_pylist()
    numbers = to_numbers(distinct, dialect)
    empty = [not text.strip() for text in texts]
    tokens = [is_token(text, dialect) for text in texts]
    for text, number, none in zip(
        texts, numbers.to_pylist(), np.logical_or(empty, tokens), strict=True
    ):
        if number is None and not none:
            raise TableError(
                f"column {name!r} must hold numbers as it did in training, got {text!r}; write "
                "numbers, or nothing where unknown"
            )
    numbers = compute.if_else(pa.array(tokens, pa.bool_()), pa.scalar(None, pa.float64()), numbers)
    values = numbers.take(compute.index_in(column, value_set=distinct).combine_chunks())
    found = sorted({text.strip() for text, token in zip(texts, tokens, strict=True) if token})
    return Numbers(pa.chunked_array([values]), tuple(found))


def without_missing(column: pa.ChunkedArray, dialect: Dialect) -> tuple[pa.ChunkedArray, set[str]]:
    """Make what the dialect calls missing null; return the column and which of it was there."""
    type_ = column.type
    if pa.types.is_string(type_) or pa.types.is_large_string(type_):
        trimmed = compute.utf8_trim_whitespace(column)
        words = {word: word for word in dialect.missing}
    elif pa.types.is_integer(type_) or pa.types.is_floating(type_):
        trimmed = column.cast(pa.float64(), safe=False)
        values = to_numbers(pa.array(dialect.missing, pa.string()), dialect).to_pylist()
        words = {v: w for w, v in zip(dialect.missing, values, strict=True) if v is not None}
    else:
        return column, set()
    value_set = pa.array(list(words), trimmed.type)
    is_missing = compute.is_in(trimmed, value_set=value_set)
    if not compute.any(is_missing).as_py():
        return column, set()
    found = compute.unique(trimmed.filter(is_missing)).to_pylist()
    nothing = pa.scalar(None, type_)
    return compute.if_else(is_missing, nothing, column), {words[value] for value in found}


def code_sentences(columns: pd.DataFrame) -> list[str]:
    """Return a sentence for each number that may be a code for missing in several columns."""
    of_codes: dict[float, list[str]] = {}
    for name in columns.columns[columns.dtypes == np.float64]:
        for code in _codes(columns[name].to_numpy()):
            of_codes.setdefault(code, []).append(str(name))
    return [
        f"{code:g} is at the edge of {len(names)} columns and far from their other numbers "
        f"({', '.join(names[:MAX_EXAMPLES])}{', ...' if len(names) > MAX_EXAMPLES else ''}); if it "
        f"stands for a missing value, add --missing {code:g}"
        for code, names in of_codes.items()
        if len(names) >= SEVERAL_COLUMNS
    ]


def _are_plain(texts: Sequence[str]) -> bool:
    """Whether all are plain numbers: a file with types has them as texts because they are codes."""
    numbers = to_numbers(pa.array(texts, pa.string()), Dialect())
    return not numbers.null_count and all(text[0] not in " +" for text in texts)


def _codes(values: np.ndarray) -> list[float]:
    """The codes at an edge of numbers (N,), each in several rows and far from all others."""
    distinct, counts = np.unique(values[np.isfinite(values)], return_counts=True)
    found = []
    for edge, rest in ((0, distinct[1:]), (-1, distinct[:-1])):
        if len(rest) < 2 or distinct[edge] not in CODES or counts[edge] < SEVERAL_COLUMNS:
            continue
        code, low, high = distinct[edge], rest[0], rest[-1]
        distance = low - code if edge == 0 else code - high
        if distance > high - low or (edge == 0 and low >= 0):
            found.append(float(code))
    return found


def _unsettled(
    name: str,
    column: pa.ChunkedArray,
    different: Sequence[str],
    numbers: pa.Array,
    dialect: Dialect,
) -> TableError:
    counts = {row["values"]: row["counts"] for row in compute.value_counts(column).to_pylist()}
    unread = numbers.is_null().to_pylist()
    others = [text for text, none in zip(different, unread, strict=True) if none]
    others.sort(key=lambda text: -counts[text])
    shown = ", ".join(repr(text) for text in others[:MAX_EXAMPLES])
    more = ", ..." if len(others) > MAX_EXAMPLES else ""
    what = f"numbers and {len(others)} other text{'s' if len(others) > 1 else ''}"
    if len(others) == len(different):
        what = "texts that look like numbers"
    return TableError(
        f"column {name!r} holds {what} ({shown}{more}); {remedies(name, others, dialect)}"
    )
