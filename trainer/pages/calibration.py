"""Are a label's probabilities right, and is acting on them worth it? Figures and captions."""

import numpy as np
import plotly.graph_objects as go

from trainer.pages.curves import (
    BLUE,
    GREY,
    ORANGE,
    legend_above,
    plain_figure,
    wilson_interval,
)
from trainer.pages.html import number, percent
from trainer.scores.reliability import DecisionCurve, Reliability

CALIBRATED, RAW, ALL = "calibrated", "raw", "act on all"
LOOKS = {
    CALIBRATED: {"color": BLUE, "width": 2},
    RAW: {"color": ORANGE, "width": 1.5},
    ALL: {"color": GREY, "width": 1.5, "dash": "dash"},
}
LEGEND_LINE = 16  # pixels


def reliability_figure(bins: Reliability, raw: Reliability | None = None) -> go.Figure:
    """Draw the observed share over the mean probability of each bin, with Wilson intervals.

    `raw` are the bins before calibration, if there was one: they are drawn beside these as far as
    they fit, for they may lie far to the right.
    """
    low, high = wilson_interval(bins.observed, bins.rows)
    top = 1.06 * float(max(bins.predicted.max(), high.max()))
    figure = plain_figure("Mean probability", "Observed share", [0, top], [0, top])
    guess = {"color": GREY, "width": 1.5, "dash": "dash"}
    figure.add_scatter(x=[0, top], y=[0, top], mode="lines", line=guess, hoverinfo="skip")
    if raw is not None:
        figure.add_scatter(**_points(raw), line={"color": ORANGE, "width": 1}, marker={"size": 5})
    figure.add_scatter(
        **_points(bins),
        error_y={"array": high - bins.observed, "arrayminus": bins.observed - low, "width": 3},
        line={"color": BLUE, "width": 1.5},
        marker={"size": 7},
    )
    if raw is not None:
        _legend(figure, [CALIBRATED, RAW])
    return figure


def _points(bins: Reliability) -> dict[str, object]:
    text = "probability %{x:.3f}<br>observed %{y:.3f}<br>%{customdata} rows<extra></extra>"
    points = {"x": bins.predicted, "y": bins.observed, "customdata": bins.rows}
    return {**points, "mode": "lines+markers", "hovertemplate": text}


def reliability_caption(bins: Reliability, raw: Reliability | None = None) -> str:
    """Say how far the probabilities are from what was observed, and how much of that is chance."""
    mean, share = (float(np.average(v, weights=bins.rows)) for v in (bins.predicted, bins.observed))
    before = ""
    if raw is not None:
        raw_mean = float(np.average(raw.predicted, weights=raw.rows))
        before = f" ({percent(raw_mean)} before calibration)"
    return (
        f"The mean probability is {percent(mean)} where {percent(share)} are positive{before}. On "
        "the dashed line a probability can be taken at its word, below it promises too much. The "
        f"mean distance over {len(bins.rows)} bins of about {int(np.median(bins.rows)):,} rows is "
        f"{number(bins.error)}; probabilities that are right would come to about "
        f"{number(bins.error_by_chance)} by chance."
    )


def decision_curve_figure(curve: DecisionCurve) -> go.Figure:
    """Draw net benefit over the threshold probability; to act on no row is worth 0."""
    drawn = {**curve.net_benefit, ALL: curve.treat_all}
    best = max(max(values) for values in drawn.values())
    top = 1.08 * max(best, 1e-6)
    reach = [0, 1.02 * curve.thresholds[-1]]
    figure = plain_figure("Threshold probability", "Net benefit", reach, [-0.35 * top, top])
    figure.add_hline(y=0, line={"color": GREY, "width": 1})
    for name in (ALL, RAW, CALIBRATED):
        if name in drawn:
            figure.add_scatter(
                x=np.array(curve.thresholds, dtype=np.float32),
                y=np.array(drawn[name], dtype=np.float32),
                mode="lines",
                line=LOOKS[name],
                hovertemplate=f"{name}: %{{y:.4f}}<br>threshold %{{x:.3f}}<extra></extra>",
            )
    _legend(figure, [name for name in LOOKS if name in drawn])
    return figure


def decision_curve_caption(curve: DecisionCurve) -> str:
    """Say where acting on the probabilities beats acting on all rows and on none."""
    own = curve.net_benefit.get(CALIBRATED, curve.net_benefit.get(RAW, []))
    gains = [
        threshold
        for threshold, value, of_all in zip(curve.thresholds, own, curve.treat_all, strict=True)
        if value > max(of_all, 0.0) + 1e-12
    ]
    where = "nowhere"
    if gains:
        share = len(gains) / len(own)
        where = (
            f"at {percent(share, 0)} of the thresholds from {curve.thresholds[0]:.2g} to "
            f"{curve.thresholds[-1]:.2g}"
        )
    return (
        "Who acts on rows from a threshold probability on finds positives, and pays for false "
        "alarms at the threshold's odds: net benefit, in true positives a row. These probabilities "
        f"beat acting on all rows and on none {where}."
    )


def _legend(figure: go.Figure, names: list[str]) -> None:
    """Name the lines above the plot, on one line that also fits a phone."""
    marks = [
        f'<span style="color:{LOOKS[name]["color"]}">\N{BLACK CIRCLE}</span> {name}'
        for name in names
    ]
    legend_above(figure, "\u2002".join(marks))
    figure.layout.margin.t = 12 + LEGEND_LINE
