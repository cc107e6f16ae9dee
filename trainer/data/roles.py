"""What each column of a table is: a label, a feature of some kind, a name, or nothing."""

from dataclasses import dataclass

from trainer.errors import TableError

AS_TEXT = (  # roles whose cells stay as written
    *("group", "sequence", "id", "category", "date", "labels_from"),
)
FEATURES = ("sequence", "category", "date")  # roles of columns that are features


@dataclass(frozen=True)
class Roles:
    """What each named column is; every column not named is a feature.

    labels          columns to predict, at least one; of a column of lists the items to predict, by
                    default those that are in enough rows
    group           rows that share its value stay in one part of the split
    sequence        column of digit strings
    drop            columns to leave out
    id              columns that name a row: no features, but copied to predictions
    category        feature columns that are texts, though they may look like numbers
    date            feature columns that are dates, of which numbers are made
    labels_from     column of lists, each item of which is a label
    list_separator  between the items of such a list
    positive        values that are positive in a label column; what is not is then negative
    """

    labels: tuple[str, ...]
    group: str | None = None
    sequence: str | None = None
    drop: tuple[str, ...] = ()
    id: tuple[str, ...] = ()
    category: tuple[str, ...] = ()
    date: tuple[str, ...] = ()
    labels_from: str | None = None
    list_separator: str = "|"
    positive: tuple[str, ...] = ()

    @property
    def as_written(self) -> tuple[str, ...]:
        """Features that are no sequence, and whose texts are never taken for numbers."""
        return (*self.category, *self.date)

    @property
    def label_columns(self) -> tuple[str, ...]:
        """Columns of the table that the labels are in."""
        return self.labels if self.labels_from is None else (self.labels_from,)

    @property
    def named(self) -> list[tuple[str, str]]:
        """(role, column) of every named column; a role is its command-line flag without dashes."""
        role = "label" if self.labels_from is None else "labels_from"
        return [
            *((role, name) for name in self.label_columns),
            *((("group", self.group),) if self.group is not None else ()),
            *((("sequence", self.sequence),) if self.sequence is not None else ()),
            *(("drop", name) for name in self.drop),
            *(("id", name) for name in self.id),
            *(("category", name) for name in self.category),
            *(("date", name) for name in self.date),
        ]

    @property
    def no_features(self) -> set[str]:
        """Columns that are no features."""
        return {name for role, name in self.named if role not in FEATURES}


def check_roles(roles: Roles) -> None:
    """Raise TableError if no label is named, or a column or a label twice."""
    if not roles.label_columns:
        raise TableError("no label column is named; name at least one 0/1 column with --label")
    seen: dict[str, str] = {}
    for role, name in roles.named:
        if name in seen:
            raise TableError(
                f"column {name!r} is given to --{seen[name]} and to --{role}; give it to one, once"
            )
        seen[name] = role
    if len(set(roles.labels)) < len(roles.labels):
        raise TableError("a label is given to --label twice; give it once")
    if roles.labels_from is None:
        return
    if not roles.list_separator:
        raise TableError("--list_separator is empty; give the text between a list's items")
    if roles.positive:
        raise TableError("--positive has no effect with --labels_from; leave one of them out")
