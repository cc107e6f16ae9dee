"""How strong the remedies should be: the score over class weights' multiplier and focal gamma."""

import statistics
from collections.abc import Sequence

import plotly.graph_objects as go

from search.figures.captioned import DOT, RING, CaptionedFigure, add_legend, compact, scored
from search.figures.words import plotly_text
from search.space.space import is_active
from search.store.records import TrialRecord, score_of
from trainer.pages.curves import BLUE, GREY, plain_figure

MARKS = {"pruned": RING, "complete": DOT}
LEGEND = {"complete": ("●", BLUE), "pruned": ("○", GREY)}
FEWEST = 4  # trials of which a best quarter can be told from the others
STRENGTH_AXES: dict[str, dict[str, object]] = {
    "class_weight_multiplier": {
        "type": "log",
        "tickvals": [0.001, 0.01, 0.1, 0.3, 1, 3, 10, 30, 100, 1000],
    },
    "focal_gamma": {"nticks": 6},
}


def strength_figure(records: Sequence[TrialRecord], score: str) -> CaptionedFigure | None:
    """Draw the score over the multiplier of class weights and over the gamma of focal losses.

    Only trials in which they are active; None if there are too few of them or they are all alike.
    """
    panels = {}
    for parameter in STRENGTH_AXES:
        found = [
            r for r in scored(records) if parameter in r.config and is_active(parameter, r.config)
        ]
        if len(found) >= FEWEST and len({r.config[parameter] for r in found}) > 1:
            panels[parameter] = found
    if not panels:
        return None
    figure = plain_figure("", plotly_text(score))
    figure.update_layout(height=320)
    plain_axis = figure.layout.xaxis.to_plotly_json()
    share = 1 / len(panels)
    for number, (parameter, found) in enumerate(panels.items()):
        _add_panel(figure, found, parameter, f"x{number + 1}")
        axis = {**plain_axis, "title": {"text": parameter, "standoff": 8}, "tickangle": 0}
        axis |= STRENGTH_AXES[parameter]
        figure.layout[f"xaxis{number + 1}"] = axis
        figure.layout[f"xaxis{number + 1}"].domain = [number * share, (number + 0.92) * share]
    add_legend(figure, LEGEND)
    caption = " ".join(_quarter(parameter, found) for parameter, found in panels.items())
    return CaptionedFigure("How strong the remedies should be", figure, caption)


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
        f"Of {len(ranked)} trials that use {parameter}, the best quarter has a median of "
        f"{statistics.median(best):.2g}, the others one of {statistics.median(others):.2g}."
    )
