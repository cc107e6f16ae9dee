import gzip
import hashlib
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from trainer.data.table import Roles, rare_binary_columns, read_table
from trainer.errors import TableError

HEADER = "row,person,digits,age,smokes,status,day,ill"
LINES = [
    "007,01,0012,30,true,mild,1.5,0",
    "008,1,,NA,false,,inf,1",
    "009,,90,41.5,,severe,-2,1",
    "010,01,1,50,true,mild,,0",
    "011,,0,12,true,NA,3,0",
]
ROLES = Roles(labels=("ill",), group="person", sequence="digits", drop=("day",), id=("row",))


def write(path: Path, *lines: str) -> Path:
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


@pytest.fixture
def people(tmp_path: Path) -> Path:
    return write(tmp_path / "people.csv", HEADER, *LINES)


def one_feature(tmp_path: Path, values: list[str], name: str = "x") -> Path:
    """A table of one odd column, an ordinary one and a label."""
    lines = [f"{value},{i},{i % 2}" for i, value in enumerate(values)]
    return write(tmp_path / "table.csv", f"{name},y,ill", *lines)


def refusal(path: Path, roles: Roles = ROLES) -> str:
    with pytest.raises(TableError) as error:
        read_table(path, roles)
    message = str(error.value)
    assert "\n" not in message
    return message


def test_columns_are_typed_and_missing_values_are_nan_or_none(people):
    table = read_table(people, ROLES)
    assert list(table.columns) == ["digits", "age", "smokes", "status"]
    assert table.numeric == ("age", "smokes")
    assert table.categorical == ("status",)
    np.testing.assert_array_equal(table.columns["age"], [30, np.nan, 41.5, 50, 12])
    np.testing.assert_array_equal(table.columns["smokes"], [1, 0, np.nan, 1, 1])
    assert table.columns["status"].tolist() == ["mild", None, "severe", "mild", "NA"]
    assert table.columns["digits"].tolist() == ["0012", None, "90", "1", "0"]
    assert table.labels.dtype == np.float32
    np.testing.assert_array_equal(table.labels, [[0], [1], [1], [0], [0]])
    assert table.hash == hashlib.sha256(people.read_bytes()).hexdigest()


def test_groups_are_text_and_a_row_without_one_is_a_group_of_its_own(people):
    groups = read_table(people, ROLES).groups
    assert groups is not None
    assert groups.dtype == np.int64
    assert groups.tolist() == [0, 1, 2, 0, 3]


def test_a_group_named_as_missing_is_a_group(tmp_path):
    """NA is Namibia, and its rows stay together; only an empty cell is no group."""
    names = ["NA", "null", "None", "", "NaN", "ZA", ""] * 2
    rows = [f"{name},{i},{i % 2}" for i, name in enumerate(names)]
    groups = read_table(write(tmp_path / "t.csv", "land,x,ill", *rows), Roles(("ill",), "land"))
    assert groups.groups.tolist() == [0, 1, 2, 5, 3, 4, 6, 0, 1, 2, 7, 3, 4, 8]


def test_a_category_named_as_missing_is_one_among_several(tmp_path):
    table = read_table(one_feature(tmp_path, ["NA", "EU", "AS", "NA", "", "null"]), Roles(("ill",)))
    assert table.columns["x"].tolist() == ["NA", "EU", "AS", "NA", None, "null"]
    table = read_table(one_feature(tmp_path, ["NA", "yes", "yes", "n/a", ""]), Roles(("ill",)))
    assert table.columns["x"].tolist() == [None, "yes", "yes", None, None]


def test_a_word_for_missing_is_missing_among_numbers_and_digit_strings(tmp_path):
    path = write(tmp_path / "t.csv", "n,s,ill", "1,01,0", "NA,NA,1", "3,,0", "4,10,1")
    table = read_table(path, Roles(("ill",), sequence="s"))
    np.testing.assert_array_equal(table.columns["n"], [1, np.nan, 3, 4])
    assert table.columns["s"].tolist() == ["01", None, None, "10"]


def test_dates_with_words_for_missing_are_still_dates(tmp_path):
    path = one_feature(tmp_path, ["2020-01-01 10:00", "NA", "", "2021-05-01 11:30"])
    assert "holds dates" in refusal(path, Roles(("ill",)))


def test_every_format_gives_the_same_table(people, tmp_path):
    packed, columns = tmp_path / "people.csv.gz", tmp_path / "people.parquet"
    packed.write_bytes(gzip.compress(people.read_bytes()))
    frame = pd.read_csv(people, dtype={"row": str, "person": str, "digits": str})
    frame.loc[4, "status"] = "NA"  # which pandas reads as missing
    frame["smokes"] = frame["smokes"].astype("boolean")
    frame.astype({"status": "category", "ill": bool}).to_parquet(columns)
    expected = read_table(people, ROLES)
    for path in (packed, columns):
        table = read_table(path, ROLES)
        pd.testing.assert_frame_equal(table.columns, expected.columns)
        np.testing.assert_array_equal(table.labels, expected.labels)
        np.testing.assert_array_equal(table.groups, expected.groups)


@pytest.mark.parametrize("label", ["true,false", "1.0,0.0", "1,0", "True,False"])
def test_labels_may_be_written_as_booleans_or_numbers(tmp_path, label):
    yes, no = label.split(",")
    path = write(tmp_path / "t.csv", "a,ill", f"1,{yes}", f"2,{no}")
    np.testing.assert_array_equal(read_table(path, Roles(("ill",))).labels, [[1], [0]])


