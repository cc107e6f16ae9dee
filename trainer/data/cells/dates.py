"""Texts that are dates, in the common forms, and the numbers that are made of a date.

A column has one form: its order of day, month and year. What day and month are in 03/04/2021 is
known from other rows of the column, where a number is over 12; else it is ambiguous.
"""

import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta, timezone
from typing import Literal

import numpy as np
import pandas as pd

from trainer.data.cells.dialect import Dialect
from trainer.data.cells.numerals import is_token
from trainer.errors import TableError

Form = Literal["year-month-day", "day-month-year", "month-day-year", "month by name"]
PARTS = ("days", "year", "month", "weekday")
ALWAYS: tuple[Form, ...] = ("year-month-day", "month by name")  # whose order is not in doubt

_TIME = (
    r"(?:(?:T|:|\s+)(?P<hour>\d{1,2}):(?P<minute>\d{2})(?::(?P<second>\d{2}(?:[.,]\d+)?))?"
    r"\s*(?P<half>[AaPp][Mm])?\s*(?P<zone>Z|UTC|[+-]\d{2}:?\d{2})?)?"
)
_YEAR_FIRST = re.compile(r"(?P<y>\d{4})([-/.]?)(?P<m>\d{1,2})\2(?P<d>\d{1,2})" + _TIME)
_YEAR_LAST = re.compile(r"(?P<a>\d{1,2})([-/.])(?P<b>\d{1,2})\2(?P<y>\d{4}|\d{2})" + _TIME)
_NAMED = (
    re.compile(r"(?P<d>\d{1,2})[- .]*(?P<m>[A-Za-z]{3,9})[-. ,]*(?P<y>\d{4})" + _TIME),
    re.compile(r"(?P<m>[A-Za-z]{3,9})[. ]+(?P<d>\d{1,2})[, ]+(?P<y>\d{4})" + _TIME),
)
_MONTHS = (
    *("january", "february", "march", "april", "may", "june", "july", "august", "september"),
    *("october", "november", "december"),
)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def are_dates(texts: Sequence[str], share: float) -> bool:
    """Whether at least a share of the texts, from 0 to 1, look like dates of any form.

    Eight digits alone don't: they are a number.
    """
    found = sum(_kind(text) is not None and not text.strip().isdecimal() for text in texts)
    return bool(texts) and found >= share * len(texts)


def find_form(texts: Sequence[str], column: str) -> Form:
    """Return the form of a column's different dates; raises TableError if they have several."""
    kinds = {text: _kind(text) for text in texts}
    if strange := [text for text, kind in kinds.items() if kind is None]:
        raise TableError(
            f"column {column!r} is given to --date, but {strange[0]!r} is no date; make it missing "
            f"with --missing, or leave the column out with --drop"
        )
    found = set(kinds.values())
    if found <= {"year first"}:
        return "year-month-day"
    if found <= {"named"}:
        return "month by name"
    if found != {"year last"}:
        odd = [next(text for text, kind in kinds.items() if kind == one) for one in found]
        raise _unclear(column, f"dates are written in several ways, such as {_quoted(odd)}")
    return _order(texts, column)


def date_parts(
    columns: pd.DataFrame, forms: Mapping[str, Form], dialect: Dialect
) -> dict[str, np.ndarray]:
    """Return COLUMN.days, .year, .month, .weekday of each date column of a frame.

    They are (N,) float64, nan where missing: days since 1970-01-01 with the time of day as a
    fraction, in UTC where a zone is named; month 1 to 12; weekday 0, Monday, to 6. Where days are
    counted from makes no difference to a network: they are scaled by its train rows.

    Raises TableError when a column is missing or a text is no date of its form.
    """
    found: dict[str, np.ndarray] = {}
    for column, form in forms.items():
        if column not in columns:
            raise TableError(f"the table lacks the date column {column!r}; add it")
        places, texts = pd.factorize(columns[column].to_numpy(dtype=object))
        values = [_days(text, form, column, dialect) for text in texts]
        days = np.array([*values, np.nan])[places]  # the place of a missing one is -1
        known = np.nan_to_num(np.floor(days)).astype("datetime64[D]")
        months = known.astype("datetime64[M]").astype(np.int64)
        whole = {
            "days": days,
            "year": months // 12 + 1970,
            "month": months % 12 + 1,
            "weekday": (known.astype(np.int64) + 3) % 7,
        }
        found |= {
            part_name(column, part): np.where(np.isnan(days), np.nan, whole[part]) for part in PARTS
        }
    return found


