import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from trainer.data.cells.dialect import Dialect
from trainer.data.cells.kinds import as_number_column, code_sentences, without_missing
from trainer.errors import TableError

PLAIN = Dialect()


def column(*texts):
    return pa.chunked_array([list(texts[:2]), list(texts[2:])], pa.string())


def test_one_odd_text_among_five_is_settled_or_refused_and_more_make_categories():
    with pytest.raises(TableError, match="holds numbers and 1 other text"):
        as_number_column("x", column("1", "2", "3", "4", "odd"), PLAIN)
    assert as_number_column("x", column("1", "2", "3", "odd"), PLAIN) is None


def test_words_for_missing_do_not_count_among_the_texts():
    found = as_number_column("x", column("1", "?", "NA", "-", None), PLAIN)
    assert found.values.to_pylist() == [1, None, None, None, None]
    assert found.tokens == ("-", "?", "NA")
    assert as_number_column("x", column("?", "", "NA"), PLAIN) is None


def test_codes_that_a_file_with_types_has_as_texts_stay_texts():
    assert as_number_column("x", column("007", "012"), PLAIN) is None


def test_what_is_called_missing_is_null_whatever_its_type():
    dialect = Dialect(missing=("-99", "none of these"))
    number, found = without_missing(pa.chunked_array([[1.5, -99.0]]), dialect)
    assert (number.to_pylist(), found) == ([1.5, None], {"-99"})
    integer, _ = without_missing(pa.chunked_array([[1, -99]]), dialect)
    assert integer.to_pylist() == [1, None]
    text, found = without_missing(column("a", " none of these "), dialect)
    assert (text.to_pylist(), found) == (["a", None], {"none of these"})
    yes = pa.chunked_array([[True]])
    assert without_missing(yes, dialect) == (yes, set())


def test_a_code_at_the_edge_of_several_columns_is_told():
    rows = np.arange(20.0)
    frame = pd.DataFrame({"a": rows, "b": rows / 2, "c": rows + 990, "d": rows, "e": ["x"] * 20})
    frame.loc[:2, ["a", "b", "c"]] = 999  # in c it is among the others
    frame.loc[3, "d"] = 999  # one row says nothing
    (sentence,) = code_sentences(frame)
    assert sentence == (
        "999 is at the edge of 2 columns and far from their other numbers (a, b); if it stands for "
        "a missing value, add --missing 999"
    )
    assert code_sentences(frame[["a", "c", "d"]]) == []
