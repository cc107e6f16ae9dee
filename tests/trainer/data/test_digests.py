import numpy as np
import pandas as pd
import pytest
from conftest import draw_table
from hypothesis import given, settings
from hypothesis import strategies as st

from trainer.data.digests import KnownRows, row_digests, salt_of
from trainer.data.table import Known, Roles, read_table

NUMBERS, TEXTS, LABELS = ("a", "b", "c", "d"), ("site", "note"), ("rare", "rarer")
SALT = bytes(range(16))


def clinic():
    table = draw_table(rows=300)
    table["note"] = np.random.default_rng(0).choice(["NA", "", 'said "no",\nthen é', "0017"], 300)
    return table


def digests(path, salt=SALT):
    table = read_table(path, Roles(LABELS), known=Known(text=TEXTS))
    return row_digests(table.columns, NUMBERS, TEXTS, table.labels, salt)


@pytest.fixture
def plain(tmp_path):
    clinic().to_csv(tmp_path / "plain.csv", index=False)
    return digests(tmp_path / "plain.csv")


def lines_end_otherwise(table, path):
    path.write_bytes(table.to_csv(index=False).replace("\n", "\r\n").encode())


def as_another_program_has_it(table, path):
    """Integers, booleans, categories and single precision, in Parquet."""
    kinds = {"a": "float32", "site": "category", "rare": bool, "rarer": "int8"}
    table.astype(kinds).to_parquet(path, index=False)


FORMS = {
    "packed.csv.gz": lambda table, path: table.to_csv(path, index=False),
    "table.parquet": lambda table, path: table.to_parquet(path, index=False),
    "other.parquet": as_another_program_has_it,
    "crlf.csv": lines_end_otherwise,
    "columns.csv": lambda table, path: table[table.columns[::-1]].to_csv(path, index=False),
    "more.csv": lambda table, path: table.assign(new=1, more="x").to_csv(path, index=False),
    "quoted.csv": lambda table, path: table.to_csv(path, index=False, quoting=1),
    "digits.csv": lambda table, path: table.to_csv(path, index=False, float_format="%.15g"),
}


@pytest.mark.parametrize("name", FORMS)
def test_a_row_is_the_same_row_in_whatever_file(tmp_path, plain, name):
    FORMS[name](clinic(), tmp_path / name)
    np.testing.assert_array_equal(digests(tmp_path / name), plain)


def test_rows_are_known_again_among_others(tmp_path, plain):
    """612 of these 800 rows were trained on."""
    order = np.random.default_rng(1).permutation(300)
    others = draw_table(rows=200, seed=1).assign(note="")
    pd.concat([clinic().iloc[order], others]).to_csv(tmp_path / "new.csv", index=False)
    found = digests(tmp_path / "new.csv")
    np.testing.assert_array_equal(found[:300], plain[order])
    rows = KnownRows.of(plain, np.arange(100, 300), SALT)
    trained = rows.trained_on(found)
    np.testing.assert_array_equal(trained[:300], order < 100)
    assert not trained[300:].any()
    assert not rows.by_chance(found)


@settings(max_examples=60, deadline=None)
@given(row=st.integers(0, 299), column=st.sampled_from([*NUMBERS, "site", "note"]))
def test_another_value_makes_another_row(row, column):
    table = clinic()
    labels = table[[*LABELS]].to_numpy(dtype=np.float32)
    before = row_digests(table, NUMBERS, TEXTS, labels, SALT)
    table.loc[row, column] = "other" if column in TEXTS else 1e6
    after = row_digests(table, NUMBERS, TEXTS, labels, SALT)
    assert np.flatnonzero(before != after).tolist() == [row]


def test_another_label_makes_another_row():
    table = clinic()
    labels = table[[*LABELS]].to_numpy(dtype=np.float32)
    one, other = (row_digests(table, NUMBERS, TEXTS, y, SALT) for y in (labels, 1 - labels))
    assert (one != other).all()


