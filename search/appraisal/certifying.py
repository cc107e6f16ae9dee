"""Whether a search ends with a certificate of its remedies: where that takes a tenth of its time.

A certificate that is there already is kept as long as the best trial stays the best.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import optuna

from search.appraisal.ablation import SEEDS, certify, expected_seconds
from search.appraisal.certificate import Certificate, keep, kept
from search.session import Session
from search.store.records import TrialRecord, complete
from trainer.errors import RaretuneError

SHARE = 0.1  # of the search's time


class Certified(NamedTuple):
    """The best trial's certificate, or why it was left out; neither if nobody wants it."""

    certificate: Certificate | None
    left_out: str = ""


NOT_CERTIFIED = Certified(None)


def certify_after(
    session: Session,
    study: optuna.Study,
    records: Sequence[TrialRecord],
    *,
    wanted: bool | None,
    should_stop: Callable[[], bool],
    on_step: Callable[[str], None],
) -> Certified:
    """Certify the best trial's remedies after a search, or say why not.

    `wanted` is whether to do so at all; None leaves it to the time that it takes. `on_step` is told
    in words how far it is.
    """
    best = next(iter(complete(records)), None)
    if best is None:
        return NOT_CERTIFIED
    there = kept(study, best)
    if there is not None or wanted is False:
        return Certified(there)
    if why := _why_not(session, best, records, wanted=bool(wanted), should_stop=should_stop):
        return Certified(None, why)
    try:
        made = certify(
            session,
            best,
            should_stop=should_stop,
            on_run=lambda ended, runs: on_step(f"{ended} of {runs} runs with and without a remedy"),
        )
    except RaretuneError as error:
        return Certified(None, str(error))
    keep(study, best, made)
    return Certified(made)


def searched_seconds(records: Sequence[TrialRecord]) -> float:
    """Return how long a study was searched in all, whatever number of processes did so."""
    spans = sorted(
        (one.started, one.ended)
        for one in records
        if one.started is not None and one.ended is not None and one.state != "lost"
    )
    seconds, until = 0.0, None
    for started, ended in spans:
        since = started if until is None else max(started, until)
        seconds += max(0.0, (ended - since).total_seconds())
        until = ended if until is None else max(until, ended)
    return seconds


def _why_not(
    session: Session,
    best: TrialRecord,
    records: Sequence[TrialRecord],
    *,
    wanted: bool,
    should_stop: Callable[[], bool],
) -> str:
    if should_stop():
        return "the search was ended before"
    if wanted:
        return ""
    expected = expected_seconds(session, best, SEEDS)
    if expected <= SHARE * searched_seconds(records):
        return ""
    return f"it would take about {expected:.0f} s, more than a tenth of the search"
