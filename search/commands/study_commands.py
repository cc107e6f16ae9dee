"""What is done with a study after its search: look, export, train again, confirm."""

import csv
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.table import Table as Grid
from rich.text import Text

from search.export import checkpoint_of
from search.retrain import OverSeeds, over_seeds, refit, retrain
from search.session import Session, open_records, reopen
from search.store.artifacts import Shelf
from search.store.attributes import CONFIRMED
from search.store.records import TrialRecord, complete, read_records
from trainer.checkpoint import check_replaceable, json_text, save_checkpoint
from trainer.commands.terminal import label_grid, result_console, score_sentence
from trainer.errors import ConfigError


def trials(name: str, workspace: Path, url: str | None, *, as_json: bool) -> None:
    """Print a study's ended trials, as CSV or as JSON."""
    study, _ = open_records(name, workspace, url)
    records = read_records(study)
    if as_json:
        print(json_text([asdict(record) for record in records]))
        return
    rows = [_flat(record) for record in records]
    columns = dict.fromkeys(key for row in rows for key in row)
    writer = csv.DictWriter(sys.stdout, fieldnames=list(columns), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)


def _flat(record: TrialRecord) -> dict[str, Any]:
    row = asdict(record)
    params, scores = row.pop("params"), row.pop("scores")
    for key in ("config", "environment"):
        row.pop(key)
    flat: dict[str, Any] = row | params
    return flat | {f"validation_{k}": v for k, v in scores.items() if k != "epoch"}


def best(name: str, workspace: Path, url: str | None, *, as_json: bool) -> None:
    """Print a study's best trial."""
    study, _ = open_records(name, workspace, url)
    record = pick(read_records(study), None)
    found = {
        "study": name,
        "number": record.number,
        "value": record.value,
        "params": record.params,
        "scores": record.scores,
        "best_epoch": record.best_epoch,
        "checkpoint": str(workspace / name / "best"),
    }
    if as_json:
        print(json_text(found))
        return
    lines = [f"trial {record.number} of {name}: {record.value:.4f} in epoch {record.best_epoch}"]
    lines += [f"  {key} = {value}" for key, value in record.params.items()]
    result_console().print(Text("\n".join(lines)), soft_wrap=True)


def pick(records: Sequence[TrialRecord], number: int | None) -> TrialRecord:
    """Return the trial of a number, or the best complete one; raises ConfigError."""
    if number is None:
        ranked = complete(records)
        if not ranked:
            raise ConfigError("no trial of this study is complete yet; search on, or name --trial")
        return ranked[0]
    for record in records:
        if record.number == number:
            return record
    raise ConfigError(f"no trial {number} has ended in this study; it has {len(records)} trials")


def export(
    name: str,
    output: Path,
    number: int | None,
    workspace: Path,
    url: str | None,
    table: Path | None,
    device: str,
) -> None:
    """Write a trial's checkpoint: the one kept, or trained again to the same bits."""
    check_replaceable(output)
    study, session = reopen(name, workspace, url, table, device)
    record = pick(read_records(study), number)
    shelf = Shelf(study, session.shelf_folder)
    save_checkpoint(output, checkpoint_of(session, study, shelf, record))
    print(f"trial {record.number} of {name} written to {output}")


def train_again(
    name: str,
    output: Path,
    number: int | None,
    workspace: Path,
    url: str | None,
    table: Path | None,
    device: str,
    *,
    refit_rows: str | None,
    seeds: int,
    as_json: bool,
) -> None:
    """Train a trial alone, compare with what was stored, and write its checkpoint."""
    if refit_rows not in (None, "all"):
        raise ConfigError(f"--refit {refit_rows!r} is not known; the only choice is all")
    check_replaceable(output)
    study, session = reopen(name, workspace, url, table, device)
    record = pick(read_records(study), number)
    again = retrain(session, record)
    checkpoint = again.checkpoint if refit_rows is None else refit(session, record)
    save_checkpoint(output, checkpoint)
    spread = over_seeds(session, [record], seeds)[0] if seeds > 1 else None
    if as_json:
        found = {
            "study": name,
            "number": record.number,
            "reproduced": not again.difference,
            "difference": again.difference,
            "refit": refit_rows,
            "validation": {"macro_f1": checkpoint.record.validation["macro_f1"]},
            "test": checkpoint.record.test,
            "seeds": None if spread is None else _seeds_json(spread),
            "checkpoint": str(output),
        }
        print(json_text(found))
        return
    lines = [
        f"Trial {record.number} of {name}: reproduced exactly."
        if not again.difference
        else f"Trial {record.number} of {name} came out differently: {again.difference}."
    ]
    if refit_rows:
        lines.append("Then refitted on train and validation rows; thresholds are cross-fitted.")
    if spread is not None:
        lines.append(
            f"Over {len(spread.values)} fresh seeds: {spread.mean:.4f} +- {spread.spread:.4f} "
            f"(searched: {spread.searched:.4f})."
        )
    console = result_console()
    if checkpoint.record.test is not None:
        console.print(label_grid("Test rows", checkpoint.record.test))
        macro = checkpoint.record.test["intervals"]["macro"]["f1"]
        lines.append(score_sentence("Test", checkpoint.record.test["macro_f1"], macro) + ".")
    lines.append(f"Its checkpoint is {output}")
    console.print(Text("\n".join(lines)), soft_wrap=True)


def confirm(
    name: str,
    workspace: Path,
    url: str | None,
    table: Path | None,
    device: str,
    *,
    top: int,
    seeds: int,
    as_json: bool,
) -> None:
    """Train the best trials over fresh seeds and name the winner by the mean."""
    if top < 1 or seeds < 1:
        raise ConfigError("--top and --seeds must be at least 1")
    study, session = reopen(name, workspace, url, table, device)
    leaders = complete(read_records(study))[:top]
    if not leaders:
        raise ConfigError(f"no trial of {name} is complete yet; search on first")
    found = over_seeds(session, leaders, seeds)
    study.set_user_attr(CONFIRMED, [_seeds_json(one) for one in found])
    if as_json:
        print(json_text({"winner": found[0].number, "trials": [_seeds_json(one) for one in found]}))
        return
    console = result_console()
    console.print(_confirmed(found, session))
    lines = [
        f"The winner by the mean over {seeds} fresh seeds is trial {found[0].number}; "
        f"a search's best score is partly luck, this mean is not.",
        f"  raretune retrain {name} --trial {found[0].number} --output {name}-confirmed",
    ]
    console.print(Text("\n".join(lines)), soft_wrap=True)


def _confirmed(found: Sequence[OverSeeds], session: Session) -> Grid:
    grid = Grid(title=f"Validated {session.definition.objective} over seeds", title_justify="left")
    for heading in ("trial", "mean", "spread", "lowest", "highest", "searched"):
        grid.add_column(heading, justify="right")
    for one in found:
        numbers = (one.mean, one.spread, min(one.values), max(one.values), one.searched)
        grid.add_row(str(one.number), *(f"{number:.4f}" for number in numbers))
    return grid


def _seeds_json(one: OverSeeds) -> dict[str, Any]:
    return {**asdict(one), "mean": one.mean, "spread": one.spread}
