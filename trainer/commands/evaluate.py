"""The command evaluate: a checkpoint's scores on a labelled table, in print and as a page."""

from pathlib import Path

import numpy as np
from rich.text import Text

from trainer.checkpoint import Checkpoint, json_text, load_checkpoint
from trainer.commands.device import one_thread
from trainer.commands.terminal import label_grid, result_console, score_sentence
from trainer.data.reading import read_columns
from trainer.data.table import Roles, Table, read_table
from trainer.experiment import SplitSettings, score_rows, split_again
from trainer.pages.evaluation import write_page

PAGE = "evaluation.html"


@one_thread()
def evaluate(folder: Path, csv: Path, output: Path | None, *, as_json: bool) -> None:
    """Score a checkpoint on a labelled table, print it and write its page."""
    checkpoint = load_checkpoint(folder)
    table = _labelled_table(checkpoint, csv)
    rows, note = _fair_rows(checkpoint, table)
    scored = score_rows(checkpoint, table, rows)
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
    found = {**scored.to_json(), "page": str(page)}
    if as_json:
        print(json_text({**found, "rows": len(rows), "note": note}))
        return
    console = result_console()
    console.print(label_grid(f"{csv.name}, {len(rows)} rows", found))
    macro = scored.intervals.macro["f1"]
    sentence = score_sentence("", scored.scores.macro_f1, macro).strip()
    lines = [f"{sentence[0].upper()}{sentence[1:]}.", note, f"Intervals and curves are in {page}"]
    console.print(Text("\n".join(line for line in lines if line)), soft_wrap=True)


def _labelled_table(checkpoint: Checkpoint, csv: Path) -> Table:
    """Read a table in the checkpoint's roles; columns that it did not train on are dropped."""
    roles = checkpoint.record.roles
    columns = read_columns(csv).columns
    wanted = {*roles.labels, *checkpoint.number_columns, *checkpoint.text_columns}
    group = roles.group if roles.group in columns else None
    drop = tuple(name for name in columns if name not in wanted and name != group)
    return read_table(csv, Roles(roles.labels, group, roles.sequence, drop))


def _fair_rows(checkpoint: Checkpoint, table: Table) -> tuple[np.ndarray, str]:
    """Return the rows to score, and what to say: of the training table, the test rows alone."""
    record = checkpoint.record
    every = np.arange(len(table.labels))
    if table.hash != record.table["sha256"]:
        return every, ""
    settings = SplitSettings(*(record.split[key] for key in ("val_size", "test_size", "seed")))
    test = split_again(table, settings).test
    if len(test):
        return test, "This is the table it was trained on: its test rows alone are scored."
    return every, "It was trained on these very rows, so the scores flatter."
