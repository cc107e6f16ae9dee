"""Whether the installed Optuna's tables are those that the SQL of search.store.database is for.

Where they are not, nothing of that module is imported, and all goes through Optuna's own calls.
"""

import functools
import hashlib
from importlib import import_module
from typing import Any

MODELS = "optuna.storages._rdb.models"
KNOWN = "becd622f06e14bf192421648f5510051056501b7084dda2108f490212ec95e40"  # of Optuna 5.0


def are_known() -> bool:
    """Return whether our SQL fits the tables of the installed Optuna."""
    return digest() == KNOWN


@functools.cache
def digest() -> str:
    """Return the SHA-256 of all tables' columns, types, constraints and names; "" without any."""
    try:
        models: Any = import_module(MODELS).BaseModel
        lines = [line for mapper in models.registry.mappers for line in _described(mapper)]
    except (ImportError, AttributeError):
        return ""
    return hashlib.sha256("\n".join(sorted(lines)).encode()).hexdigest()


def _described(mapper: Any) -> list[str]:
    """Return a line for each column, the attribute it has, each constraint and each index."""
    table = mapper.local_table
    columns = [f"{table}.{c.name} {c.type!r} {c.nullable} {c.primary_key}" for c in table.columns]
    names = [f"{table}.{one.columns[0].name} is {one.key}" for one in mapper.column_attrs]
    constraints = [
        f"{table} {type(one).__name__} {sorted(column.name for column in one.columns)} "
        f"{getattr(one, 'sqltext', '')}"
        for one in table.constraints
    ]
    keys = [f"{table} {key.parent.name} -> {key.target_fullname}" for key in table.foreign_keys]
    indexes = [
        f"{table} {sorted(c.name for c in one.columns)} {one.unique}" for one in table.indexes
    ]
    return [*columns, *names, *constraints, *keys, *indexes]
