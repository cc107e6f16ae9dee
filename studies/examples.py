"""The bundled example tables, built and written as CSV."""

from pathlib import Path

import pandas as pd

from studies import mesa, nafld
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
    """Write an example table to a CSV file, whole or not at all; return its number of rows."""
    table = build_example(name, rows=rows, seed=seed)
    with written_whole(path) as scratch:
        path.parent.mkdir(parents=True, exist_ok=True)
        table.to_csv(scratch, index=False)
    return len(table)
