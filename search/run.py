"""A whole search: one process or several, then best trial and ensemble, each tested once."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

import optuna

from search.appraisal.assemble import LEAST, Assembled, make_ensemble
from search.appraisal.baselines import ENSEMBLE, Comparison, store
from search.appraisal.certifying import NOT_CERTIFIED, Certified, certify_after
from search.appraisal.comparing import Find, compare
from search.appraisal.corrected import corrected_macro_f1
from search.dashboard.notes import annotate
from search.export import export_best
from search.session import Session
from search.store.artifacts import Shelf
from search.store.complaints import explained, tell
from search.store.records import TrialRecord, complete, read_records
from search.store.stale import drop_retries
from search.store.storage import storage_file, while_it_exists
from search.store.transactions import backend
from search.store.watch import DatabaseGoneError, rescue
from search.waves.progress import Progress
from search.waves.runs import StoppedError
from search.waves.searching import begin, search_study
from search.waves.workers import run_workers
from search.workspace import file_url
from trainer.checkpoint import Checkpoint
from trainer.errors import ConfigError, RaretuneError
from trainer.scores.selection import Corrected


@dataclass(frozen=True)
class Outcome:
    """What a search found. `checkpoint` is None if no trial ended complete.

    `assembled` is the ensemble of its best trials, None if there is none. `comparison` has the
    baselines, if they were asked for and nobody ended the search before. `certified` is what the
    best trial's remedies are worth.

    `unfinished` is whether trials of the budget are left; `gave_up` says why the search ended
    before, if it did so by itself.
    """

    session: Session
    records: list[TrialRecord]
    checkpoint: Checkpoint | None
    seconds: float
    unfinished: bool
    gave_up: str
    assembled: Assembled | None = None
    comparison: Comparison | None = None
    certified: Certified = NOT_CERTIFIED

    @property
    def corrected(self) -> Corrected | None:
        """The best trial's macro-F1, corrected for the search; None if that is not known."""
        return corrected_macro_f1(self.records)

    @property
    def best(self) -> TrialRecord | None:
        """The best complete trial."""
        ranked = complete(self.records)
        return ranked[0] if ranked else None


def run_search(
    session: Session,
    *,
    should_stop: Callable[[], bool],
    on_progress: Callable[[Progress], None],
    on_step: Callable[[str], None] = lambda words: None,
    certify: bool | None = None,
) -> Outcome:
    """Search until the budget is spent or `should_stop`; export the best; look at test once.

    `on_step` is told in words what is done after the search itself. `certify` is whether to say
    what each remedy is worth; None does so where it is soon done.
    """
    started = time.monotonic()
    timeout = session.definition.budget.timeout_seconds

    def stop() -> bool:
        return should_stop() or bool(timeout and time.monotonic() - started > timeout)

    with explained(session.url):
        study = begin(session)
        with _rescued(session, study), while_it_exists(study):
            outcome = _search(session, study, stop, on_progress, started)
            if session.definition.compare:
                outcome = _with_baselines(outcome, study, should_stop, on_step)
            certified = certify_after(
                session,
                study,
                outcome.records,
                wanted=certify,
                should_stop=should_stop,
                on_step=on_step,
            )
            annotate(study, session.workspace.folder, session.url)
            return replace(outcome, certified=certified, seconds=time.monotonic() - started)


@contextmanager
def _rescued(session: Session, study: optuna.Study) -> Iterator[None]:
    """Where the database is taken away meanwhile, save what its open connection still sees."""
    try:
        yield
    except DatabaseGoneError as error:
        file = storage_file(session.url)
        kind = "journal" if session.url.startswith("journal") else "sqlite"
        saved = None if file is None else rescue(backend(study), session.url, file)
        if saved is None:
            raise
        raise ConfigError(
            f"{file} was removed or replaced while the search ran; its trials are saved in "
            f"{saved}; to go on from there, add --storage {file_url(kind, saved)}"
        ) from error


def _search(
    session: Session,
    study: optuna.Study,
    stop: Callable[[], bool],
    on_progress: Callable[[Progress], None],
    started: float,
) -> Outcome:
    workers = session.definition.workers
    if workers == 1:
        progress = search_study(session, should_stop=stop, on_progress=on_progress)
    else:
        progress = run_workers(session, study, workers, should_stop=stop, on_progress=on_progress)
    if not progress.left:
        drop_retries(study)
    shelf = Shelf(study, session.shelf_folder)
    checkpoint = export_best(session, study, shelf)
    assembled = None if checkpoint is None else _assembled(session, study, shelf, checkpoint)
    return Outcome(
        session=session,
        records=read_records(study),
        checkpoint=checkpoint,
        seconds=time.monotonic() - started,
        unfinished=progress.done < progress.total,
        gave_up=progress.gave_up,
        assembled=assembled,
    )


def _assembled(
    session: Session, study: optuna.Study, shelf: Shelf, best: Checkpoint
) -> Assembled | None:
    """Make the ensemble; what keeps it from being made is told, and loses nothing of the search."""
    if session.definition.ensemble < LEAST:
        return None
    try:
        return make_ensemble(session, study, shelf, best)
    except RaretuneError as error:
        tell(f"the ensemble is not made: {error}")
        return None


def _with_baselines(
    outcome: Outcome,
    study: optuna.Study,
    should_stop: Callable[[], bool],
    on_step: Callable[[str], None],
) -> Outcome:
    """Hold ordinary models against what was found, and keep with the study what came out."""
    best = outcome.best
    if best is None:
        return outcome
    try:
        comparison = compare(
            outcome.session,
            _finds(outcome),
            should_stop=should_stop,
            on_progress=lambda done, total: on_step(f"{done} of {total} baseline models fitted"),
        )
    except StoppedError:
        print(
            "the baselines are left out, as the search was stopped; the same command again fits "
            "them",
            file=sys.stderr,
        )
        return outcome
    except RaretuneError as error:
        tell(f"the baselines are left out: {error}")
        return outcome
    store(study, best.number, comparison)
    return replace(outcome, comparison=comparison)


def _finds(outcome: Outcome) -> dict[str, Find]:
    """Return the best trial and the ensemble, with scores that their choice does not flatter."""
    best, checkpoint, corrected = outcome.best, outcome.checkpoint, outcome.corrected
    finds = {}
    if best is not None and checkpoint is not None:
        own = checkpoint.record.validation["macro_f1"]
        score = own if corrected is None else corrected.value
        finds[f"trial {best.number}"] = Find(checkpoint, score)
    if outcome.assembled is not None:
        ensemble = outcome.assembled.ensemble
        finds[ENSEMBLE] = Find(outcome.assembled.checkpoint, ensemble.macro_f1.ensemble)
    return finds
