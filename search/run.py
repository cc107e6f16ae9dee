"""A whole search: one process or several, then the best trial exported and tested once."""

import time
from collections.abc import Callable

from search.artifacts import Shelf
from search.export import export_best
from search.notes import annotate
from search.progress import Progress
from search.records import read_records
from search.session import Outcome, Session, begin, search_study
from search.storage import explained
from search.workers import run_workers


def run_search(
    session: Session,
    *,
    should_stop: Callable[[], bool],
    on_progress: Callable[[Progress], None],
) -> Outcome:
    """Search until the budget is spent or `should_stop`; export the best; look at test once."""
    started = time.monotonic()
    timeout = session.definition.budget.timeout_seconds

    def stop() -> bool:
        return should_stop() or bool(timeout and time.monotonic() - started > timeout)

    with explained(session.url):
        return _search(session, stop, on_progress, started)


def _search(
    session: Session,
    stop: Callable[[], bool],
    on_progress: Callable[[Progress], None],
    started: float,
) -> Outcome:
    study = begin(session)
    workers = session.definition.workers
    if workers == 1:
        progress = search_study(session, should_stop=stop, on_progress=on_progress)
    else:
        progress = run_workers(session, study, workers, should_stop=stop, on_progress=on_progress)
    checkpoint = export_best(session, study, Shelf(study, session.shelf_folder))
    annotate(study, session.workspace, session.url)
    return Outcome(
        session=session,
        records=read_records(study),
        checkpoint=checkpoint,
        seconds=time.monotonic() - started,
        stopped_early=progress.done < progress.total,
        stopped=progress.stopped,
    )
