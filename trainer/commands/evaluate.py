"""The command evaluate: a checkpoint's scores on a labelled table, in print and as a page."""

import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
from rich.text import Text

from trainer.checkpoint import (
    Checkpoint,
    Record,
    json_text,
    load_checkpoint,
    other_thresholds,
)
from trainer.commands.device import one_thread
from trainer.commands.tables.options import dialect_for
from trainer.commands.terminal import (
    calibration_grid,
    label_grid,
    result_console,
    score_sentence,
)
from trainer.data.cells.dialect import Dialect
from trainer.data.digests import KnownRows, row_digests
from trainer.data.files.sources import from_anywhere
from trainer.data.reading import read_names
from trainer.data.table import Table, read_table
from trainer.errors import TableError
from trainer.experiment import ScoredRows, SplitSettings, score_rows, split_again
from trainer.pages.calibration import CALIBRATED, RAW
from trainer.pages.evaluation import CalibratedRows, write_page
from trainer.predict import unseen_texts
from trainer.scores.evaluation import LabelScores
from trainer.scores.reliability import decision_curve
from trainer.writing import beside

PAGE = "evaluation.html"
BETTER = "so the scores are better than on new rows."


@one_thread()
def evaluate(
    folder: Path,
    csv: Path,
    output: Path | None,
    written: Mapping[str, str | None],
    *,
    all_rows: bool,
    as_json: bool,
) -> None:
    """Score a checkpoint on a labelled table, print it and write its page.

    `written` says how the table is written where it is not as the training's was.
    """
    checkpoint, csv = load_checkpoint(folder), from_anywhere(csv)
    if told := other_thresholds(folder, checkpoint.record):
        print(told, file=sys.stderr)
    dialect = dialect_for(csv, checkpoint.record.dialect, written)
    table = _labelled_table(checkpoint, csv, dialect)
    rows, note = _rows_to_score(checkpoint, table, all_rows=all_rows)
    names, undefined = _defined_labels(checkpoint, table, rows)
    note = " ".join(filter(None, [note, undefined]))
    for text in unseen_texts(checkpoint, table.columns.iloc[rows]):
        if text.unseen:
            print(text.sentence, file=sys.stderr)
    scored = score_rows(checkpoint, table, rows, names)
    page = output or folder / PAGE
    record = checkpoint.record
    handed_out = record.as_handed_out(scored.to_json())
    shown = {name: LabelScores(**one) for name, one in handed_out["labels"].items()}
    write_page(
        page,
        replace(scored.scores, labels=shown),
        scored.intervals,
        scored.probabilities,
        scored.labels,
        checkpoint=str(folder),
        table=csv.name,
        note=note,
        calibrated=_calibrated(record, scored, names),
    )
    found = {
        **handed_out,
        "decision_curves": _curves(scored),
        "rows": len(rows),
        "page": str(page),
        "note": note,
    }
    with beside(page):
        if as_json:
            print(json_text(found))
        else:
            _print_scores(scored, found, csv.name)


def _print_scores(scored: ScoredRows, found: Mapping[str, Any], table: str) -> None:
    console = result_console()
    console.print(label_grid(f"{table}, {found['rows']} rows", found))
    if "calibration" in found:
        console.print(calibration_grid(found))
    macro = scored.intervals.macro["f1"]
    sentence = score_sentence("", scored.scores.macro_f1, macro).strip()
    page = f"Intervals and curves are in {found['page']}"
    lines = [f"{sentence[0].upper()}{sentence[1:]}.", found["note"], page]
    console.print(Text("\n".join(line for line in lines if line)), soft_wrap=True)


def _calibrated(record: Record, scored: ScoredRows, names: Sequence[str]) -> CalibratedRows | None:
    """Return what the page shows of calibration, if the checkpoint has one."""
    if scored.calibrated is None or record.calibrations is None:
        return None
    of_labels = dict(zip(record.labels, record.calibrations, strict=True))
    return CalibratedRows(scored.calibrated, [of_labels[name] for name in names])


