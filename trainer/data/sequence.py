"""Digit strings as columns of numbers: what occurs, how often it changes, for how long, and where.

All strings are laid end to end and cut into runs, stretches of one digit; every number comes from
the runs, so that the cost is that of a few passes over the characters.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from trainer.errors import TableError


def find_symbols(strings: Sequence[object]) -> str:
    """The digits that occur, sorted; '' if none does.

    Raises TableError when a string holds another character.
    """
    digits, _ = _concatenate(strings)
    return "".join(str(digit) for digit in np.unique(digits))


def sequence_features(strings: Sequence[object], symbols: str) -> tuple[np.ndarray, list[str]]:
    """Describe each of N strings over S symbols by F = 4 + 4 S + S (S - 1) numbers.

        length, changes   characters, and how often a character differs from the one before
        change_rate       changes per pair of neighbours
        entropy           of the symbols' shares, nats
        share_a           share of the characters that are a
        longest_a         characters in the longest run of a
        first_a, last_a   its relative position, 0 start to 1 end; NaN where a does not occur
        step_a_b          share of the pairs of neighbours that go from a to another symbol b

    Whatever is not a str is missing and counts as empty, and a share of nothing is 0. A digit that
    is not a symbol counts as a character like any other, but has no columns.

    Returns (N, F) float64 and the F names. Raises TableError when a string holds another
    character than a digit.
    """
    digits, lengths = _concatenate(strings)
    n, s = len(lengths), len(symbols)
    code_of = np.full(10, s)  # s: a digit that is no symbol
    code_of[[int(symbol) for symbol in symbols]] = np.arange(s)
    runs = _find_runs(digits, lengths)
    code = code_of[runs.digit]

    cell = runs.row * (s + 1) + code
    size = n * (s + 1)
    count, longest, last = (np.zeros(size, dtype=np.int64) for _ in range(3))
    first = np.full(size, lengths.max(initial=0))
    np.add.at(count, cell, runs.length)
    np.maximum.at(longest, cell, runs.length)
    np.minimum.at(first, cell, runs.start)
    np.maximum.at(last, cell, runs.start + runs.length - 1)

    follows = runs.row[1:] == runs.row[:-1]
    step = cell[:-1] * (s + 1) + code[1:]
    steps = np.bincount(step[follows], minlength=size * (s + 1)).reshape(n, s + 1, s + 1)
    changes = np.maximum(np.bincount(runs.row, minlength=n) - 1, 0)
    pairs = np.maximum(lengths - 1, 1)[:, None]

    def by_symbol(cells: np.ndarray) -> np.ndarray:
        return cells.reshape(n, s + 1)[:, :s]

    occurs = by_symbol(count) > 0
    share = by_symbol(count) / np.maximum(lengths, 1)[:, None]
    entropy = -(share * np.log(np.where(occurs, share, 1.0))).sum(axis=1)
    columns = [
        np.column_stack([lengths, changes, changes / pairs[:, 0], entropy]),
        share,
        by_symbol(longest),
        *(np.where(occurs, by_symbol(at) / pairs, np.nan) for at in (first, last)),
        steps[:, :s, :s][:, ~np.eye(s, dtype=bool)] / pairs,
    ]
    names = ["length", "changes", "change_rate", "entropy"]
    names += [f"{kind}_{a}" for kind in ("share", "longest", "first", "last") for a in symbols]
    names += [f"step_{a}_{b}" for a in symbols for b in symbols if a != b]
    return np.hstack(columns), names


@dataclass(frozen=True)
class _Runs:
    """Runs of all strings, in order; (R,) each."""

    row: np.ndarray
    digit: np.ndarray
    start: np.ndarray  # position in its string
    length: np.ndarray


def _find_runs(digits: np.ndarray, lengths: np.ndarray) -> _Runs:
    string_start = np.cumsum(lengths) - lengths
    begins = np.ones(len(digits), dtype=bool)
    np.not_equal(digits[1:], digits[:-1], out=begins[1:])
    begins[string_start[lengths > 0]] = True
    start = np.flatnonzero(begins)
    row = np.repeat(np.arange(len(lengths)), lengths)[start]
    return _Runs(row, digits[start], start - string_start[row], np.diff(start, append=len(digits)))


def _concatenate(strings: Sequence[object]) -> tuple[np.ndarray, np.ndarray]:
    """All characters as digits (M,) 0 to 9, and the strings' lengths (N,) int64."""
    texts = [text if isinstance(text, str) else "" for text in strings]  # None or NaN: missing
    lengths = np.fromiter(map(len, texts), dtype=np.int64, count=len(texts))
    # "replace" puts one "?" for each character that is not ASCII: no digit, and lengths hold.
    digits = np.frombuffer("".join(texts).encode("ascii", "replace"), dtype=np.uint8) - ord("0")
    wrong = np.flatnonzero(digits > 9)  # characters below "0" wrap around to over 200
    if len(wrong):
        row = int(np.searchsorted(np.cumsum(lengths), wrong[0], side="right"))
        character = next(c for c in texts[row] if c not in "0123456789")
        raise TableError(
            f"the sequence column must hold digits only, got {character!r} in {texts[row][:20]!r}; "
            "write one digit a step, or name another column with --sequence"
        )
    return digits, lengths
