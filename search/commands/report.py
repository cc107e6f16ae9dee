"""`raretune report`, and the page that every search ends with."""

import sys
from pathlib import Path

from search.evidence.evidence import stored
from search.export import current_evidence
from search.reopen import open_study_at, reopen
from search.report.page import write_report
from search.run import Outcome
from search.workspace import Place
from trainer.commands.device import one_thread
from trainer.errors import RaretuneError


@one_thread()
def report(place: Place, output: Path | None) -> None:
    """Write a study's page and print where it is."""
    study = open_study_at(place)
    path = output or place.workspace.report(place.name)
    evidence = current_evidence(study, lambda: reopen(place)[1])
    write_report(path, study, evidence, place.best)
    print(path)


def report_after(outcome: Outcome) -> Path | None:
    """Write the page of a search that has a best trial and return its path.

    What keeps it from being written is told on stderr, and loses nothing of the search.
    """
    if outcome.best is None:
        return None
    session = outcome.session
    place = Place(session.definition.name, session.workspace, session.url)
    path = session.workspace.report(place.name)
    try:
        study = open_study_at(place)
        write_report(path, study, stored(study, outcome.best.number), place.best)
    except RaretuneError as error:
        print(f"the report is not written: {error}", file=sys.stderr)
        return None
    return path
