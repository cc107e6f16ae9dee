import numpy as np
import pandas as pd
import pytest
from conftest import draw_table
from hypothesis import given, settings
from hypothesis import strategies as st

from trainer.data.digests import known, new_salt, row_digests
from trainer.data.table import Roles, read_table

NUMBERS, TEXTS, LABELS = ("a", "b", "c", "d"), ("site", "note"), ("rare", "rarer")
SALT = bytes(range(16))


def clinic():
    table = draw_table(rows=300)
    table["note"] = np.random.default_rng(0).choice(["NA", "", 'said "no",\nthen é', "0017"], 300)
    return table


def digests(path, salt=SALT):
    table = read_table(path, Roles(LABELS), text=TEXTS)
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
    trained = known(found, plain[:100])
    np.testing.assert_array_equal(trained[:300], order < 100)
    assert not trained[300:].any()


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
    other = digests(tmp_path / "plain.csv", new_salt())
    assert not known(other, plain).any()
    assert new_salt() != new_salt()


def test_a_digest_is_too_short_to_confirm_a_guess(plain):
    assert plain.dtype.itemsize == 4
    assert len(set(plain.tolist())) == len(plain)


def test_a_table_without_features_or_rows_has_digests():
    assert row_digests(pd.DataFrame(index=range(0)), (), (), np.zeros((0, 2)), SALT).shape == (0,)
    found = row_digests(pd.DataFrame(index=range(2)), (), (), np.eye(2), SALT)
    assert len(set(found.tolist())) == 2
