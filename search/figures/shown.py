"""A figure with the sentence that explains it, and how trials look and are named in all of them."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

import numpy as np
import optuna
import plotly.graph_objects as go

from search.space.objective import in_words
from search.store.attributes import DEFINITION
from search.store.records import TrialRecord, acts
from studies.definition import SEARCHABLE
from trainer.pages.curves import BLUE, GREY

GREEN, PURPLE = "#009e73", "#cc79a7"  # of Okabe and Ito's colours, as far as legible on any ground
KEY_LETTERS = 56  # of a line of a key: as many as fit a phone
KEY_LINE = 16  # pixels
DOT = {"color": BLUE, "size": 6, "opacity": 0.8}  # a complete trial
RING = {"symbol": "circle-open", "color": GREY, "size": 6, "opacity": 0.8}  # a pruned one


@dataclass(frozen=True)
class Shown:
    """A figure, its title, and the sentence (plain text) that says what to see.

    A figure with a `layout.width` needs that many pixels; the others fit their place.
    """

    title: str
    figure: go.Figure
    sentence: str


def add_key(figure: go.Figure, marks: Mapping[str, tuple[str, str]]) -> None:
    """Name the marks that are drawn above the plot; each has a glyph and its colour.

    Plotly's own legend would take half of a phone, for there it has one entry a line.
    """
    drawn = {trace.name for trace in figure.data}
    lines: list[list[str]] = [[]]
    room = KEY_LETTERS
    for name, (glyph, colour) in ((n, mark) for n, mark in marks.items() if n in drawn):
        letters = len(name) + len(glyph) + 4
        if letters > room:
            lines.append([])
            room = KEY_LETTERS
        room -= letters
        lines[-1].append(f'<span style="color:{colour}">{glyph}</span> {escape(name)}')
    figure.add_annotation(
        text="<br>".join("\u2003".join(line) for line in lines),
        xref="paper",
        yref="paper",
        x=1,
        y=1,
        xanchor="right",
        yanchor="bottom",
        yshift=4,
        align="right",
        showarrow=False,
        font_size=11,
    )
    figure.layout.margin.t = 12 + KEY_LINE * len(lines)


def score_name(study: optuna.Study) -> str:
    """Return what the study maximises, in words."""
    objective: str = study.user_attrs.get(DEFINITION, {}).get("objective", "score")
    return in_words(objective)


def scored(records: Iterable[TrialRecord]) -> list[TrialRecord]:
    """Return the trials that have a score: the complete ones, and pruned ones with their last."""
    return [r for r in records if r.value is not None and math.isfinite(r.value)]


def settings(config: Mapping[str, Any]) -> str:
    """Return the searched settings that act under this config, as lines of HTML."""
    named = {key: config[key] for key in SEARCHABLE if key in config and acts(key, config)}
    lines = [
        f"{key} {f'{value:.3g}' if isinstance(value, float) else value}"
        for key, value in named.items()
    ]
    return "<br>".join(escape(line) for line in lines)


def compact(values: Iterable[float]) -> np.ndarray:
    """Return numbers as float32, (T,): seven digits that take little room in a page."""
    return np.fromiter(values, dtype=np.float32)


def count(number: int, noun: str) -> str:
    """Return "1 trial", "2 trials"."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def percent(share: float) -> str:
    """Return a share in [0, 1] as "12 %"."""
    return f"{100 * share:.0f} %"


def listed(parts: Sequence[str]) -> str:
    """Return "a", "a and b", "a, b and c"."""
    return " and ".join(filter(None, (", ".join(parts[:-1]), *parts[-1:])))
