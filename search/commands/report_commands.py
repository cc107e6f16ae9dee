"""What report does, by command and at the end of a search."""

import sys
from pathlib import Path

from search.evidence.evidence import stored
from search.export import current_evidence
from search.report.page import REPORT, write_report
from search.run import Outcome
from search.session import Session, open_records, reopen
from trainer.errors import RaretuneError


def report(
    name: str,
    output: Path | None,
    workspace: Path,
    url: str | None,
    table: Path | None,
    device: str,
) -> None:
    """Write a study's page and print where it is."""
    study, _ = open_records(name, workspace, url)

    def reopened() -> Session:
        return reopen(name, workspace, url, table, device)[1]

    path = output or workspace / name / REPORT
    evidence = current_evidence(study, reopened)
    write_report(path, study, evidence, workspace / name / "best")
    print(path)


def report_after(outcome: Outcome) -> Path | None:
    """Write the page of a search that has a best trial and return its path.

    What keeps it from being written is told on stderr, and loses nothing of the search.
    """
    if outcome.best is None:
        return None
    session = outcome.session
    path = session.workspace / session.definition.name / REPORT
    try:
        study, _ = open_records(session.definition.name, session.workspace, session.url)
        write_report(path, study, stored(study, outcome.best.number), session.best_folder)
    except RaretuneError as error:
        print(f"the report is not written: {error}", file=sys.stderr)
        return None
    return path
