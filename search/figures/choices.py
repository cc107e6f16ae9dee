"""What the remedies brought: the score by choice, and over the strength of weights and gamma."""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

import numpy as np
import plotly.graph_objects as go

from search.figures.shown import DOT, RING, Shown, add_key, compact, count, scored
from search.store.records import ChoiceRecord, TrialRecord, acts, remedies, score_of
from trainer.pages.curves import BLUE, GREY, ORANGE, plain_figure

MARKS = {"pruned": RING, "complete": DOT}
KEY = {
    "complete": ("●", BLUE),
    "pruned": ("○", GREY),
    "median": ("|", ORANGE),
    "middle half": ("▬", GREY),
}
ROW_PIXELS = 24
SPREAD = 0.6  # of a row's height, for the trials of one choice
GOLDEN = 0.6180339887  # its multiples, modulo 1, fill [0, 1) evenly
FEWEST = 4  # trials of which a best quarter can be told from the others
STRENGTH_AXES: dict[str, dict[str, object]] = {
    "class_weight_multiplier": {
        "type": "log",
        "tickvals": [0.001, 0.01, 0.1, 0.3, 1, 3, 10, 30, 100, 1000],
    },
    "focal_gamma": {"nticks": 6},
}


@dataclass(frozen=True)
class _Row:
    """A choice of a remedy with its trials, and its place from top to bottom."""

    place: float
    choice: ChoiceRecord
    trials: list[TrialRecord]

    @property
    def values(self) -> list[float]:
        return [score_of(record) for record in self.trials]


def remedy_figure(records: Sequence[TrialRecord], score: str) -> Shown | None:
    """Draw the score of all trials by their choice of each remedy; None if nothing was chosen.

    A remedy with one choice only is left out, and so are trials in which it does not act.
    """
    shown = scored(records)
    groups: dict[str, list[ChoiceRecord]] = {}
    for choice in remedies(shown):
        groups.setdefault(choice.parameter, []).append(choice)
    chosen = [group for group in groups.values() if len(group) > 1]
    if not chosen:
        return None
    rows, headings = _rows(chosen, shown)
    ticks = headings | {row.place: f"{row.choice.choice} ({row.choice.trials})" for row in rows}
    figure = plain_figure(escape(score), "", y_range=[max(ticks) + 0.7, -0.7])
    figure.update_layout(height=90 + ROW_PIXELS * len(ticks), margin_l=12)
    figure.update_xaxes(nticks=5, tickangle=0)
    names = {"tickvals": list(ticks), "ticktext": list(ticks.values()), "automargin": True}
    figure.update_yaxes(**names, showgrid=False)
    _add_middle_halves(figure, rows)
    for state in MARKS:
        _add_strips(figure, rows, state)
    _add_medians(figure, rows)
    add_key(figure, KEY)
    sentence = (
        f"Best {score} by choice: {'; '.join(map(_best_two, chosen))}. "
        "Medians (orange) hang less on luck than the best; a choice counts only where it acts."
    )
    return Shown("What the remedies brought", figure, sentence)


def _rows(
    groups: Sequence[Sequence[ChoiceRecord]], records: Sequence[TrialRecord]
) -> tuple[list[_Row], dict[float, str]]:
    """Return the rows of all groups from top to bottom, and the headings by their place."""
    rows, headings, place = [], {}, 0.0
    for group in groups:
        parameter = group[0].parameter
        headings[place] = f"<b>{parameter}</b>"
        for choice in group:
            place += 1
            trials = [r for r in records if r.config.get(parameter) == choice.choice]
            rows.append(_Row(place, choice, [r for r in trials if acts(parameter, r.config)]))
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


def _best_two(group: Sequence[ChoiceRecord]) -> str:
    first, second = group[:2]
    return (
        f"{first.parameter} {first.choice} {first.best:.4f}, then {second.choice} {second.best:.4f}"
    )


def strength_figure(records: Sequence[TrialRecord], score: str) -> Shown | None:
    """Draw the score over the multiplier of class weights and over the gamma of focal losses.

    Only trials in which they act; None if there are too few of them or they are all alike.
    """
    panels = {}
    for parameter in STRENGTH_AXES:
        found = [r for r in scored(records) if parameter in r.config and acts(parameter, r.config)]
        if len(found) >= FEWEST and len({r.config[parameter] for r in found}) > 1:
            panels[parameter] = found
    if not panels:
        return None
    figure = plain_figure("", escape(score))
    figure.update_layout(height=320)
    plain_axis = figure.layout.xaxis.to_plotly_json()
    share = 1 / len(panels)
    for number, (parameter, found) in enumerate(panels.items()):
        _add_panel(figure, found, parameter, f"x{number + 1}")
        axis = {**plain_axis, "title": {"text": parameter, "standoff": 8}, "tickangle": 0}
        axis |= STRENGTH_AXES[parameter]
        figure.layout[f"xaxis{number + 1}"] = axis
        figure.layout[f"xaxis{number + 1}"].domain = [number * share, (number + 0.92) * share]
    add_key(figure, KEY)
    sentence = " ".join(_quarter(parameter, found) for parameter, found in panels.items())
    return Shown("How strong the remedies should be", figure, sentence)


def _add_panel(
    figure: go.Figure, records: Sequence[TrialRecord], parameter: str, axis: str
) -> None:
    for state, look in MARKS.items():
        found = [record for record in records if record.state == state]
        if not found:
            continue
        figure.add_scatter(
            x=compact(record.config[parameter] for record in found),
            y=compact(score_of(record) for record in found),
            customdata=[f"trial {r.number} ({r.config.get('loss_type')})" for r in found],
            xaxis=axis,
            name=state,
            mode="markers",
            marker=look,
            hovertemplate=f"%{{customdata}}<br>{parameter} %{{x:.3g}}<br>%{{y:.4f}}<extra></extra>",
        )


def _quarter(parameter: str, records: Sequence[TrialRecord]) -> str:
    """Say how strong the best quarter of these trials is, and how strong the others are."""
    ranked = sorted(records, key=lambda record: -score_of(record))
    strengths = [record.config[parameter] for record in ranked]
    best = strengths[: len(ranked) // 4]
    others = strengths[len(ranked) // 4 :]
    return (
        f"Of {len(ranked)} trials in which {parameter} acts, the best quarter has a median of "
        f"{statistics.median(best):.2g}, the others of {statistics.median(others):.2g}."
    )
