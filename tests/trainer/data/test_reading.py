import gzip
import hashlib
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from trainer.data.reading import hash_file, read_columns, stream_arrow, to_frame
from trainer.errors import TableError


def write(path: Path, *lines: str) -> Path:
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def refusal(path: Path) -> str:
    with pytest.raises(TableError) as error:
        read_columns(path)
    message = str(error.value)
    assert "\n" not in message
    return message


def test_the_hash_is_that_of_the_bytes(tmp_path):
    path = write(tmp_path / "t.csv", "a,b", "1,2")
    assert hash_file(path) == hashlib.sha256(b"a,b\n1,2\n").hexdigest()


@pytest.mark.parametrize("suffix", [".csv", ".csv.gz", ".parquet"])
def test_streamed_tables_together_are_the_columns_read_at_once(tmp_path, monkeypatch, suffix):
    """Types are not guessed block by block: here every first block looks whole, or empty."""
    monkeypatch.setattr("trainer.data.reading.BLOCK_BYTES", 1 << 10)
    monkeypatch.setattr("trainer.data.reading.TABLE_ROWS", 150)
    n = 4000
    half = np.arange(n) / 2
    frame = pd.DataFrame({"late": np.where(half < 1500, np.nan, half), "half": half, "extra": "e"})
    frame.loc[: n // 2, "half"] = 1.0
    frame["code"] = [f"{i % 5:03}" for i in range(n)]
    frame["flag"] = [bool(i % 2) for i in range(n)]
    path = tmp_path / f"table{suffix}"
    if suffix == ".parquet":
        frame.to_parquet(path, index=False)
    else:
        frame.to_csv(path, index=False, compression="infer", float_format="%g")
    names = ["late", "half", "flag"]
    tables = list(stream_arrow(path, numbers=[*names, "absent"], text=["code"]))
    assert len(tables) > 9
    assert all(150 <= len(table) < 300 for table in tables[:-1])
    whole = read_columns(path, text=["code"])
    together = pd.concat(map(to_frame, tables), ignore_index=True)
    assert sorted(together) == sorted([*names, "code"])
    pd.testing.assert_frame_equal(together[[*names, "code"]], whole[[*names, "code"]])
    assert whole["code"].iloc[1] == "001"


def test_streaming_refuses_text_among_numbers(tmp_path):
    path = write(tmp_path / "t.csv", "a,b,c", *["1,2,3"] * 200_000, "1,2,three")
    with pytest.raises(TableError, match=r"column .c.: Row #200002: .*three"):
        list(stream_arrow(path, numbers=["a", "c"], text=[]))


def test_files_without_labels_or_with_any_column_can_be_read_for_prediction(tmp_path):
    path = write(tmp_path / "new.csv", "when,age", "2020-01-01,3", "2020-01-02,")
    assert read_columns(path)["age"].tolist()[0] == 3.0


def test_a_row_keeps_its_quotes_commas_and_line_breaks(tmp_path):
    path = write(tmp_path / "t.csv", "a,b", '"x, ""y""\nz",1', ",2")
    assert read_columns(path)["a"].tolist() == ['x, "y"\nz', None]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("t.pdf", b"a", "t.pdf is none of .csv, .tsv,"),
        ("t.parquet.gz", b"a", "unpack it first"),
        ("t.csv", b"", "t.csv is empty"),
        ("t.csv", b"a,ill\n", "header but no rows"),
        ("t.csv", b"a,ill", "t.csv"),
        ("t.csv", b"a,a,b,b,ill\n1,2,3,4,0\n", "same name: 'a', 'b'; rename"),
        ("t.csv", b",ill\n1,0\n2,1\n", "column 1 of t.csv has no name"),
        ("t.csv", b"a,ill\n1,0\n2\n3,1\n", "Row #3: Expected 2 columns, got 1"),
        ("t.csv", b"caf\xe9,ill\n1,0\n2,1\n", "header that is not UTF-8"),
        ("t.csv", b"\0\1\2", "t.csv"),
        ("t.csv.gz", b"a,ill\n1,0\n", "can't read t.csv.gz: zlib"),
        (
            "t.csv.gz",
            gzip.compress(b"a,ill\n1,0\n2,1\n", mtime=0)[:-9],
            "can't read t.csv.gz: Trunc",
        ),
        ("t.parquet", b"a,ill\n1,0\n", "can't read t.parquet"),
    ],
)
def test_an_unusable_file_is_refused(tmp_path, name, content, message):
    path = tmp_path / name
    path.write_bytes(content)
    assert message in refusal(path)


def test_a_path_without_a_file_is_refused(tmp_path):
    assert "no file" in refusal(tmp_path / "none.csv")
    assert "is a directory" in refusal(tmp_path)


@pytest.mark.parametrize("suffix", [".csv", ".csv.gz", ".parquet"])
def test_a_broken_file_is_refused_when_streamed(tmp_path, suffix):
    path = tmp_path / f"t{suffix}"
    path.write_bytes(b"\0\xff")
    with pytest.raises(TableError, match=f"t{suffix}"):
        list(stream_arrow(path, numbers=["a"], text=[]))
