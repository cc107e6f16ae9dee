"""`raretune search`: a definition from flags, its search, and what is printed of it."""

import hashlib
import os
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.text import Text

from search.appraisal.ensemble import to_json
from search.commands.report import report_after
from search.commands.terminal import print_outcome, progress_view
from search.fork import fork
from search.reopen import open_study_at
from search.run import Outcome, run_search
from search.session import Session, prepare
from search.store.complaints import without_password
from search.store.records import count_states
from search.waves.searching import open_session_study
from search.waves.workers import affordable
from search.workspace import Place, Workspace
from studies.assignments import parse_assignments
from studies.definition import StudyDefinition, load_definition
from trainer.checkpoint import Record, json_text
from trainer.commands.device import one_thread
from trainer.commands.interrupt import interruptible
from trainer.commands.tables.inspect import check, tell
from trainer.commands.terminal import progress_console, remark_on_speed, result_console
from trainer.data.files.sources import from_anywhere, stem_of
from trainer.data.inspection.summary import summarize
from trainer.errors import ConfigError, RaretuneError

LONGEST_NAME = 80  # letters of a file's name that go into its study's


@one_thread()
def search(
    study: str,
    overrides: Mapping[str, Any],
    *,
    assignments: Sequence[str],
    fork_from: str | None,
    workspace: Workspace,
    storage: str | None,
    certify: bool | None,
    device: str,
    as_json: bool,
    strict: bool = False,
) -> None:
    """Run a search and print what it found."""
    definition = _bounded(_definition(study, _given(overrides), parse_assignments(assignments)))
    with interruptible() as interrupt:
        workspace.make()
        session = prepare(definition, workspace, storage, device, forked=fork_from)
        leaks = check(session.experiment.table, session.experiment.split, strict=strict)
        open_session_study(session)  # what is refused is refused without another word
        tell(session.experiment.table, leaks)
        if session.why_folds:
            print(session.why_folds, file=sys.stderr)
        remark_on_speed(session.experiment.data.device.type)
        if fork_from is not None:
            _fork(session, fork_from)
        with progress_view(progress_console(), definition.name) as view:
            outcome = run_search(
                session,
                should_stop=interrupt,
                on_progress=view,
                on_step=view.at,
                certify=certify,
            )
    if as_json:
        print(json_text(_as_json(outcome, report_after(outcome))))
    else:
        console = result_console()
        print_outcome(console, outcome)
        if page := report_after(outcome):
            console.print(Text(f"Report: {page}"), soft_wrap=True)
    if outcome.gave_up:
        raise RaretuneError(f"the search gave up: {outcome.gave_up}; change the space or the data")


def _fork(session: Session, name: str) -> None:
    if name == session.definition.name:
        raise ConfigError(
            f"study {name!r} can't be forked into itself; name the new one with --name"
        )
    old = open_study_at(Place(name, session.workspace, session.url))
    imported = fork(old, open_session_study(session), session.definition)
    print(f"{imported} trials of {name} fit the new space and were imported", file=sys.stderr)


def _given(overrides: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values that the command line named."""
    given: dict[str, Any] = {}
    for key, value in overrides.items():
        if isinstance(value, Mapping):
            value = _given(value)
        if value is not None and value != {} and value != []:
            given[key] = value
    return given


def _definition(
    study: str, overrides: dict[str, Any], assignments: Mapping[str, Any]
) -> StudyDefinition:
    """Load a definition; a table named on the command line also names the study."""
    csv = overrides.get("table", {}).get("csv")
    if csv is not None:
        csv = overrides["table"]["csv"] = from_anywhere(csv)
    if csv is not None and "name" not in overrides:
        overrides["name"] = study_name(csv)
    return load_definition(study, overrides, assignments)


def study_name(csv: Path) -> str:
    """Return the name of a table's study: its file's, in letters that every file system has.

    Where letters or digits of the file's name are lost so, a digest of it keeps the studies of two
    files apart.
    """
    stem = stem_of(csv)
    name = re.sub(r"[^A-Za-z0-9._-]+", "-", stem).strip("-._")[:LONGEST_NAME] or "study"
    if len(stem) <= LONGEST_NAME and all(c.isascii() or not c.isalnum() for c in stem):
        return name
    return f"{name}-{hashlib.sha256(os.fsencode(stem)).hexdigest()[:8]}"


def _bounded(definition: StudyDefinition) -> StudyDefinition:
    """Start no more workers than help, and say so."""
    workers, why = affordable(definition.workers, definition.budget.trials)
    if workers == definition.workers:
        return definition
    print(
        f"{workers} workers are started, not {definition.workers}, for {why}",
        file=sys.stderr,
    )
    return definition.model_copy(update={"workers": workers})


def _validation(outcome: Outcome, record: Record) -> dict[str, Any]:
    """Return the validated macro-F1, corrected for the search where that is known."""
    uncorrected, corrected = record.validation["macro_f1"], outcome.corrected
    return {
        "macro_f1": uncorrected if corrected is None else corrected.value,
        "interval": None if corrected is None else corrected.interval,
        "uncorrected_macro_f1": uncorrected,
        "folds": outcome.session.experiment.settings.folds,
        "repeats": outcome.session.experiment.settings.repeats,
        "doubts": record.doubts,
        "calibration": record.validation.get("calibration", {}),
    }


def _ensemble(outcome: Outcome) -> dict[str, Any] | None:
    if outcome.assembled is None:
        return None
    test = outcome.assembled.checkpoint.record.test_as_handed_out
    return to_json(outcome.assembled.ensemble, test, outcome.session.ensemble_folder)


def _as_json(outcome: Outcome, report: Path | None) -> dict[str, Any]:
    best, checkpoint = outcome.best, outcome.checkpoint
    record = None if checkpoint is None else checkpoint.record
    certificate = outcome.certified.certificate
    return {
        "study": outcome.session.definition.name,
        "columns": summarize(outcome.session.experiment.table).to_json(),
        "storage": without_password(outcome.session.url),
        "trials": count_states(outcome.records),
        "best": None
        if best is None
        else {"number": best.number, "value": best.value, "params": best.params},
        "validation": None if record is None else _validation(outcome, record),
        "baselines": None if outcome.comparison is None else outcome.comparison.to_json(),
        "test": None if record is None else record.test_as_handed_out,
        "certificate": None if certificate is None else certificate.to_json(),
        "checkpoint": None if record is None else str(outcome.session.best_folder),
        "ensemble": _ensemble(outcome),
        "report": None if report is None else str(report),
        "seconds": round(outcome.seconds, 3),
    }
