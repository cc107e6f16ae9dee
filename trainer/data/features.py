"""Feature columns -> a (N, D) matrix for a network, by what the train rows alone show.

Numbers are the table's number columns and those that describe its digit strings. A number becomes

    value    robustly scaled and smoothly clipped (Holzmüller et al. 2024, arXiv:2407.04491,
             section 3): z = (x - median) / (quartile range), z / sqrt(1 + (z / 3)^2), in (-3, 3)
    pieces   how far x has crossed each quarter of the train values, 0 to 1 (piecewise linear
             encoding, Gorishniy et al. 2022, arXiv:2203.05556, closed at both ends); table columns
    missing  1 where missing, and then the median stands in; one such column for all numbers that
             were missing in the same train rows

and a text the 0/1 columns of trainer.data.columns. What does not vary over the train rows is left
out.
"""

import itertools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
import pandas as pd
from pydantic import BaseModel, ConfigDict, FailFast, ValidationError

from trainer.data.columns import (
    Categories,
    Strings,
    as_numbers,
    as_texts,
    fit_categories,
    fit_strings,
    variation,
)
from trainer.data.sequence import sequence_features
from trainer.data.table import Table
from trainer.errors import CheckpointError, TableError

QUARTILES = (0.0, 0.25, 0.5, 0.75, 1.0)
LARGEST = 1e150  # numbers are bounded by it, so that no difference overflows
BLOCK_ROWS = 512  # transformed at once, to stay in the cache
ARRAYS = {
    "median": np.dtype(np.float64),
    "spread": np.dtype(np.float64),
    "scaled": np.dtype(np.int64),
    "flagged": np.dtype(np.int64),
    "piece_of": np.dtype(np.int64),
    "low": np.dtype(np.float64),
    "width": np.dtype(np.float64),
}


