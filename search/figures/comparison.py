"""The best trial beside what is simpler: test macro-F1 with intervals."""

from collections.abc import Sequence

import numpy as np
import plotly.graph_objects as go

from search.evidence.evidence import Evidence
from search.figures.captioned import CaptionedFigure
from search.figures.words import plotly_text
from trainer.pages.curves import BLUE, GREY, ORANGE, plain_figure

LONGEST = 24  # characters of a name on an axis
GUESS = {"color": GREY, "width": 1.5, "dash": "dash"}


def comparison_figure(evidence: Evidence) -> CaptionedFigure:
    """Draw the test macro-F1 of the best trial and of what it is compared with."""
    if evidence.macro_f1 is None or evidence.interval is None:
        raise ValueError("without test rows there is nothing to compare")
    rows = [(f"trial {evidence.trial}", evidence.macro_f1, evidence.interval)]
    rows += [(one.name, one.macro_f1, one.interval) for one in evidence.contenders]
    values = np.array([value for _, value, _ in rows])
    bounds = np.array([interval for *_, interval in rows])
    low, high = bounds.min(), bounds.max()
    pad = 0.05 * (high - low)
    figure = plain_figure("Test macro-F1", "", [max(0.0, low - pad), high + pad], [0, 1])
    figure.add_vline(x=evidence.macro_f1, line=GUESS)
    colors = [ORANGE, *[BLUE] * len(evidence.contenders)]
    for place, (value, (lowest, highest), color) in enumerate(
        zip(values, bounds, colors, strict=True)
    ):
        reach = {"array": [highest - value], "arrayminus": [value - lowest], "width": 5}
        figure.add_scatter(
            x=[value],
            y=[place],
            mode="markers",
            marker={"size": 11, "color": color},
            error_x={**reach, "thickness": 2.5, "color": color},
            hovertemplate=f"{value:.3f} ({lowest:.3f} to {highest:.3f})<extra></extra>",
        )
    name_rows(figure, [name for name, *_ in rows], height=44 * len(rows) + 80)
    return CaptionedFigure(
        "Compared with what is simpler",
        figure,
        "Macro-F1 on the test rows with 95\u00a0% intervals. All of them were scored on the same "
        "rows, so a difference can be certain even where two intervals overlap: the table below "
        "gives the interval of each difference.",
    )


def name_rows(figure: go.Figure, names: Sequence[str], height: int) -> None:
    """Name the rows 0, 1 ... of a figure from top to bottom, and make it that many pixels high."""
    figure.update_layout(height=height)
    figure.update_yaxes(
        tickvals=list(range(len(names))),
        ticktext=[plotly_text(_short(name)) + "  " for name in names],
        range=[len(names) - 0.4, -0.6],
        showgrid=False,
        automargin=True,
        title=None,
    )


def _short(name: str) -> str:
    return name if len(name) <= LONGEST else f"{name[: LONGEST - 1]}\N{HORIZONTAL ELLIPSIS}"
