"""Columns of a frame -> numbers, texts and codes, and what train rows say of the texts.

A text column has a 0/1 column for each of its commoner values, and one for missing; any other value
is all zeros. A word for missing, such as NA, is a value where the train rows have it as one, and
missing elsewhere. A digit string column becomes those of its sequence features that vary.
"""

from collections.abc import Sequence
from typing import Annotated

import numpy as np
import pandas as pd
from pydantic import BaseModel, ConfigDict, FailFast

from trainer.data.reading import MISSING_WORDS
from trainer.data.sequence import find_symbols, sequence_features
from trainer.errors import TableError

MIN_COUNT = 5  # train rows with a category, for a column of its own
MAX_CATEGORIES = 64  # of one column, commonest first
MIN_VARIATION = 0.02  # share of train rows off the commonest value, for a number of a digit string


class Categories(BaseModel):
    """A text column: its values with a column of their own, and whether missing has one."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    column: str
    values: Annotated[tuple[str, ...], FailFast()]
    missing: bool

    @property
    def names(self) -> tuple[str, ...]:
        """Names of its 0/1 columns, missing last."""
        values = tuple(f"{self.column}={value}" for value in self.values)
        return (*values, f"{self.column} missing") if self.missing else values

    def encode(self, values: pd.Series) -> np.ndarray:
        """(N,) int64 position of each value among the 0/1 columns; -1 for none.

        Raises TableError when the values are numbers.
        """
        _check_text(values)
        index = pd.Index(self.values, dtype=object)
        codes = index.get_indexer(pd.Index(values, dtype=object))
        if self.missing and (codes < 0).any():
            missing = values.isna() | ((codes < 0) & values.isin(MISSING_WORDS))
            codes = np.where(missing, len(self.values), codes)
        return np.asarray(codes, dtype=np.int64)


class Strings(BaseModel):
    """A digit string column: its symbols, and which of its sequence features are numbers here."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    column: str
    symbols: str
    kept: Annotated[tuple[str, ...], FailFast()]

    @property
    def names(self) -> tuple[str, ...]:
        """Names of its numbers."""
        return tuple(f"{self.column}.{name}" for name in self.kept)

    def describe(self, texts: Sequence[object]) -> np.ndarray:
        """(len(kept), N) float64 sequence features; raises TableError for a text not of digits."""
        values, names = sequence_features(texts, self.symbols)
        return np.stack([values[:, names.index(name)] for name in self.kept])


def fit_categories(values: pd.Series) -> Categories | None:
    """Choose the values of a text column that get a column; None if it would say nothing.

    Words for missing come last, however few: as the column for missing that they were once part of.
    """
    counts = values.value_counts()
    missing = bool(values.isna().any())
    if len(counts) + missing < 2:
        return None
    words = sorted(str(value) for value in counts.index if value in MISSING_WORDS)
    common = sorted(
        (-n, str(value))
        for value, n in counts.items()
        if n >= MIN_COUNT and value not in MISSING_WORDS
    )
    kept = (*(value for _, value in common[:MAX_CATEGORIES]), *words)
    if not kept and not missing:
        return None
    return Categories(column=str(values.name), values=kept, missing=missing)


def fit_strings(texts: Sequence[object], column: str) -> Strings | None:
    """Choose the sequence features of a digit string column that vary; None if none does.

    Raises TableError for a text that is not of digits.
    """
    symbols = find_symbols(texts)
    values, names = sequence_features(texts, symbols)
    vary = (variation(number) >= MIN_VARIATION for number in values.T)
    kept = tuple(name for name, varies in zip(names, vary, strict=True) if varies)
    return Strings(column=column, symbols=symbols, kept=kept) if kept else None


def variation(values: np.ndarray) -> float:
    """Share of values (N,) off the commonest one; missing is a value."""
    return 1 - float(np.unique(values, return_counts=True)[1].max()) / len(values)


def as_numbers(columns: pd.DataFrame, names: Sequence[str]) -> np.ndarray:
    """(len(names), N) float64, NaN where missing, of these columns of a frame.

    Raises TableError when one holds something else than numbers, or an infinite one.
    """
    numbers = np.empty((len(names), len(columns)))
    for j, name in enumerate(names):
        values = columns[name]
        if pd.api.types.is_numeric_dtype(values.dtype):
            numbers[j] = values.to_numpy(dtype=np.float64, na_value=np.nan)
        elif values.isna().all():
            numbers[j] = np.nan
        else:
            raise TableError(
                f"column {name!r} must hold numbers as it did in training, got "
                f"{str(values.dropna().iloc[0])!r}; write numbers, or nothing where unknown"
            )
    infinite = np.isinf(numbers).sum(axis=1)
    if infinite.any():
        worst = int(infinite.argmax())
        raise TableError(
            f"column {names[worst]!r} has {infinite[worst]} infinite values; make them missing"
        )
    return numbers


def as_texts(values: pd.Series) -> list[object]:
    """N digit strings, or None or NaN where missing; raises TableError when they are numbers."""
    _check_text(values)
    return [None if value in MISSING_WORDS else value for value in values]


def _check_text(values: pd.Series) -> None:
    if pd.api.types.is_numeric_dtype(values.dtype) and not values.isna().all():
        raise TableError(
            f"column {str(values.name)!r} must hold text as it did in training, got numbers; "
            "write them as text"
        )
