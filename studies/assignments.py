"""Keys and values that people write: `--set KEY=VALUE`, and names that are near a wrong one."""

import datetime
import difflib
import tomllib
from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Any

from trainer.errors import ConfigError

MAX_NEAR = 3
OPENS_A_VALUE = ("[", "{", '"', "'")


def parse_assignments(texts: Iterable[str]) -> dict[str, Any]:
    """Read KEY=VALUE texts as {dotted key: value}, in their order; of one key, the last counts.

    A value is TOML: 3, 0.1, true, "text", ["a", "b"], { low = 1, high = 2 }; what can't begin one
    is a string, so that words, paths and URLs need no quotes. Raises ConfigError.
    """
    assignments: dict[str, Any] = {}
    for text in texts:
        key, equals, value = (part.strip() for part in text.partition("="))
        if not (key and equals):
            raise ConfigError(
                f"--set {text!r} is not KEY=VALUE; write for example --set budget.trials=20"
            )
        assignments.pop(key, None)
        assignments[key] = _read_value(key, value)
    return assignments


def _read_value(key: str, text: str) -> Any:
    try:
        found = tomllib.loads(f"value = {text}")
    except tomllib.TOMLDecodeError:
        found = {}
    if found.keys() == {"value"} and not isinstance(found["value"], datetime.date | datetime.time):
        return found["value"]
    if text.startswith(OPENS_A_VALUE):
        raise ConfigError(
            f"--set {key}: the value is not valid TOML; quote it for the shell, "
            f"""as in --set '{key}=["a", "b"]'"""
        )
    return text


def check_keys(values: Mapping[str, Any], known: Collection[str], tables: Collection[str]) -> None:
    """Refuse nested values with a key that is not among the dotted `known` ones.

    `tables` are the known keys that hold other keys, and so must be tables. Raises ConfigError with
    the key, not its value, which may be a password, and the known keys near to it.
    """
    for key, value in _dotted(values):
        if key not in known:
            raise ConfigError(f"there is no key {key}; {_near(key, known)}")
        if key in tables and not isinstance(value, Mapping):
            raise ConfigError(f"{key} is not a value but a table; {_beside(f'{key}.', known)}")


def _dotted(values: Mapping[str, Any], at: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in values.items():
        yield f"{at}{key}", value
        if isinstance(value, Mapping):
            yield from _dotted(value, f"{at}{key}.")


def _near(key: str, known: Collection[str]) -> str:
    """Say which keys are named alike, here or in another table, or else which ones there are."""
    close = difflib.get_close_matches(key, known, MAX_NEAR, cutoff=0.8)
    elsewhere = [other for other in known if _split(other)[1] == _split(key)[1]]
    near = list(dict.fromkeys(close or elsewhere))[:MAX_NEAR]
    return f"did you mean {' or '.join(near)}?" if near else _beside(key, known)


def _beside(key: str, known: Collection[str]) -> str:
    table = _split(key)[0]
    names = [_split(other)[1] for other in known if _split(other)[0] == table]
    return f"keys {f'of {table} ' if table else ''}are {', '.join(names)}"


def _split(key: str) -> tuple[str, str]:
    table, _, name = key.rpartition(".")
    return table, name
