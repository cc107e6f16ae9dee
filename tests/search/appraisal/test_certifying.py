import dataclasses
from datetime import datetime, timedelta

import pytest

from search.appraisal import certifying
from search.appraisal.ablation import certify
from search.appraisal.certificate import kept
from search.appraisal.certifying import NOT_CERTIFIED, certify_after, searched_seconds
from search.store.records import complete, read_records
from search.store.storage import load_study, open_storage
from trainer.errors import RaretuneError

START = datetime(2026, 1, 1)


@pytest.fixture(scope="module")
def opened(session):
    return load_study(open_storage(session.url), session.definition.name)


@pytest.fixture
def after(session, opened, monkeypatch):
    """Certify after the search, which took 10 s; certifying takes as long as `seconds` says."""
    monkeypatch.setattr(certifying, "searched_seconds", lambda records: 10.0)

    def run(seconds=0.5, wanted=None, stop=False):
        monkeypatch.setattr(certifying, "expected_seconds", lambda *of_what: seconds)
        steps = []
        found = certify_after(
            session,
            opened,
            read_records(opened),
            wanted=wanted,
            should_stop=lambda: stop,
            on_step=steps.append,
        )
        return found, steps

    opened.set_user_attr("certificate", None)
    return run


def test_it_is_made_where_it_fits_into_a_tenth_of_the_search_and_kept(after, opened):
    found, steps = after(1.0)
    best = complete(read_records(opened))[0]
    assert found.certificate.trial == best.number
    assert found.left_out == ""
    assert steps[-1] == "12 of 12 runs with and without a remedy"
    assert kept(opened, best) == found.certificate
    again, steps = after(100.0)
    assert (again, steps) == (found, [])


def test_it_is_left_out_with_the_reason_where_it_does_not_fit(after):
    found, steps = after(1.2)
    assert (found.certificate, steps) == (None, [])
    assert found.left_out == "it would take about 1 s, more than a tenth of the search"


def test_the_user_may_have_it_all_the_same_or_not_at_all(after):
    assert after(1000.0, wanted=False) == (NOT_CERTIFIED, [])
    assert after(1000.0, wanted=True)[0].certificate is not None


def test_a_search_that_was_ended_by_its_user_is_not_prolonged(after):
    assert after(stop=True, wanted=True)[0].left_out == "the search was ended before"


def test_what_goes_wrong_is_the_reason_and_loses_nothing(after, monkeypatch):
    def fails(*of_what, **settings):
        raise RaretuneError("a process that trained has ended too early")

    monkeypatch.setattr(certifying, "certify", fails)
    assert after()[0].left_out == "a process that trained has ended too early"


def test_a_study_without_a_complete_trial_has_none(session, opened):
    found = certify_after(
        session, opened, [], wanted=True, should_stop=lambda: False, on_step=print
    )
    assert found == NOT_CERTIFIED


def test_the_same_search_is_certified_alike_each_time(session, opened):
    best = complete(read_records(opened))[0]
    assert certify(session, best) == certify(session, best)


def test_time_that_several_processes_searched_at_once_counts_once(opened):
    record = read_records(opened)[0]

    def trial(since, until, **changes):
        times = {"started": START + timedelta(seconds=since)}
        times["ended"] = START + timedelta(seconds=until)
        return dataclasses.replace(record, **times, **changes)

    apart = [trial(100, 110), trial(0, 4), trial(2, 8), trial(3, 5)]
    assert searched_seconds(apart) == 18
    assert searched_seconds([*apart, trial(8, 100, state="lost")]) == 18
    assert searched_seconds([dataclasses.replace(record, started=None)]) == 0