class Description(BaseModel):
    """The part of the fitted state that is text."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    numbers: Annotated[tuple[str, ...], FailFast()]
    strings: Strings | None
    categories: Annotated[tuple[Categories, ...], FailFast()]

    @property
    def number_names(self) -> tuple[str, ...]:
        """(M,) names of the numbers: table columns, then those of the digit strings."""
        return (*self.numbers, *(self.strings.names if self.strings else ()))


@dataclass(frozen=True, eq=False)
class Features:
    """What was fitted on train rows; M numbers: table columns, then those of the digit strings.

    median     (M,) float64, stands in for a missing number
    spread     (M,) float64, > 0
    scaled     (V,) int64, the numbers that have a value column
    flagged    (F,) int64, the numbers that have a missing column
    piece_of   (P,) int64, the number of each piece
    low, width (P,) float64, where a piece begins, and how far it goes, > 0
    """

    description: Description
    median: np.ndarray
    spread: np.ndarray
    scaled: np.ndarray
    flagged: np.ndarray
    piece_of: np.ndarray
    low: np.ndarray
    width: np.ndarray

    @property
    def number_columns(self) -> tuple[str, ...]:
        """Number columns that `transform` needs."""
        return self.description.numbers

    @property
    def text_columns(self) -> tuple[str, ...]:
        """Text columns that `transform` needs, the sequence among them."""
        strings, categories = self.description.strings, self.description.categories
        return (*(c.column for c in categories), *((strings.column,) if strings else ()))

    @property
    def categories(self) -> tuple[Categories, ...]:
        """Text columns that have 0/1 columns."""
        return self.description.categories

    @property
    def names(self) -> tuple[str, ...]:
        """(D,) names of the output's columns."""
        numbers = self.description.number_names
        pieces = [itertools.count() for _ in numbers]
        return (
            *(numbers[i] for i in self.scaled),
            *(f"{numbers[of]} piece {next(pieces[of])}" for of in self.piece_of),
            *(f"{numbers[i]} missing" for i in self.flagged),
            *(name for c in self.description.categories for name in c.names),
        )

    def transform(self, columns: pd.DataFrame) -> np.ndarray:
        """(N, D) float32, finite, of a frame as trainer.data.reading reads it; each row for itself.

        Further columns are ignored. Raises TableError when a column is missing, holds text for
        numbers or numbers for text, or an infinite number, or a sequence is not of digits.
        """
        out = np.zeros((len(columns), len(self.names)), dtype=np.float32)
        self.write(columns, out)
        return out

    def check_names(self, columns: pd.DataFrame) -> None:
        """Raise TableError when a column is missing."""
        absent = [n for n in (*self.number_columns, *self.text_columns) if n not in columns]
        if absent:
            raise TableError(
                f"the table lacks {len(absent)} columns that the features need: "
                f"{', '.join(map(repr, absent))}; add them (empty where unknown)"
            )

    def write(self, columns: pd.DataFrame, out: np.ndarray) -> None:
        """Put what `transform` returns into `out` (N or more, D or more) float32, zero before."""
        self.check_names(columns)
        table_numbers = as_numbers(columns, self.number_columns)
        codes = [c.encode(columns[c.column]) for c in self.description.categories]
        strings = self.description.strings
        texts = as_texts(columns[strings.column]) if strings else []
        for start in range(0, len(columns), BLOCK_ROWS):
            rows = slice(start, min(start + BLOCK_ROWS, len(columns)))
            numbers = table_numbers[:, rows].T
            if strings:
                numbers = np.hstack([numbers, strings.describe(texts[rows]).T])
            self._write_numbers(numbers, out[rows])
        first = len(self.scaled) + len(self.piece_of) + len(self.flagged)
        for category, code in zip(self.description.categories, codes, strict=True):
            known = np.flatnonzero(code >= 0)
            out[known, first + code[known]] = 1.0
            first += len(category.names)

    def _write_numbers(self, numbers: np.ndarray, out: np.ndarray) -> None:
        """Fill the first columns of `out` (N, D) from numbers (N, M)."""
        n_scaled, n_pieces = len(self.scaled), len(self.piece_of)
        missing = np.isnan(numbers)
        numbers = np.where(missing, self.median, np.clip(numbers, -LARGEST, LARGEST))
        # Along the rows: all values, then all pieces.
        x = numbers.take(np.concatenate([self.scaled, self.piece_of]), axis=1)
        x -= np.concatenate([self.median[self.scaled], self.low])
        with np.errstate(over="ignore"):  # by a tiny spread or width: infinite, then clipped
            x /= np.concatenate([self.spread[self.scaled], self.width])
        z = np.clip(x[:, :n_scaled], -LARGEST, LARGEST)
        out[:, : n_scaled + n_pieces] = np.clip(x, 0, 1, out=x)
        out[:, :n_scaled] = z / np.sqrt(1 + (z / 3) ** 2)
        out[:, n_scaled + n_pieces :][:, : len(self.flagged)] = missing[:, self.flagged]

    def to_state(self) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        """Arrays by name, and text that JSON can hold; `from_state` takes both back."""
        arrays = {name: getattr(self, name) for name in ARRAYS}
        return arrays, self.description.model_dump(mode="json")

    @classmethod
    def from_state(
        cls, tensors: Mapping[str, np.ndarray], description: Description | Mapping[str, Any]
    ) -> "Features":
        """The features behind a state; raises CheckpointError when it is not one."""
        try:
            parsed = Description.model_validate(description)
        except ValidationError as error:
            raise _broken("its description is of another form") from error
        _check_texts(parsed)
        _check_arrays(tensors, len(parsed.number_names))
        return cls(parsed, **{name: tensors[name] for name in ARRAYS})


def fit_features(table: Table, rows: np.ndarray) -> Features:
    """Fit on the given rows of a table, by index; no other row is looked at.

    Raises TableError when nothing varies over these rows, or a sequence is not of digits.
    """
    columns = table.columns.iloc[rows]
    numbers = as_numbers(columns, table.numeric)
    vary = [j for j, number in enumerate(numbers) if variation(number) > 0]
    numbers, n_table = numbers[vary], len(vary)
    strings = None
    if table.roles.sequence is not None:
        texts = as_texts(columns[table.roles.sequence])
        strings = fit_strings(texts, table.roles.sequence)
        if strings:
            numbers = np.vstack([numbers, strings.describe(texts)])
    fitted = [fit_categories(columns[name]) for name in table.categorical]
    description = Description(
        numbers=tuple(table.numeric[j] for j in vary),
        strings=strings,
        categories=tuple(category for category in fitted if category),
    )
    if not len(numbers) and not description.categories:
        raise TableError(
            f"no feature of {table.path.name} varies over the {len(rows)} train rows; "
            "add columns, or draw other rows with --seed"
        )
    return _fit_numbers(np.clip(numbers, -LARGEST, LARGEST), n_table, description)


