import io
import sys
import zipfile
from pathlib import Path

import pandas as pd
import pytest

from trainer.data.files import sources
from trainer.data.files.sources import from_anywhere, source_of, stem_of
from trainer.data.reading import read_columns
from trainer.errors import TableError

FRAME = pd.DataFrame({"a": [1.5, 2.0], "b": ["x", "y"]})


@pytest.mark.parametrize(
    ("name", "stem"),
    [
        ("clinic.csv", "clinic"),
        ("clinic.2020.TSV.gz", "clinic.2020"),
        ("clinic.zip", "clinic"),
        ("clinic.sas7bdat", "clinic"),
        ("clinic", "clinic"),
        (".csv", ""),
    ],
)
def test_a_table_s_stem_has_no_ending_that_says_its_format(name, stem):
    assert stem_of(Path(name)) == stem


@pytest.mark.parametrize("suffix", [".csv", ".csv.gz", ".parquet", ".zip"])
def test_standard_input_is_kept_as_a_file_of_what_it_is(monkeypatch, tmp_path, suffix):
    path = tmp_path / f"table{suffix}"
    if suffix == ".parquet":
        FRAME.to_parquet(path)
    else:
        FRAME.to_csv(path, index=False)
    sources._standard_input.cache_clear()
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(path.read_bytes())))
    kept = from_anywhere(Path("-"))
    assert kept.read_bytes() == path.read_bytes()
    assert from_anywhere(Path("-")) == kept
    assert read_columns(kept).to_dict() == FRAME.to_dict()
    assert from_anywhere(path) == path
    sources._standard_input.cache_clear()


def test_empty_standard_input_is_refused(monkeypatch):
    sources._standard_input.cache_clear()
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"")))
    with pytest.raises(TableError, match="standard input is empty"):
        from_anywhere(Path("-"))


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ([], "holds 0 files"),
        (["a.csv", "b.csv"], r"holds 2 files \(a.csv, b.csv\)"),
        (["a.parquet"], "holds 'a.parquet', which is no text"),
    ],
)
def test_a_zip_that_is_not_of_one_text_is_refused(tmp_path, names, message):
    path = tmp_path / "t.zip"
    with zipfile.ZipFile(path, "w") as packed:
        for name in names:
            packed.writestr(name, "a,b")
    with pytest.raises(TableError, match=message):
        read_columns(path)


def test_a_library_that_is_not_installed_is_named_with_its_extra(tmp_path, monkeypatch):
    for name, library in (("t.xlsx", "python_calamine"), ("t.sav", "pyreadstat")):
        monkeypatch.setitem(sys.modules, library, None)
        path = tmp_path / name
        path.write_bytes(b"PK")
        assert source_of(path).kind in ("workbook", "statistics")
        with pytest.raises(TableError, match=r'pip install "raretune\[files\]", or save it as CSV'):
            read_columns(path)
