"""The table that the guide was written for: with no label named, it is read in these roles."""

from dataclasses import replace
from pathlib import Path

from trainer.data.cells.dialect import Dialect
from trainer.data.reading import PLAIN, read_columns
from trainer.data.table import Roles, rare_binary_columns
from trainer.errors import TableError

LABELS = ("insomnia", "restless leg", "apnea")
ID = "mesaid"
SEQUENCE = "sleep_stages"


def roles_without_labels(path: Path, roles: Roles, dialect: Dialect = PLAIN) -> Roles:
    """Return the roles of a table for which no label was named: those of the guide's own table.

    Raises TableError for any other table, with its rare 0/1 columns as candidates.
    """
    columns = read_columns(path, text=[SEQUENCE], dialect=dialect)
    if all(name in columns for name in LABELS):
        has_id = ID in columns and ID not in roles.drop
        has_sequence = SEQUENCE in columns and SEQUENCE not in roles.drop
        return replace(
            roles,
            labels=LABELS,
            sequence=roles.sequence or (SEQUENCE if has_sequence else None),
            id=roles.id or ((ID,) if has_id else ()),
        )
    rare = [f"{name} ({share:.1%})" for name, share in rare_binary_columns(columns)[:12]]
    found = f"its rare 0/1 columns are {', '.join(rare)}" if rare else "it has no rare 0/1 column"
    raise TableError(f"name the columns to predict with --label; in {path.name} {found}")
