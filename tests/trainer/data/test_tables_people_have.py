"""Each file of tests/tables, with the reading beside it that is expected: pandas', or a refusal."""

import tomllib
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from trainer.data.cells.dialect import Dialect
from trainer.data.table import Roles, read_table
from trainer.errors import RaretuneError

TABLES = Path(__file__).parents[2] / "tables"
LIBRARIES = {(".xlsx",): "python_calamine", (".sav", ".dta", ".xpt"): "pyreadstat"}
CASES = sorted(path.stem for path in TABLES.glob("*.toml"))


def case(name):
    """Return a case's file, and what is said of it."""
    said = tomllib.loads((TABLES / f"{name}.toml").read_text(encoding="utf-8"))
    (path,) = (path for path in TABLES.glob(f"{name}.*") if path.suffix != ".toml")
    return path, said


def read(path, said):
    roles = {role: tuple(names) for role, names in said.get("roles", {}).items()}
    dialect = {k: tuple(v) if k == "missing" else v for k, v in said.get("dialect", {}).items()}
    return read_table(path, Roles(("ill",), **roles), Dialect(**dialect))


def by_pandas(path, said):
    """Return the features as pandas reads them, dates as the numbers that are made of them."""
    reference = path.parent / said.get("reference", path.name)
    frame = pd.read_csv(reference, **said["pandas"]).drop(columns="ill")
    for name, form in said.get("dates", {}).items():
        moments = pd.to_datetime(frame.pop(name), format=form)
        frame[f"{name}.days"] = (moments - pd.Timestamp(0)) / pd.Timedelta(days=1)
        frame[f"{name}.year"], frame[f"{name}.month"] = moments.dt.year, moments.dt.month
        frame[f"{name}.weekday"] = moments.dt.day_of_week
    return frame


@pytest.mark.parametrize("name", CASES)
def test_a_table_is_read_as_pandas_reads_it_or_refused_with_the_remedy(name):
    path, said = case(name)
    for endings, library in LIBRARIES.items():
        if path.suffix in endings:
            pytest.importorskip(library)
    if "refused" in said:
        with pytest.raises(RaretuneError) as error:
            read(path, said)
        assert said["refused"] in str(error.value)
        assert "\n" not in str(error.value)
        return
    table, expected = read(path, said), by_pandas(path, said)
    assert list(table.columns) == list(expected)
    assert list(table.notes) == said.get("notes", [])
    for column in expected:
        values = expected[column]
        if pd.api.types.is_numeric_dtype(values.dtype):  # booleans are
            assert column in table.numeric
            np.testing.assert_array_equal(table.columns[column], values.to_numpy(dtype=float))
        else:
            assert column in table.categorical
            texts = [None if pd.isna(value) else value for value in values]
            assert table.columns[column].tolist() == texts
