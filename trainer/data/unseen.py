"""Texts of a new table that the train rows did not have: how many, and which spelling was meant.

To the network such a text is none of those it knows; a column full of them says nothing to it.
"""

import difflib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import pandas as pd

from trainer.data.columns import MIN_COUNT, Categories
from trainer.data.reading import MISSING_WORDS

MOST_EXAMPLES = 5


@dataclass(frozen=True)
class Unseen:
    """The values of one text column: how many there are, how many of these are strange, examples.

    Missing ones do not count. `near` maps examples to the values of the train rows most like them.
    """

    column: str
    values: int
    unseen: int
    examples: tuple[str, ...]
    near: dict[str, str]

    @property
    def sentence(self) -> str:
        """What to tell the user."""
        if self.unseen == self.values:
            what = f"none of {self.values} values was seen in training"
        else:
            what = (
                f"{self.unseen} of {self.values} values were seen in fewer than {MIN_COUNT} rows "
                "of the training, or in none"
            )
        spellings = ", ".join(f"{new!r} for {old!r}" for new, old in self.near.items())
        meant = f"; spelled otherwise there: {spellings}" if spellings else ""
        return f"{self.column}: {what}, first {self.examples[0]!r}{meant}"


def unseen_in(columns: pd.DataFrame, known: Iterable[Categories]) -> list[Unseen]:
    """Look at a frame's text columns; what any of those of one column knows has been seen."""
    of_columns: dict[str, dict[str, None]] = {}
    for category in known:
        of_columns.setdefault(category.column, {}).update(dict.fromkeys(category.values))
    return [_unseen(columns[name], tuple(values)) for name, values in of_columns.items()]


def together(first: Sequence[Unseen], then: Sequence[Unseen]) -> list[Unseen]:
    """What was found in two pieces of a table, one after the other."""
    return [
        Unseen(
            column=a.column,
            values=a.values + b.values,
            unseen=a.unseen + b.unseen,
            examples=tuple(dict.fromkeys([*a.examples, *b.examples]))[:MOST_EXAMPLES],
            near=dict([*a.near.items(), *b.near.items()][:MOST_EXAMPLES]),
        )
        for a, b in zip(first, then, strict=True)
    ]


def _unseen(values: pd.Series, known: tuple[str, ...]) -> Unseen:
    strange = ~values.isin(known)
    present = len(values)
    if strange.any():
        missing = strange & (values.isna() | values.isin(MISSING_WORDS))
        strange, present = strange & ~missing, present - int(missing.sum())
    examples = tuple(str(value) for value in values[strange].unique()[:MOST_EXAMPLES])
    near = {value: old for value in examples if (old := _nearest(value, known))}
    return Unseen(str(values.name), present, int(strange.sum()), examples, near)


def _nearest(value: str, known: Sequence[str]) -> str | None:
    """The known value that differs in case, spaces or a letter or two."""
    plain = {_plain(other): other for other in known}
    found = difflib.get_close_matches(_plain(value), plain, n=1, cutoff=0.8)
    return plain[found[0]] if found else None


def _plain(text: str) -> str:
    return " ".join(text.casefold().split())
