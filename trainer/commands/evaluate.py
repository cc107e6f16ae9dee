"""The command evaluate: a checkpoint's scores on a labelled table, in print and as a page."""

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from rich.text import Text

from trainer.checkpoint import Checkpoint, json_text, load_checkpoint
from trainer.commands.device import one_thread
from trainer.commands.terminal import label_grid, result_console, score_sentence
from trainer.data.reading import read_names
from trainer.data.table import Roles, Table, read_table
from trainer.errors import TableError
from trainer.experiment import ScoredRows, SplitSettings, score_rows, split_again
from trainer.pages.evaluation import write_page
from trainer.predict import unseen_texts
from trainer.writing import beside

PAGE = "evaluation.html"


@one_thread()
def evaluate(folder: Path, csv: Path, output: Path | None, *, as_json: bool) -> None:
    """Score a checkpoint on a labelled table, print it and write its page."""
    checkpoint = load_checkpoint(folder)
    table = _labelled_table(checkpoint, csv)
    rows, note = _fair_rows(checkpoint, table)
    names, undefined = _defined_labels(checkpoint, table, rows)
    note = " ".join(filter(None, [note, undefined]))
    for text in unseen_texts(checkpoint, table.columns.iloc[rows]):
        if text.unseen:
            print(text.sentence, file=sys.stderr)
    scored = score_rows(checkpoint, table, rows, names)
    page = output or folder / PAGE
    write_page(
        page,
        scored.scores,
        scored.intervals,
        scored.probabilities,
        scored.labels,
        checkpoint=str(folder),
        table=csv.name,
        note=note,
    )
    found = {**scored.to_json(), "rows": len(rows), "page": str(page), "note": note}
    with beside(page):
        if as_json:
            print(json_text(found))
        else:
            _print_scores(scored, found, csv.name)


def _print_scores(scored: ScoredRows, found: Mapping[str, Any], table: str) -> None:
    console = result_console()
    console.print(label_grid(f"{table}, {found['rows']} rows", found))
    macro = scored.intervals.macro["f1"]
    sentence = score_sentence("", scored.scores.macro_f1, macro).strip()
    page = f"Intervals and curves are in {found['page']}"
    lines = [f"{sentence[0].upper()}{sentence[1:]}.", found["note"], page]
    console.print(Text("\n".join(line for line in lines if line)), soft_wrap=True)


def _labelled_table(checkpoint: Checkpoint, csv: Path) -> Table:
    """Read a table in the checkpoint's roles; columns that it did not train on are dropped."""
    roles = checkpoint.record.roles
    columns = read_names(csv)
    wanted = {*roles.labels, *checkpoint.number_columns, *checkpoint.text_columns}
    group = roles.group if roles.group in columns else None
    sequence = roles.sequence if roles.sequence in wanted else None
    drop = tuple(name for name in columns if name not in wanted and name != group)
    return read_table(csv, Roles(roles.labels, group, sequence, drop), checkpoint.text_columns)


def _defined_labels(
    checkpoint: Checkpoint, table: Table, rows: np.ndarray
) -> tuple[list[str], str]:
    """Return the labels that the rows hold both values of, and what to say of the others.

    Raises TableError when there is none.
    """
    positives = dict(zip(checkpoint.record.labels, table.labels[rows].sum(axis=0), strict=True))
    none = [name for name, count in positives.items() if count == 0]
    all_ = [name for name, count in positives.items() if count == len(rows)]
    said = [
        f"{', '.join(names)}: {what} of these {len(rows)} rows is positive, so it has no scores "
        "here and no part in the means."
        for names, what in ((none, "none"), (all_, "each"))
        if names
    ]
    defined = [name for name in positives if name not in (*none, *all_)]
    if not defined:
        raise TableError(
            f"{table.path.name} can't be scored: no label has both values in the {len(rows)} rows "
            f"to score; {' '.join(said)} name a table with positives and negatives"
        )
    return defined, " ".join(said)


def _fair_rows(checkpoint: Checkpoint, table: Table) -> tuple[np.ndarray, str]:
    """Return the rows to score, and what to say: of the training table, the test rows alone."""
    record = checkpoint.record
    every = np.arange(len(table.labels))
    if table.hash != record.table["sha256"]:
        return every, ""
    split = record.split
    settings = SplitSettings(split["val_size"], split["test_size"], split["seed"])
    test = split_again(table, settings).test
    if len(test):
        return test, "The checkpoint was trained on this table, so only its test rows are scored."
    return (
        every,
        "The checkpoint was trained on these rows, so the scores are better than on new rows.",
    )
