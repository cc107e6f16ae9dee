"""What each command does, behind search.cli, with the heavy imports."""

import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table as Grid
from rich.text import Text

from search.commands.report_commands import report_after
from search.commands.terminal import print_outcome, progress_view
from search.doctor import examine
from search.fork import fork
from search.run import Outcome, run_search
from search.session import Session, open_records, prepare
from search.store.records import count_states
from search.store.storage import default_url, shown
from search.waves.searching import open_session_study
from studies.catalogue import definition_text, describe_studies
from studies.definition import StudyDefinition, load_definition
from studies.examples import write_example
from studies.settings import parse_settings
from trainer.checkpoint import json_text
from trainer.commands.interrupt import interruptible
from trainer.commands.terminal import remark_on_speed, result_console
from trainer.errors import ConfigError, RaretuneError


def search(
    study: str,
    overrides: Mapping[str, Any],
    *,
    settings: Sequence[str],
    fork_from: str | None,
    workspace: Path,
    storage: str | None,
    device: str,
    as_json: bool,
) -> None:
    """Run a search and print what it found."""
    definition = _definition(study, _given(overrides), parse_settings(settings))
    with interruptible() as interrupt:
        session = prepare(definition, workspace, storage, device)
        remark_on_speed(session.experiment.data.device.type)
        if fork_from is not None:
            _fork(session, fork_from)
        with progress_view(Console(stderr=True), definition.name) as view:
            outcome = run_search(session, should_stop=interrupt, on_progress=view)
    if as_json:
        print(json_text(_as_json(outcome, report_after(outcome))))
    else:
        console = result_console()
        print_outcome(console, outcome)
        if page := report_after(outcome):
            console.print(Text(f"Report: {page}"), soft_wrap=True)
    if outcome.stopped:
        raise RaretuneError(f"the search gave up: {outcome.stopped}; change the space or the data")


def _fork(session: Session, name: str) -> None:
    if name == session.definition.name:
        raise ConfigError(
            f"study {name!r} can't be forked into itself; name the new one with --name"
        )
    old, _ = open_records(name, session.workspace, session.url)
    imported = fork(old, open_session_study(session), session.definition)
    print(f"{imported} trials of {name} fit the new space and were imported", file=sys.stderr)


def studies(action: str, name: str | None) -> None:
    """List the bundled studies, or print one in full."""
    if action == "show" and name is not None:
        print(definition_text(name), end="")
    elif action == "list" and name is None:
        grid = Grid.grid(padding=(0, 2))
        for study, description in describe_studies():
            grid.add_row(study, description)
        result_console().print(grid)
    else:
        raise ConfigError("give `studies`, `studies list` or `studies show NAME`")


def doctor(workspace: Path, storage: str | None, *, repair: bool, as_json: bool) -> None:
    """Print what was found; an error among it is exit status 2."""
    found = examine(storage or default_url(workspace), workspace, repair=repair)
    if as_json:
        print(json_text([asdict(finding) for finding in found]))
    else:
        lines = [
            f"{one.level:8}{one.what}" + (f"; {one.remedy}" if one.remedy else "") for one in found
        ]
        result_console().print(Text("\n".join(lines)), soft_wrap=True)
    errors = sum(finding.level == "error" for finding in found)
    if errors:
        raise RaretuneError(f"{errors} of {len(found)} findings are errors; see the remedies above")


def example(name: str, output: Path, *, rows: int | None, seed: int) -> None:
    """Write an example table and say what it is."""
    written = write_example(name, output, rows=rows, seed=seed)
    kind = "synthetic, no row describes a person" if name == "mesa" else "real"
    print(f"{written} rows of {name} ({kind}) written to {output}")


def _given(overrides: Mapping[str, Any]) -> dict[str, Any]:
    """Leave away what the command line did not name."""
    given: dict[str, Any] = {}
    for key, value in overrides.items():
        if isinstance(value, Mapping):
            value = _given(value)
        if value is not None and value != {} and value != []:
            given[key] = value
    return given


def _definition(
    study: str, overrides: dict[str, Any], settings: Mapping[str, Any]
) -> StudyDefinition:
    """Load a definition; a table named on the command line also names the study."""
    csv = overrides.get("table", {}).get("csv")
    if csv is not None and "name" not in overrides:
        stem = re.sub(r"(\.csv)?(\.gz)?(\.parquet)?$", "", csv.name)
        overrides["name"] = re.sub(r"[^A-Za-z0-9._-]+", "-", stem).strip("-._") or "study"
    return load_definition(study, overrides, settings)


def _as_json(outcome: Outcome, report: Path | None) -> dict[str, Any]:
    best, checkpoint = outcome.best, outcome.checkpoint
    record = None if checkpoint is None else checkpoint.record
    return {
        "study": outcome.session.definition.name,
        "storage": shown(outcome.session.url),
        "trials": count_states(outcome.records),
        "best": None
        if best is None
        else {"number": best.number, "value": best.value, "params": best.params},
        "validation": None if record is None else {"macro_f1": record.validation["macro_f1"]},
        "test": None if record is None else record.test,
        "checkpoint": None if record is None else str(outcome.session.best_folder),
        "report": None if report is None else str(report),
        "seconds": round(outcome.seconds, 3),
    }
