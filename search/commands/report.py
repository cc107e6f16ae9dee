"""`raretune report`, and the page that every search ends with."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import optuna

from search.commands.trials import warn_of_another
from search.evidence.evidence import Evidence, stored, up_to_date
from search.reopen import open_study_at, stored_definition
from search.report.page import write_report
from search.store.records import complete, read_records
from search.workspace import Place
from trainer.commands.device import one_thread
from trainer.errors import RaretuneError
from trainer.writing import beside

if TYPE_CHECKING:
    from search.run import Outcome


@one_thread()
def report(place: Place, output: Path | None) -> None:
    """Write a study's page and print where it is."""
    study = open_study_at(place)
    stored_definition(study)
    path = output or place.workspace.report(place.name)
    write_report(path, study, _evidence(study, place), place.best)
    ranked = complete(read_records(study))
    if ranked and place.best.exists():
        warn_of_another(place.best, study, ranked[0])
    with beside(path):
        print(path)


def _evidence(study: optuna.Study, place: Place) -> Evidence | None:
    """Return the best trial's evidence: what is kept, else gathered from the table and kept."""
    records = read_records(study)
    evidence = up_to_date(study, records)
    if evidence is None and complete(records):
        from search.export import (
            current_evidence,  # all of torch's training, which is seldom needed
        )
        from search.reopen import reopen

        return current_evidence(study, lambda: reopen(place)[1])
    return evidence


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
