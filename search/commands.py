"""What each command does, behind search.cli, with the heavy imports."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.console import Console

from search.records import count_states
from search.session import Outcome, prepare, run_search
from search.storage import shown
from search.terminal import print_outcome, progress_view
from studies.definition import StudyDefinition, load_definition
from studies.examples import write_example
from trainer.checkpoint import json_text
from trainer.interrupt import interruptible
from trainer.terminal import result_console


def search(
    study: str,
    overrides: Mapping[str, Any],
    *,
    workspace: Path,
    storage: str | None,
    device: str,
    as_json: bool,
) -> None:
    """Run a search and print what it found."""
    definition = _definition(study, _given(overrides))
    progress = Console(stderr=True)
    with interruptible() as interrupt:
        session = prepare(definition, workspace, storage, device)
        with progress_view(progress, definition.name) as view:
            outcome = run_search(session, should_stop=interrupt, on_progress=view)
    if as_json:
        print(json_text(_as_json(outcome)))
    else:
        print_outcome(result_console(), outcome)


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


def _definition(study: str, overrides: dict[str, Any]) -> StudyDefinition:
    """Load a definition; a table named on the command line also names the study."""
    csv = overrides.get("table", {}).get("csv")
    if csv is not None and "name" not in overrides:
        stem = re.sub(r"(\.csv)?(\.gz)?(\.parquet)?$", "", csv.name)
        overrides["name"] = re.sub(r"[^A-Za-z0-9._-]+", "-", stem).strip("-._") or "study"
    return load_definition(study, overrides)


def _as_json(outcome: Outcome) -> dict[str, Any]:
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
        "seconds": round(outcome.seconds, 3),
    }
