"""Texts that are numbers, that stand for a missing one, or that almost are numbers.

What almost is a number (`<0.5`, `12 mg`, `1,5`) is never guessed: `remedies` says which flag of the
command line settles what it means.
"""

import itertools
import re
import shlex
from collections import Counter
from collections.abc import Sequence
from functools import cache
from typing import Literal

import pyarrow as pa
from pyarrow import compute, csv

from trainer.data.cells.dialect import THOUSANDS, Dialect

MISSING_WORDS = frozenset(csv.ConvertOptions().null_values) - {""}  # NA, null, NaN, N/A, ...
USUAL = frozenset(["?", ".", "-", "--", "na", "n/a", "none", "unknown", "missing"])  # in any case
TOKENS = USUAL | {word.lower() for word in MISSING_WORDS}

_POINTS: tuple[Literal[".", ","], ...] = (".", ",")
_WAYS = [
    Dialect(decimal=decimal, thousands=thousands)
    for decimal in _POINTS
    for thousands in (None, *THOUSANDS)
    if decimal != thousands
]
_LIKE = re.compile(
    r"[<>\u2264\u2265~=]*\s*(?P<number>[+-]?\d[\d.,'\u2019_ \u00a0\u202f]*(?:[eE][+-]?\d+)?)"
    r"\s*(?P<unit>(?:[^\W\d_]|[%\u00b0])\S*)?"
)


def is_token(text: str, dialect: Dialect) -> bool:
    """Whether a text stands for a missing number: a usual one, or one that the dialect names."""
    return text.strip().lower() in TOKENS or text.strip() in dialect.missing


@cache
def null_texts(missing: tuple[str, ...]) -> list[str]:
    """Return all spellings of a missing number, for a reader that compares letter by letter."""
    spelled = {
        "".join(letters)
        for word in USUAL
        for letters in itertools.product(*({c.lower(), c.upper()} for c in word))
    }
    words = {*spelled, *MISSING_WORDS, *missing}
    return ["", *sorted(words | {f" {word}" for word in words})]


def to_numbers(texts: pa.Array, dialect: Dialect) -> pa.Array:
    """Return float64 numbers, null for a text that is none in the dialect."""
    texts = compute.utf8_trim_whitespace(texts)
    decimal = re.escape(dialect.decimal)
    if dialect.thousands is not None:
        groups = rf"^[+-]?\d{{1,3}}({re.escape(dialect.thousands)}\d{{3}})+({decimal}\d*)?$"
        grouped = compute.match_substring_regex(texts, groups)
        whole = compute.replace_substring(texts, dialect.thousands, "")
        texts = compute.if_else(grouped, whole, texts)
    number = rf"^[+-]?((\d+{decimal}?\d*|{decimal}\d+)([eE][+-]?\d+)?|(?i:inf|infinity))$"
    is_number = compute.match_substring_regex(texts, number)
    plain = compute.if_else(is_number, texts, pa.scalar(None, texts.type))
    if dialect.decimal != ".":
        plain = compute.replace_substring(plain, dialect.decimal, ".")
    return compute.utf8_ltrim(plain, characters="+").cast(pa.float64())


def almost_numbers(texts: Sequence[str], share: float) -> bool:
    """Whether most of the texts would be numbers in another dialect, or with one unit taken away.

    `share` is how many must be, from 0 to 1.
    """
    found = [match for text in texts if (match := _LIKE.fullmatch(text.strip()))]
    units = Counter(match["unit"] for match in found)
    if not found or max(units.values()) < share * len(texts):
        return False
    numbers = pa.array([match["number"] for match in found], pa.string())
    return any(
        len(found) - to_numbers(numbers, way).null_count >= share * len(texts) for way in _WAYS
    )


def remedies(column: str, others: Sequence[str], dialect: Dialect) -> str:
    """Return which flags settle what these texts of a number column mean."""
    name = shlex.quote(column)
    drop = f"leave the column out with --drop {name}, or keep its texts as categories with "
    drop += f"--category {name}"
    if flag := _written_otherwise(others, dialect):
        return f"say how its numbers are written with {flag}, {drop}"
    tokens = " ".join(f"--missing {shlex.quote(text.strip())}" for text in others[:2])
    more = " and so on" if len(others) > 2 else ""
    return f"make them missing with {tokens}{more}, write numbers, {drop}"


def _written_otherwise(others: Sequence[str], dialect: Dialect) -> str:
    """Return the flags under which all of these texts are numbers; "" if there are none."""
    texts = pa.array(others, pa.string())
    fits = []
    for way in _WAYS:
        if not to_numbers(texts, way).null_count:
            flags = [f"--decimal {way.decimal}"] if way.decimal != dialect.decimal else []
            if way.thousands is not None and way.thousands != dialect.thousands:
                flags.append(f"--thousands {shlex.quote(way.thousands)}")
            fits.append(flags)
    fewest = min(map(len, fits), default=0)
    return " or ".join(dict.fromkeys(" ".join(flags) for flags in fits if len(flags) == fewest))