def part_name(column: str, part: str) -> str:
    """Return the name of a number that is made of a date column."""
    return f"{column}.{part}"


def _kind(text: str) -> str | None:
    text = text.strip()
    if (match := _YEAR_FIRST.fullmatch(text)) and _is_calendar(match, match["m"], match["d"]):
        return "year first"
    if match := _YEAR_LAST.fullmatch(text):
        a, b = match["a"], match["b"]
        if _is_calendar(match, a, b) or _is_calendar(match, b, a):
            return "year last"
    if any((match := named.fullmatch(text)) and _month(match["m"]) for named in _NAMED):
        return "named"
    return None


def _is_calendar(match: re.Match[str], month: str, day: str) -> bool:
    separated = match[2] or len(month) == len(day) == 2
    return bool(separated) and 1 <= int(month) <= 12 and 1 <= int(day) <= 31


def _order(texts: Sequence[str], column: str) -> Form:
    matches = [match for text in texts if (match := _YEAR_LAST.fullmatch(text.strip()))]
    if any(len(match["y"]) == 2 for match in matches):
        raise _unclear(column, f"years have two digits, as in {texts[0]!r}")
    day_first = any(int(match["a"]) > 12 or match[2] == "." for match in matches)
    month_first = any(int(match["b"]) > 12 for match in matches)
    if day_first == month_first:
        raise _unclear(column, f"it is not clear which of {texts[0]!r} is the month")
    return "day-month-year" if day_first else "month-day-year"


def _days(text: object, form: Form, column: str, dialect: Dialect) -> float:
    """Return days since 1970-01-01; nan for a text that stands for a missing value."""
    text = str(text).strip()
    if is_token(text, dialect):
        return np.nan
    for other in dict.fromkeys((form, *ALWAYS)):
        if (moment := _moment(text, other)) is not None:
            return (moment - _EPOCH) / timedelta(days=1)
    raise TableError(
        f"column {column!r} must hold dates written as {form}, as in training, got {text!r}; write "
        "them so, or as 2021-12-31, or nothing where unknown"
    )


def _moment(text: str, form: Form) -> datetime | None:
    patterns = {"year-month-day": (_YEAR_FIRST,), "month by name": _NAMED}
    for pattern in patterns.get(form, (_YEAR_LAST,)):
        if match := pattern.fullmatch(text):
            parts = match.groupdict()
            if form in ("day-month-year", "month-day-year"):
                a, b = parts["a"], parts["b"]
                parts["d"], parts["m"] = (a, b) if form == "day-month-year" else (b, a)
            month = _month(parts["m"])
            if month and len(parts["y"]) == 4:
                return _assembled(parts, month)
    return None


def _assembled(parts: Mapping[str, str | None], month: int) -> datetime | None:
    hour = int(parts["hour"] or 0)
    if parts["half"]:
        hour = hour % 12 + (12 if parts["half"].lower() == "pm" else 0)
    seconds = float((parts["second"] or "0").replace(",", "."))
    zone = parts["zone"]
    offset = UTC
    if zone and zone[0] in "+-":
        hours, minutes = int(zone[1:3]), int(zone[-2:])
        offset = timezone((1 if zone[0] == "+" else -1) * timedelta(hours=hours, minutes=minutes))
    try:
        day = datetime(int(parts["y"] or 0), month, int(parts["d"] or 0), tzinfo=offset)
        return day + timedelta(hours=hour, minutes=int(parts["minute"] or 0), seconds=seconds)
    except (ValueError, OverflowError):
        return None


def _month(text: str | None) -> int:
    """Return 1 to 12 for a number or an English name, also shortened; 0 for anything else."""
    text = (text or "").lower()
    if text.isdecimal():
        return int(text) if 1 <= int(text) <= 12 else 0
    shortened = text[:3] if text == "sept" else text
    fits = [i for i, name in enumerate(_MONTHS, 1) if name == text or name[:3] == shortened]
    return fits[0] if fits else 0


def _unclear(column: str, why: str) -> TableError:
    return TableError(
        f"the dates of column {column!r} can't be read, for {why}; write them as 2021-12-31, or "
        "leave the column out with --drop"
    )


def _quoted(texts: Sequence[str]) -> str:
    return " and ".join(repr(text) for text in texts)
