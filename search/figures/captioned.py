"""A figure with its title and caption, and how trials look in all of them."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
import plotly.graph_objects as go

from search.figures.words import plotly_text
from search.store.records import TrialRecord
from trainer.pages.curves import BLUE, GREY, legend_above

GREEN, PURPLE = "#009e73", "#cc79a7"  # of Okabe and Ito's colours, as far as legible on any ground
LEGEND_LETTERS = 56  # of a line of a legend: as many as fit a phone
LEGEND_LINE = 16  # pixels
DOT = {"color": BLUE, "size": 6, "opacity": 0.8}  # a complete trial
RING = {"symbol": "circle-open", "color": GREY, "size": 6, "opacity": 0.8}  # a pruned one


@dataclass(frozen=True)
class CaptionedFigure:
    """A figure, its title, and the caption (plain text) that says what to see.

    A figure with a `layout.width` needs that many pixels; the others fit their place.
    """

    title: str
    figure: go.Figure
    caption: str


def add_legend(figure: go.Figure, marks: Mapping[str, tuple[str, str]]) -> None:
    """Name the marks that are drawn above the plot; each has a glyph and its colour.

    Plotly's own legend would take half of a phone, for there it has one entry a line.
    """
    drawn = {trace.name for trace in figure.data}
    lines: list[list[str]] = [[]]
    room = LEGEND_LETTERS
    for name, (glyph, colour) in ((n, mark) for n, mark in marks.items() if n in drawn):
        letters = len(name) + len(glyph) + 4
        if letters > room:
            lines.append([])
            room = LEGEND_LETTERS
        room -= letters
        lines[-1].append(f'<span style="color:{colour}">{glyph}</span> {plotly_text(name)}')
    legend_above(figure, "<br>".join("\u2003".join(line) for line in lines))
    figure.layout.margin.t = 12 + LEGEND_LINE * len(lines)


def scored(records: Iterable[TrialRecord]) -> list[TrialRecord]:
    """Return the trials that have a score: the complete ones, and pruned ones with their last."""
    return [r for r in records if r.value is not None and math.isfinite(r.value)]


def compact(values: Iterable[float]) -> np.ndarray:
    """Return numbers as float32, (T,): seven digits that take little room in a page."""
    return np.fromiter(values, dtype=np.float32)
