"""The bundled example tables, built and written as CSV or Parquet."""

import gzip
from pathlib import Path

import pandas as pd

from studies import mesa, nafld
from trainer.data.formats import format_of
from trainer.errors import ConfigError
from trainer.writing import written_whole

NAMES = ("nafld", "mesa")


def build_example(name: str, *, rows: int | None = None, seed: int = 0) -> pd.DataFrame:
    """Build an example table; `rows` and `seed` are for the synthetic mesa. Raises ConfigError."""
    if name == "nafld":
        if rows is not None:
            raise ConfigError("nafld is a real table of 17,549 rows; give --rows with mesa only")
        return nafld.build()
    if name == "mesa":
        return mesa.build(rows=2000 if rows is None else rows, seed=seed)
    raise ConfigError(f"no example named {name!r}; there are {', '.join(NAMES)}")


def write_example(name: str, path: Path, *, rows: int | None = None, seed: int = 0) -> int:
    """Write an example table, whole or not at all, as its name's ending says; return its rows."""
    format_ = format_of(path)
    table = build_example(name, rows=rows, seed=seed)
    with written_whole(path) as file:
        if format_ == "parquet":
            table.to_parquet(file, index=False)
        else:
            text = table.to_csv(index=False).encode()
            file.write(gzip.compress(text, mtime=0) if format_ == "csv.gz" else text)
    return len(table)
