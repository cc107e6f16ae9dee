"""What the remedies brought: the score of all trials by their choice of each remedy."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import plotly.graph_objects as go

from search.figures.captioned import DOT, RING, CaptionedFigure, add_legend, compact, scored
from search.figures.words import count, plotly_text
from search.space.space import is_active
from search.store.records import (
    ChoiceSummary,
    TrialRecord,
    score_of,
    summarise_choices,
)
from trainer.pages.curves import BLUE, GREY, ORANGE, plain_figure

MARKS = {"pruned": RING, "complete": DOT}
LEGEND = {
    "complete": ("●", BLUE),
    "pruned": ("○", GREY),
    "median": ("|", ORANGE),
    "middle half": ("▬", GREY),
}
ROW_PIXELS = 24
SPREAD = 0.6  # of a row's height, for the trials of one choice
GOLDEN = 0.6180339887  # its multiples, modulo 1, fill [0, 1) evenly


@dataclass(frozen=True)
class _Row:
    """A choice of a remedy with its trials, and its place from top to bottom."""

    place: float
    choice: ChoiceSummary
    trials: list[TrialRecord]

    @property
    def values(self) -> list[float]:
        return [score_of(record) for record in self.trials]


def remedy_figure(records: Sequence[TrialRecord], score: str) -> CaptionedFigure | None:
    """Draw the score of all trials by their choice of each remedy; None if nothing was chosen.

    A remedy with one choice only is left out, and so are trials in which it is not active.
    """
    shown = scored(records)
    groups: dict[str, list[ChoiceSummary]] = {}
    for choice in summarise_choices(shown):
        groups.setdefault(choice.parameter, []).append(choice)
    chosen = [group for group in groups.values() if len(group) > 1]
    if not chosen:
        return None
    rows, headings = _rows(chosen, shown)
    ticks = headings | {row.place: f"{row.choice.choice} ({row.choice.trials})" for row in rows}
    figure = plain_figure(plotly_text(score), "", y_range=[max(ticks) + 0.7, -0.7])
    figure.update_layout(height=90 + ROW_PIXELS * len(ticks), margin_l=12)
    figure.update_xaxes(nticks=5, tickangle=0)
    names = {"tickvals": list(ticks), "ticktext": list(ticks.values()), "automargin": True}
    figure.update_yaxes(**names, showgrid=False)
    _add_middle_halves(figure, rows)
    for state in MARKS:
        _add_strips(figure, rows, state)
    _add_medians(figure, rows)
    add_legend(figure, LEGEND)
    caption = (
        f"Best {score} by choice: {'; '.join(map(_best_two, chosen))}. "
        "The median (orange) depends less on luck than the best. Trials that make no use of a "
        "setting are left out."
    )
    return CaptionedFigure("What the remedies brought", figure, caption)


def _rows(
    groups: Sequence[Sequence[ChoiceSummary]], records: Sequence[TrialRecord]
) -> tuple[list[_Row], dict[float, str]]:
    """Return the rows of all groups from top to bottom, and the headings by their place."""
    rows, headings, place = [], {}, 0.0
    for group in groups:
        parameter = group[0].parameter
        headings[place] = f"<b>{parameter}</b>"
        for choice in group:
            place += 1
            trials = [r for r in records if r.config.get(parameter) == choice.choice]
            rows.append(_Row(place, choice, [r for r in trials if is_active(parameter, r.config)]))
        place += 1.3
    return rows, headings


def _add_strips(figure: go.Figure, rows: Sequence[_Row], state: str) -> None:
    spots = [
        (score_of(record), row.place + SPREAD * (at * GOLDEN % 1 - 0.5), record.number)
        for row in rows
        for at, record in enumerate(row.trials)
        if record.state == state
    ]
    if not spots:
        return
    values, places, numbers = zip(*spots, strict=True)
    figure.add_scatter(
        x=compact(values),
        y=compact(places),
        customdata=np.array(numbers),
        name=state,
        mode="markers",
        marker=MARKS[state],
        hovertemplate=f"trial %{{customdata}} ({state})<br>%{{x:.4f}}<extra></extra>",
    )


def _add_middle_halves(figure: go.Figure, rows: Sequence[_Row]) -> None:
    ends = [(*np.quantile(row.values, [0.25, 0.75]), np.nan) for row in rows]
    figure.add_scatter(
        x=compact(np.ravel(ends)),
        y=compact(np.repeat([row.place for row in rows], 3)),
        name="middle half",
        mode="lines",
        line={"color": GREY, "width": 13},
        opacity=0.35,
        hoverinfo="skip",
    )


def _add_medians(figure: go.Figure, rows: Sequence[_Row]) -> None:
    line = {"color": ORANGE, "width": 3}
    figure.add_scatter(
        x=compact(row.choice.median for row in rows),
        y=compact(row.place for row in rows),
        customdata=[count(row.choice.trials, "trial") for row in rows],
        name="median",
        mode="markers",
        marker={"symbol": "line-ns", "size": 17, "line": line},
        hovertemplate="median %{x:.4f} of %{customdata}<extra></extra>",
    )


def _best_two(group: Sequence[ChoiceSummary]) -> str:
    first, second = group[:2]
    return (
        f"{first.parameter} {first.choice} {first.best:.4f}, then {second.choice} {second.best:.4f}"
    )