def _curves(scored: ScoredRows) -> dict[str, Any]:
    """Return each label's decision curve as JSON types."""
    kinds = {RAW: scored.probabilities}
    if scored.calibrated is not None:
        kinds[CALIBRATED] = scored.calibrated
    return {
        name: asdict(
            decision_curve({kind: p[:, i] for kind, p in kinds.items()}, scored.labels[:, i])
        )
        for i, name in enumerate(scored.scores.labels)
    }


def _labelled_table(checkpoint: Checkpoint, csv: Path, dialect: Dialect) -> Table:
    """Read a table in the checkpoint's roles; columns that it did not train on are dropped."""
    roles = checkpoint.record.roles
    columns, known = read_names(csv, dialect), checkpoint.known
    wanted = {*roles.label_columns, *known.numbers, *known.text}
    group = roles.group if roles.group in columns else None
    sequence = roles.sequence if roles.sequence in wanted else None
    drop = tuple(name for name in columns if name not in wanted and name != group)
    named = replace(roles, group=group, sequence=sequence, drop=drop, id=(), category=(), date=())
    table = read_table(csv, named, dialect, known)
    for network in checkpoint.networks:
        network.features.check_names(table.columns)
    return table


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


def _rows_to_score(
    checkpoint: Checkpoint, table: Table, *, all_rows: bool
) -> tuple[np.ndarray, str]:
    """Return indices of the rows to score, and what to say of the others.

    Rows that the checkpoint was trained on are left out unless `all_rows` are asked for. They are
    known by their values; a checkpoint of an earlier version knows its table by the file alone.

    Raises TableError when no row is left.
    """
    if table.hash == checkpoint.record.table["sha256"]:
        return _of_its_own_table(checkpoint, table, all_rows=all_rows)
    rows = checkpoint.rows
    if rows is None:
        return np.arange(len(table.labels)), ""
    numbers, texts = checkpoint.number_columns, checkpoint.text_columns
    digests = row_digests(table.columns, numbers, texts, table.labels, rows.salt)
    return _not_among(rows, digests, table, all_rows=all_rows)


def _of_its_own_table(
    checkpoint: Checkpoint, table: Table, *, all_rows: bool
) -> tuple[np.ndarray, str]:
    split = checkpoint.record.split
    settings = SplitSettings(split["val_size"], split["test_size"], split["seed"])
    test, every = split_again(table, settings).test, np.arange(len(table.labels))
    if all_rows or not len(test):
        if not all_rows and checkpoint.rows is not None:
            raise _none_left(table)
        trained = len(every) - len(test)
        return every, f"{trained} of these {len(every)} rows were trained on, {BETTER}"
    return test, "The checkpoint was trained on this table, so only its test rows are scored."


def _not_among(
    rows: KnownRows, digests: np.ndarray, table: Table, *, all_rows: bool
) -> tuple[np.ndarray, str]:
    every, n = np.arange(len(digests)), len(digests)
    trained = rows.trained_on(digests)
    count = int(trained.sum())
    if not count:
        return every, ""
    if rows.by_chance(digests):
        return every, (
            f"{count} of these {n} rows have the values of rows that were trained on, no more than "
            "new rows of such a table have by chance, so they are scored too."
        )
    said = f"{count} of these {n} rows were trained on"
    if all_rows:
        return every, f"{said}, {BETTER}"
    if count == n:
        raise _none_left(table)
    left = f"the other {n - count} are" if n - count > 1 else "the other one is"
    return np.flatnonzero(~trained), f"{said}, so only {left} scored (--all_rows scores all)."


def _none_left(table: Table) -> TableError:
    return TableError(
        f"each of the {len(table.labels)} rows of {table.path.name} was trained on, so none is "
        "left to score; name a table with new rows, or score them all the same with --all_rows"
    )
