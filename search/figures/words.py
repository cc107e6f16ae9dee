"""Settings and numbers in words, as captions and reports have them."""

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from search.space.space import is_active
from studies.definition import SEARCHABLE
from trainer.visible import visible


def plotly_text(text: str) -> str:
    """Return text as plotly shows it as it is: escaped, its control characters written out."""
    return escape(visible(text))


def settings_html(config: Mapping[str, Any]) -> str:
    """Return the searched settings that are active under this config, as lines of HTML."""
    named = {key: config[key] for key in SEARCHABLE if key in config and is_active(key, config)}
    lines = [
        f"{key} {f'{value:.3g}' if isinstance(value, float) else value}"
        for key, value in named.items()
    ]
    return "<br>".join(map(plotly_text, lines))


def count(number: int, noun: str) -> str:
    """Return "1 trial", "2 trials"."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def percent(share: float) -> str:
    """Return a share in [0, 1] as "12 %"."""
    return f"{100 * share:.0f} %"


def listed(parts: Sequence[str]) -> str:
    """Return "a", "a and b", "a, b and c"."""
    return " and ".join(filter(None, (", ".join(parts[:-1]), *parts[-1:])))
