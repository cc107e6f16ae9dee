from datetime import datetime, timedelta

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trainer.data.cells.dates import are_dates, date_parts, find_form
from trainer.data.cells.dialect import Dialect
from trainer.errors import TableError

PLAIN = Dialect()
WRITTEN = {
    "year-month-day": ["%Y-%m-%d", "%Y/%m/%d", "%Y.%m.%d", "%Y%m%d", "%Y-%m-%dT%H:%M:%S.%fZ"],
    "day-month-year": ["%d.%m.%Y", "%d/%m/%Y", "%d-%m-%Y %H:%M"],
    "month-day-year": ["%m/%d/%Y", "%m/%d/%Y %I:%M %p"],
    "month by name": ["%d%b%Y", "%d-%b-%Y", "%b %d, %Y", "%d %B %Y"],
}
CASES = [(form, written) for form, several in WRITTEN.items() for written in several]


@pytest.mark.parametrize(("form", "written"), CASES)
@settings(deadline=None)
@given(moments=st.lists(st.datetimes(datetime(1900, 1, 1), datetime(2100, 1, 1)), min_size=1))
def test_dates_are_read_as_pandas_reads_them(form, written, moments):
    moments.append(datetime(2020, 2, 29))  # which settles what is the day
    texts = [moment.strftime(written) for moment in moments]
    assert find_form(texts, "visit") == form
    parts = date_parts(pd.DataFrame({"visit": [*texts, None, "?"]}), {"visit": form}, PLAIN)
    expected = pd.to_datetime(pd.Series(texts), format=written).dt.tz_localize(None)
    days = (expected - pd.Timestamp(0)) / timedelta(days=1)
    np.testing.assert_allclose(parts["visit.days"][:-2], days, rtol=0, atol=1e-9)
    np.testing.assert_array_equal(parts["visit.year"][:-2], expected.dt.year)
    np.testing.assert_array_equal(parts["visit.month"][:-2], expected.dt.month)
    np.testing.assert_array_equal(parts["visit.weekday"][:-2], expected.dt.day_of_week)
    assert all(np.isnan(values[-2:]).all() for values in parts.values())


def test_a_zone_is_taken_into_account():
    texts = ["2020-01-01T00:30+02:00", "2020-01-01 00:30Z"]
    parts = date_parts(pd.DataFrame({"t": texts}), {"t": "year-month-day"}, PLAIN)
    np.testing.assert_allclose(np.diff(parts["t.days"]), [2 / 24])
    assert parts["t.year"].tolist() == [2019, 2020]


def test_dates_of_the_training_s_form_and_those_without_doubt_are_read_later():
    texts = ["03/04/2021", "2021-04-03", "3 April 2021"]
    parts = date_parts(pd.DataFrame({"t": texts}), {"t": "day-month-year"}, PLAIN)
    assert len(set(parts["t.days"])) == 1
    for text in ("soon", "31/31/2021", "2021-02-30", "30.02.2021"):
        with pytest.raises(TableError, match="must hold dates written as day-month-year"):
            date_parts(pd.DataFrame({"t": [text]}), {"t": "day-month-year"}, PLAIN)


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        (["01/02/2020", "03/04/2021"], "not clear which of '01/02/2020' is the month"),
        (["13/02/2020", "03/14/2021"], "not clear which"),
        (["01.02.20"], "years have two digits"),
        (["2020-01-01", "1 May 2020"], "written in several ways"),
        (["2020-01-01", "later"], "'later' is no date"),
    ],
)
def test_dates_in_doubt_are_refused(texts, message):
    with pytest.raises(TableError, match=message):
        find_form(texts, "visit")


def test_words_numbers_and_codes_are_no_dates():
    for texts in (["a", "b"], ["20200101"], ["10-19"], ["12/80"], ["1.2.3"], ["99/99/2020"], []):
        assert not are_dates(texts, 0.8)
    assert are_dates(["1.2.2020"] * 4 + ["soon"], 0.8)