def test_columns_that_are_missing_or_constant_are_kept_beside_others(tmp_path):
    path = write(tmp_path / "t.csv", "none,same,a,ill", ",1,1,0", ",1,2,1")
    table = read_table(path, Roles(("ill",)))
    assert table.numeric == ("none", "same", "a")
    assert table.columns["none"].isna().all()


def test_rare_binary_columns_are_listed_with_their_shares():
    n = 100
    ones = pd.DataFrame({f"c{k}": (np.arange(n) < k).astype(float) for k in (0, 2, 19, 20, 100)})
    ones["gap"] = np.where(np.arange(n) < 1, np.nan, ones["c2"])
    ones["text"] = "0"
    assert rare_binary_columns(ones) == [("c19", 0.19), ("c2", 0.02)]


@pytest.mark.parametrize(
    ("roles", "message"),
    [
        (Roles(()), "name at least one 0/1 column with --label"),
        (Roles(("il",)), "label column 'il' is not in people.csv (near names: 'ill'); correct"),
        (Roles(("zzzz",)), "(rare 0/1 columns: none); correct it at --label"),
        (Roles(("ill",), group="persn"), "(near names: 'person'); correct it at --group"),
        (Roles(("ill",), sequence="zzzz"), "(columns: 'row', 'person', 'digits'"),
        (Roles(("ill",), drop=("age", "dya")), "drop column 'dya' is not in people.csv (near"),
        (Roles(("ill",), id=("zzzz",)), "id column 'zzzz' is not"),
        (Roles(("ill", "ill")), "'ill' is given to --label and to --label; give it to one"),
        (Roles(("ill",), group="ill"), "'ill' is given to --label and to --group"),
        (Roles(("ill",), sequence="row", id=("row",)), "to --sequence and to --id"),
        (Roles(("age",)), "but 1 of 5 values in people.csv are missing; fill them"),
        (Roles(("digits",)), "1 of 5 values in people.csv are missing"),
        (Roles(("row",)), "5 of 5 values in people.csv are others (first: 7.0, 8.0"),
        (Roles(("ill",), drop=tuple(HEADER.split(",")[:-1])), "no feature column is left"),
        (Roles(("ill",)), "'day' has 1 infinite values"),
    ],
)
def test_unusable_roles_are_refused(people, roles, message):
    assert message in refusal(people, roles)


def test_an_unknown_label_is_answered_with_the_rare_columns(tmp_path):
    lines = [f"{int(i < 3)},{int(i < 1)},{i}" for i in range(20)]
    path = write(tmp_path / "t.csv", "stroke,angina,age", *lines)
    assert "rare 0/1 columns: 'stroke' 15.0%, 'angina' 5.0%" in refusal(path, Roles(("ill",)))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (
            ["1", "0", "yes"],
            "1 of 3 values in t.csv are others (first: 'yes'); say which",
        ),
        (["1", "0", "2"], "(first: 2.0)"),
        (["1", "0", "0.5"], "(first: 0.5)"),
        (["0", "0", "0"], "is 0 in every row"),
        (["true", "true", "true"], "is 1 in every row"),
        (["2020-01-01"] * 3, "'ill' must hold only 0 and 1"),
    ],
)
def test_a_label_that_is_not_zero_and_one_is_refused(tmp_path, values, message):
    lines = [f"{i},{value}" for i, value in enumerate(values)]
    assert message in refusal(write(tmp_path / "t.csv", "a,ill", *lines), Roles(("ill",)))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (["1", "inf", "-inf"], "'x' has 2 infinite values"),
        (["1" * 400, "2", "3"], "name it with --sequence"),
        (
            ["2020-01-01", "2021-02-03", ""],
            "holds dates; make numbers of them with --date x, or",
        ),
        (["2020-01-01 10:00:00", "", "2021-02-03 11:00:00"], "'x' holds dates"),
        (["10:00", "", "11:00:01"], "holds times; leave it out with --drop, or turn it into"),
        ([f"name{i}" for i in range(150)], "'x' has 150 different texts in 150 rows"),
    ],
)
def test_an_unusable_feature_is_refused_by_name(tmp_path, values, message):
    assert message in refusal(one_feature(tmp_path, values), Roles(("ill",)))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (["2020-01-01", "2021-02-03T04:05:06Z"] * 100, "holds dates"),
        ([f"{i:04}" for i in range(200)], "or name its digit strings with --sequence"),
        ([[1], [2]] * 100, "type list<"),
    ],
)
def test_parquet_text_is_looked_at_as_csv_text_is(tmp_path, values, message):
    frame = pd.DataFrame({"x": values, "y": range(200), "ill": [0, 1] * 100})
    frame.to_parquet(tmp_path / "t.parquet")
    assert message in refusal(tmp_path / "t.parquet", Roles(("ill",)))


def test_a_feature_that_is_not_utf_8_is_refused(tmp_path):
    path = tmp_path / "t.csv"
    path.write_bytes(b"a,ill\n1,0\ncaf\xe9,1\n")
    assert "'a' has bytes that are not UTF-8" in refusal(path, Roles(("ill",)))


def test_a_table_of_constant_features_is_refused(tmp_path):
    path = write(tmp_path / "t.csv", "a,b,c,ill", "1,,x,0", "1,,x,1")
    assert "every feature of t.csv is constant" in refusal(path, Roles(("ill",)))
