import csv

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from trainer.data.cells.dialect import Dialect
from trainer.data.files.sources import source_of
from trainer.data.files.text import SEPARATORS, adapted
from trainer.data.reading import read_columns, read_names, stream_arrow, to_frame

LETTERS = "abc \u00e4\u00f6\u00fc\u00df\u20ac,;\t|'\"\n.-5"
TEXT = st.text(LETTERS, max_size=8).map(lambda text: f"a{text}")
NUMBER = st.floats(-1e6, 1e6).map(lambda x: round(x, 4)) | st.none()
FRAMES = st.lists(st.tuples(TEXT, NUMBER, TEXT), min_size=3, max_size=12).map(
    lambda rows: pd.DataFrame(rows, columns=["first", "number", "last"])
)


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    frame=FRAMES,
    separator=st.sampled_from(SEPARATORS),
    encoding=st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "cp1252"]),
    decimal=st.sampled_from([".", ","]),
    packing=st.sampled_from(["", ".gz", ".zip"]),
    ends=st.sampled_from(["\n", "\r\n"]),
    quoted=st.booleans(),
)
def test_a_frame_written_in_any_dialect_is_read_back_the_same(
    tmp_path, frame, separator, encoding, decimal, packing, ends, quoted
):
    """Only what can't be found from the file is named."""
    if decimal == separator:
        return
    frame["number"] = frame["number"].astype(float)
    frame.loc[0, "number"] = 1.5
    path = tmp_path / f"table.csv{packing}"
    frame.to_csv(
        path,
        index=False,
        sep=separator,
        encoding=encoding,
        decimal=decimal,
        lineterminator=ends,
        quoting=csv.QUOTE_ALL if quoted else csv.QUOTE_MINIMAL,
    )
    dialect = Dialect(encoding="cp1252" if encoding == "cp1252" else None, decimal=decimal)
    read = read_columns(path, text=["first", "last"], dialect=dialect)
    expected = frame.astype({"first": object, "last": object})
    pd.testing.assert_frame_equal(read, expected)
    stream = stream_arrow(path, numbers=["number"], text=["first", "last"], dialect=dialect)
    pd.testing.assert_frame_equal(pd.concat(map(to_frame, stream)), expected)


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("a,b;c\n1,2;3\n4,5;6\n", ["a", "b;c"]),
        ("a;b\n1,5;2,5\n3,5;4\n", ["a", "b"]),
        ("name, first\tage\till\nDoe, Jo\t3\t1\n", ["name, first", "age", "ill"]),
        ("when|what\n10:00, late|a;b\n11:00, early|c\n", ["when", "what"]),
        ("alone\n1;2\n3;4\n", ["alone"]),
    ],
)
def test_the_separator_is_the_one_that_most_rows_agree_with(tmp_path, text, names):
    path = tmp_path / "t.csv"
    path.write_text(text)
    assert read_names(path) == names


def test_a_dialect_is_kept_for_a_new_file_where_it_fits(tmp_path):
    named = Dialect(separator="^", encoding="cp1252", decimal=",", missing=("x",))
    path = tmp_path / "t.csv"
    path.write_bytes("m\u00fcde^b\n1^2\n".encode("cp1252"))
    assert adapted(named, source_of(path)) == named
    path.write_bytes("m\u00fcde;b\n1;2\n".encode())
    assert adapted(named, source_of(path)) == Dialect(decimal=",", missing=("x",))
    pd.DataFrame({"a": np.arange(3)}).to_parquet(tmp_path / "t.parquet")
    assert adapted(named, source_of(tmp_path / "t.parquet")).separator is None
