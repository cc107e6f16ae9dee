import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trainer.data.labels import _from_lists
from trainer.data.roles import Roles
from trainer.data.table import Known, read_table
from trainer.errors import TableError

EXPECTED = [1, 0, 0, 1]


def write(tmp_path, values, name="ill"):
    path = tmp_path / "t.csv"
    pd.DataFrame({"x": range(len(values)), name: values}).to_csv(path, index=False)
    return path


@pytest.mark.parametrize(
    "words", ["1 0", "1.0 0.0", "true false", "TRUE False", "yes no", "YES No", "Y n", "y N"]
)
def test_labels_are_read_in_the_usual_words(tmp_path, words):
    yes, no = words.split()
    path = write(tmp_path, [yes, no, no.lower(), yes.upper()])
    assert read_table(path, Roles(("ill",))).labels.ravel().tolist() == EXPECTED


@pytest.mark.parametrize(
    ("values", "positive"),
    [
        ([1, -1, -1, 1], "1"),
        ([2, 1, 1, 2], "2"),
        ([2.0, 1.0, 1.0, 2.0], "2"),
        (["ill", "well", "Well", "ILL"], "ill"),
        (["grade 3", "grade 1", "grade 2", "grade 3"], "grade 3"),
        ([0, 1, 1, 0], "0"),
    ],
)
def test_a_named_value_is_positive_and_any_other_negative(tmp_path, values, positive):
    path = write(tmp_path, values)
    roles = Roles(("ill",), positive=(positive,))
    assert read_table(path, roles).labels.ravel().tolist() == EXPECTED


def test_labels_without_the_positive_value_are_read_as_usual(tmp_path):
    path = tmp_path / "t.csv"
    pd.DataFrame({"x": range(4), "a": [2, 1, 1, 2], "b": ["n", "y", "n", "n"]}).to_csv(path)
    pd.read_csv(path, index_col=0).to_csv(path, index=False)
    labels = read_table(path, Roles(("a", "b"), positive=("2",))).labels
    assert labels.T.tolist() == [EXPECTED, [0, 1, 0, 0]]


@pytest.mark.parametrize(
    ("values", "roles", "message"),
    [
        ([1, 2, 1, 2], Roles(("ill",)), r"\(first: 2.0\); say which value is positive with --pos"),
        (["yes", "0", "no", "1"], Roles(("ill",)), "2 of 4 values in t.csv are others"),
        (["yes", "y", "no", "n"], Roles(("ill",)), "4 of 4 values in t.csv are others"),
        ([1, 2, 1, 2], Roles(("ill",), positive=("3",)), "--positive '3' is in no label column"),
        ([1, 1, 1, 1], Roles(("ill",), positive=("1",)), "is 1 in every row"),
        (["a|b"] * 4, Roles((), labels_from="ill"), "no label of column 'ill' of t.csv is in 10"),
        (["", "", "", ""], Roles((), labels_from="ill"), "holds no label"),
        (["a|b"] * 4, Roles(("c",), labels_from="ill"), "label 'c' is in no list of column 'ill'"),
        (["x|b", "x", "b", ""] * 9, Roles((), labels_from="ill"), "'x' has the name of a feature"),
        (["a"], Roles((), labels_from="ill", list_separator=""), "--list_separator is empty"),
        (["a"], Roles((), labels_from="ill", positive=("a",)), "--positive has no effect"),
        (["a"], Roles((), labels_from="x", drop=("x",)), "to --labels_from and to --drop"),
        (["a"], Roles((), labels_from="y"), "labels_from column 'y' is not in t.csv"),
    ],
)
def test_labels_that_are_unclear_are_refused(tmp_path, values, roles, message):
    with pytest.raises(TableError, match=message):
        read_table(write(tmp_path, values), roles)


@settings(deadline=None)
@given(
    rows=st.lists(st.sets(st.sampled_from("abcde")), min_size=1, max_size=60),
    separator=st.sampled_from(["|", ",", "; "]),
)
def test_lists_become_a_column_for_each_item(tmp_path_factory, rows, separator):
    """As pandas.Series.str.get_dummies makes them, the commonest first."""
    texts = pd.Series([separator.join(sorted(items)) or None for items in rows], dtype=object)
    roles = Roles((), labels_from="ill", list_separator=separator)
    frame = texts.fillna("").str.get_dummies(sep=separator)
    kept = [name for name in frame if frame[name].sum() >= 10]
    path = tmp_path_factory.getbasetemp() / "lists.csv"
    if not kept:
        with pytest.raises(TableError):
            _from_lists(texts, roles, path, known=False)
        return
    found = _from_lists(texts, roles, path, known=False)
    assert sorted(found.names) == kept
    np.testing.assert_array_equal(found.values, frame[list(found.names)])
    counts = found.values.sum(axis=0).tolist()
    assert counts == sorted(counts, reverse=True)
    assert bool(found.notes) == (len(kept) < frame.shape[1])


def test_items_in_few_rows_are_named_and_a_scored_table_has_the_training_s_labels(tmp_path):
    path = write(tmp_path, ["a|b", " a ", "b|rare", ""] * 2 + ["a|b"] * 10, "dx")
    table = read_table(path, Roles((), labels_from="dx"))
    assert table.roles.labels == ("a", "b")
    assert table.notes == ("'rare' of 'dx' is in fewer than 10 rows and left out of the labels",)
    assert table.labels[:4].tolist() == [[1, 1], [1, 0], [0, 1], [0, 0]]
    assert list(table.columns) == ["x"]
    chosen = read_table(path, Roles(("rare",), labels_from="dx"))
    assert chosen.labels.sum() == 2
    later = write(tmp_path, ["b", "c", "", "b"], "dx")
    scored = read_table(later, table.roles, known=Known(numbers=("x",)))
    assert scored.labels.tolist() == [[0, 1], [0, 0], [0, 0], [0, 1]]