def _fit_numbers(numbers: np.ndarray, n_table: int, description: Description) -> Features:
    """Fit on numbers (M, N), the first `n_table` of which are table columns."""
    missing = np.isnan(numbers)
    quartiles = np.empty((len(numbers), len(QUARTILES)))
    for j, number in enumerate(numbers):
        quartiles[j] = np.quantile(number[~missing[j]], QUARTILES)
    smallest, lower, median, upper, largest = quartiles.T
    half_range = (largest - smallest) / 2
    spread = np.where(upper > lower, upper - lower, half_range)
    patterns = [row.tobytes() for row in missing]
    first = [j for j, pattern in enumerate(patterns) if patterns.index(pattern) == j]
    edges = [np.unique(quartiles[j]) for j in range(n_table)]
    edges = [edge if len(edge) > 2 else edge[:1] for edge in edges]  # one piece is the value again
    n_pieces = [len(edge) - 1 for edge in edges]
    return Features(
        description=description,
        median=median,
        spread=np.where(spread > 0, spread, 1.0),
        scaled=np.flatnonzero(largest > smallest),
        flagged=np.array([j for j in first if missing[j].any()], dtype=np.int64),
        piece_of=np.repeat(np.arange(n_table), n_pieces),
        low=np.concatenate([np.zeros(0), *(edge[:-1] for edge in edges)]),
        width=np.concatenate([np.zeros(0), *(np.diff(edge) for edge in edges)]),
    )


# A state from outside


def _check_texts(description: Description) -> None:
    strings, categories = description.strings, description.categories
    columns = [*description.numbers, *(category.column for category in categories)]
    if len({*columns}) < len(columns) or (strings and strings.column in columns):
        raise _broken("a column is there twice")
    if any(len(set(category.values)) < len(category.values) for category in categories):
        raise _broken("a category is there twice")
    if strings is None:
        return
    digits = set(strings.symbols)
    if len(digits) < len(strings.symbols) or not digits <= set("0123456789"):
        raise _broken(f"its symbols {strings.symbols!r} are not different digits")
    if len(set(strings.kept)) < len(strings.kept):
        raise _broken("a sequence feature is there twice")
    if not strings.kept or not set(strings.kept) <= set(sequence_features([], strings.symbols)[1]):
        raise _broken("it names sequence features that do not exist")


def _check_arrays(tensors: Mapping[str, np.ndarray], m: int) -> None:
    if set(tensors) != set(ARRAYS):
        raise _broken(f"it has arrays {sorted(tensors)} where {sorted(ARRAYS)} belong")
    for name, array in tensors.items():
        if array.ndim != 1 or array.dtype != ARRAYS[name]:
            raise _broken(f"{name} is {array.dtype} of shape {array.shape}")
        if array.dtype == np.int64 and not np.isin(array, np.arange(m)).all():
            raise _broken(f"{name} names a column outside of 0 to {m - 1}")
        if not np.isfinite(array).all():
            raise _broken(f"{name} is not finite")
    if not len(tensors["median"]) == len(tensors["spread"]) == m:
        raise _broken(f"median and spread are not of its {m} numbers")
    if not len(tensors["piece_of"]) == len(tensors["low"]) == len(tensors["width"]):
        raise _broken("piece_of, low and width differ in length")
    if (tensors["spread"] <= 0).any() or (tensors["width"] <= 0).any():
        raise _broken("a spread or width is not over 0")


def _broken(reason: str) -> CheckpointError:
    return CheckpointError(f"its features can't be restored, {reason}")
