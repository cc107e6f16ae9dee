"""The bundled studies: what each is for, and the whole of one as a TOML file to start from."""

import json
import re
from collections.abc import Mapping
from typing import Any

from studies.definition import (
    BUNDLED,
    TABLES,
    bundled_names,
    find_definition,
    load_definition,
    read_definition,
)
from trainer.errors import ConfigError

LINE = 80  # characters, beyond which a list takes a line for each of its values

_TABLE = re.compile(r"\[(\w+)\]")
_KEY = re.compile(r"(\w+) *=")
_COMMENT = re.compile(r" (# [^#\"]*)$")


def describe_studies() -> list[tuple[str, str]]:
    """Return (name, description) of each bundled study."""
    return [(name, load_definition(name, {}).description) for name in bundled_names()]


def definition_text(name: str) -> str:
    """Return a bundled study in full, as TOML: saved to a file it loads as an equal definition.

    It opens with the study's own comment; keys carry the comments of default.toml. Raises
    ConfigError for a name that is not bundled.
    """
    path = find_definition(name)
    if path.parent != BUNDLED:
        raise ConfigError(f"{name} is a file of your own; bundled are {', '.join(bundled_names())}")
    values = read_definition(path)
    comments = _comments((BUNDLED / "default.toml").read_text(encoding="utf-8"))
    opening = re.match(r"(#.*\n)*", path.read_text(encoding="utf-8"))
    lines = [opening[0].rstrip() if opening else ""]
    comments["name"] = "  # without it, the name of the file"
    first = {"name": values["name"], **values}
    lines += _lines({k: v for k, v in first.items() if k not in TABLES}, "", comments)
    for table in TABLES:
        lines += ["", f"[{table}]{comments.get(table, '')}"]
        lines += _lines(values[table], f"{table}.", comments)
    return "\n".join(lines) + "\n"


def _comments(text: str) -> dict[str, str]:
    """Return the comment behind each key and table of a TOML text, by dotted name."""
    comments, at = {}, ""
    for line in text.splitlines():
        table, key, comment = _TABLE.match(line), _KEY.match(line), _COMMENT.search(line)
        if table:
            at = f"{table[1]}."
        if comment and (table or key):
            comments[at[:-1] if table else f"{at}{key[1] if key else ''}"] = f"  {comment[1]}"
    return comments


def _lines(values: Mapping[str, Any], at: str, comments: Mapping[str, str]) -> list[str]:
    return [f"{key} = {_toml(value)}{comments.get(at + key, '')}" for key, value in values.items()]


def _toml(value: Any) -> str:
    """Write a value as tomllib reads it."""
    if isinstance(value, Mapping):
        return "{ " + ", ".join(f"{key} = {_toml(v)}" for key, v in value.items()) + " }"
    if isinstance(value, list | tuple):
        items = [_toml(item) for item in value]
        line = f"[{', '.join(items)}]"
        return line if len(line) <= LINE else "[\n    " + ",\n    ".join(items) + ",\n]"
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False)
    return str(value).lower() if isinstance(value, bool) else str(value)
