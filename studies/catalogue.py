"""The bundled studies: what each is for, and the whole of one as a TOML file to start from."""

import re

from studies.definition import (
    BUNDLED,
    TABLES,
    bundled_names,
    find_definition,
    load_definition,
    read_definition,
)
from studies.toml import toml_text
from trainer.errors import ConfigError

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
    comments["name"] = "# without it, the name of the file"
    plain = {key: value for key, value in values.items() if key not in TABLES}
    ordered = {"name": values["name"], **plain, **{table: values[table] for table in TABLES}}
    head = opening[0].rstrip() if opening else ""
    return f"{head}\n{toml_text(ordered, comments)}"


def _comments(text: str) -> dict[str, str]:
    """Return the comment behind each key and table of a TOML text, by dotted name."""
    comments, at = {}, ""
    for line in text.splitlines():
        table, key, comment = _TABLE.match(line), _KEY.match(line), _COMMENT.search(line)
        if table:
            at = f"{table[1]}."
        if comment and (table or key):
            comments[at[:-1] if table else f"{at}{key[1] if key else ''}"] = comment[1]
    return comments
