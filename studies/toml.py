"""Values -> TOML that tomllib reads back as the same values."""

import json
import math
import re
from collections.abc import Iterator, Mapping
from typing import Any

LINE = 80  # characters, beyond which a list takes a line for each of its values

_BARE = re.compile(r"[A-Za-z0-9_-]+")


def toml_text(values: Mapping[str, Any], comments: Mapping[str, str] | None = None) -> str:
    """Return values as a TOML document: plain keys first, then a table for each mapping.

    `comments` are put behind the keys and tables of their dotted names, each with its "# ". A
    mapping within a table is written inline. Raises TypeError for what TOML does not know, as None.
    """
    tables = {key: value for key, value in values.items() if isinstance(value, Mapping)}
    plain = {key: value for key, value in values.items() if key not in tables}
    lines = list(_lines(plain, "", comments or {}))
    for name, table in tables.items():
        lines += ["", f"[{_key(name)}]{_comment(name, comments or {})}"]
        lines += _lines(table, f"{name}.", comments or {})
    return "\n".join(lines) + "\n"


def _lines(values: Mapping[str, Any], at: str, comments: Mapping[str, str]) -> Iterator[str]:
    for key, value in values.items():
        yield f"{_key(key)} = {_value(value)}{_comment(at + key, comments)}"


def _comment(name: str, comments: Mapping[str, str]) -> str:
    return f"  {comments[name]}" if name in comments else ""


def _key(name: str) -> str:
    return name if _BARE.fullmatch(name) else _text(name)


def _value(value: Any) -> str:
    if isinstance(value, Mapping):
        return "{ " + ", ".join(f"{_key(key)} = {_value(v)}" for key, v in value.items()) + " }"
    if isinstance(value, list | tuple):
        items = [_value(item) for item in value]
        line = f"[{', '.join(items)}]"
        return line if len(line) <= LINE else "[\n    " + ",\n    ".join(items) + ",\n]"
    if isinstance(value, str):
        return _text(value)
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)  # nan, inf and -inf are TOML as Python writes them
    if isinstance(value, int | float):
        return repr(value)
    raise TypeError(f"TOML has no value for {value!r}")


def _text(text: str) -> str:
    """Return a JSON string; the one character that JSON takes and TOML does not is escaped."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")
