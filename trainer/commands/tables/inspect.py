"""The command inspect, and what every command says of the table that it has read.

What inspect prints is a definition: saved to a file, `raretune search FILE` takes it.
"""

import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from trainer.commands.tables.options import dialect_of
from trainer.data.cells.dialect import Dialect
from trainer.data.files.sources import from_anywhere
from trainer.data.inspection.leakage import Leak, find_leaks
from trainer.data.inspection.summary import Summary, summarize
from trainer.data.reading import read_columns
from trainer.data.split import Split, split_rows
from trainer.data.table import Roles, Table, rare_binary_columns, read_table
from trainer.errors import ConfigError, TableError
from trainer.visible import visible


def inspect(given: Mapping[str, Any]) -> None:
    """Print what is read of a table, what looks like a leak, and its roles as a definition."""
    path, dialect = from_anywhere(given["csv"]), dialect_of(given)
    roles = roles_of(given)
    suggested = not roles.label_columns
    if suggested:
        roles = _with_suggested_labels(path, roles, dialect)
    table = read_table(path, roles, dialect)
    leaks = find_leaks(table, _usual_split(table))
    if given["json"]:
        print(json.dumps(as_json(summarize(table), table.notes, leaks), allow_nan=False))
    else:
        print("\n".join(_definition(table, leaks, suggested=suggested)))
    if given["strict"]:
        refuse(leaks)


def roles_of(given: Mapping[str, Any]) -> Roles:
    """Return what each column is, by the flags given."""
    return Roles(
        labels=tuple(given.get("label") or ()),
        group=given.get("group"),
        sequence=given.get("sequence"),
        drop=tuple(given.get("drop") or ()),
        id=tuple(given.get("id_") or ()),
        category=tuple(given.get("category") or ()),
        date=tuple(given.get("date") or ()),
        labels_from=given.get("labels_from"),
        list_separator=given.get("list_separator") or "|",
        positive=tuple(given.get("positive") or ()),
    )


def check(table: Table, split: Split, *, strict: bool) -> list[Leak]:
    """Return what looks like a leak; raises TableError for it where the reader is `strict`."""
    leaks = find_leaks(table, split)
    if strict:
        refuse(leaks)
    return leaks


def tell(table: Table, leaks: Sequence[Leak]) -> None:
    """Say on stderr what was read of a table, before it is trained on."""
    for line in (*summarize(table).lines(), *table.notes, *(leak.sentence for leak in leaks)):
        print(visible(line), file=sys.stderr)


def refuse(leaks: Sequence[Leak]) -> None:
    """Raise TableError for the first thing that looks like a leak."""
    if leaks:
        more = f" ({len(leaks) - 1} more such warnings)" if len(leaks) > 1 else ""
        raise TableError(f"--strict refuses the table: {leaks[0].sentence}{more}")


def as_json(summary: Summary, notes: Sequence[str], leaks: Sequence[Leak]) -> dict[str, Any]:
    """Return what was read as JSON types."""
    warnings = [asdict(leak) for leak in leaks]
    return {**summary.to_json(), "notes": list(notes), "warnings": warnings}


def _with_suggested_labels(path: Path, roles: Roles, dialect: Dialect) -> Roles:
    """Take the rare 0/1 columns as labels."""
    taken = {name for _, name in roles.named}
    rare = rare_binary_columns(read_columns(path, text=sorted(taken), dialect=dialect))
    names = tuple(name for name, _ in rare if name not in taken)
    if not names:
        raise TableError(
            f"{path.name} has no rare 0/1 column; name the columns to predict with --label"
        )
    return replace(roles, labels=names)


def _usual_split(table: Table) -> Split | None:
    """Return the split that a search has by default, or None where the table can't be split so."""
    with suppress(ConfigError, TableError):
        names = table.roles.labels
        return split_rows(
            table.labels, table.groups, label_names=names, val_size=0.2, test_size=0.2, seed=0
        )
    return None


def _definition(table: Table, leaks: Sequence[Leak], *, suggested: bool) -> Iterator[str]:
    for line in (*summarize(table).lines(), *table.notes):
        yield f"# {visible(line)}"
    for leak in leaks:
        yield f"# warning: {visible(leak.sentence)}"
    if suggested:
        yield "# no label was named: the rare 0/1 columns are taken for them; keep those to predict"
    yield "[table]"
    named = {
        "csv": str(table.path.resolve()),
        **vars(table.roles),
        **asdict(table.dialect),
    }
    for key, value in named.items():
        if value not in (None, (), ".", "|"):
            text = json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
            yield f"{key} = {text}"