def test_texts_do_not_run_into_each_other():
    frame = pd.DataFrame({"x": ["ab", "a", None, ""], "y": ["c", "bc", "abc", "NA"]}, dtype=object)
    found = row_digests(frame, (), ("x", "y"), np.zeros((4, 1), dtype=np.float32), SALT)
    assert len(set(found.tolist())) == 4


def test_zero_has_no_sign_and_missing_no_kind():
    frame = pd.DataFrame({"n": [0.0, -0.0, np.nan, -np.nan], "t": ["", None, np.nan, "null"]})
    found = row_digests(frame, ("n",), ("t",), np.zeros((4, 1), dtype=np.float32), SALT)
    assert found[0] == found[1]
    assert found[2] == found[3]


def test_another_salt_makes_all_digests_others(tmp_path, plain):
    other = digests(tmp_path / "plain.csv", salt_of("another table"))
    assert not np.isin(other, plain).any()
    assert salt_of("one table") != salt_of("another table")


def test_a_digest_is_too_short_to_confirm_a_guess(plain):
    assert plain.dtype.itemsize == 4
    assert len(set(plain.tolist())) == len(plain)


def test_a_table_without_features_or_rows_has_digests():
    assert row_digests(pd.DataFrame(index=range(0)), (), (), np.zeros((0, 2)), SALT).shape == (0,)
    found = row_digests(pd.DataFrame(index=range(2)), (), (), np.eye(2), SALT)
    assert len(set(found.tolist())) == 2


@given(
    digests=st.lists(st.integers(0, 8), min_size=2, max_size=40),
    held_out=st.sets(st.integers(0, 39)),
    order=st.randoms(use_true_random=False),
)
def test_a_table_in_another_order_leaves_the_values_of_its_test_rows(digests, held_out, order):
    """Where a value is in both parts, too: as many of its rows are free as are test rows."""
    every = np.array(digests, dtype=np.uint32)
    test = np.array(sorted(i for i in held_out if i < len(every)), dtype=np.int64)
    rows = KnownRows.of(every, test, SALT)
    shuffled = every[order.sample(range(len(every)), len(every))]
    free = shuffled[~rows.trained_on(shuffled)]
    np.testing.assert_array_equal(np.sort(free), np.sort(every[test]))


def test_rows_of_a_table_with_few_different_rows_are_known_by_chance():
    random = np.random.default_rng(0)
    every = random.integers(0, 30, 900).astype(np.uint32)
    rows = KnownRows.of(every, np.arange(180), SALT)
    assert rows.by_chance(random.integers(0, 31, 400).astype(np.uint32))
    no_test = KnownRows.of(every, np.arange(0), SALT)
    assert no_test.by_chance(random.integers(0, 31, 400).astype(np.uint32))


def test_one_row_of_a_table_with_rows_of_its_own_is_not_known_by_chance(plain):
    rows = KnownRows.of(plain, np.arange(60), SALT)
    other = np.setdiff1d(np.arange(2**20, 2**20 + 500, dtype=np.uint32), plain)
    assert not rows.by_chance(np.append(other, plain[200]))


def test_known_rows_come_back_as_they_were(plain):
    rows = KnownRows.of(plain, np.arange(60), SALT)
    arrays = rows.to_arrays()
    assert {array.dtype for array in arrays.values()} == {np.dtype(np.int32)}
    assert KnownRows.from_arrays(arrays).is_same(rows)
    assert not KnownRows.from_arrays(arrays | {"test": arrays["test"][1:]}).is_same(rows)


@pytest.mark.parametrize(
    ("name", "array"),
    [
        ("salt", np.zeros(3, dtype=np.int32)),
        ("used", np.zeros((2, 2), dtype=np.int32)),
        ("test", np.zeros(60, dtype=np.float32)),
        ("more", np.zeros(1, dtype=np.int32)),
    ],
)
def test_other_arrays_are_refused(plain, name, array):
    arrays = KnownRows.of(plain, np.arange(60), SALT).to_arrays()
    with pytest.raises(ValueError, match="rows"):
        KnownRows.from_arrays(arrays | {name: array})
