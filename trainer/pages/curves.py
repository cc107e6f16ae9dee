"""ROC and precision-recall of one label: points from pure functions, then figures."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import plotly.graph_objects as go
from sklearn.metrics import precision_recall_curve, roc_curve
from torch import Tensor

from trainer.scores.evaluation import LabelScores

MOST_POINTS = 300
BLUE, ORANGE, GREY = "#2f8fcf", "#d9730d", "#8a8f98"  # told apart in any kind of colour vision
_Z = 1.959964  # 97.5 % quantile of the normal distribution


@dataclass(frozen=True)
class Curve:
    """Points of a curve in rising x, each array (T,); `thresholds` fall along it."""

    x: np.ndarray
    y: np.ndarray
    thresholds: np.ndarray

    def thinned(self) -> "Curve":
        """Keep at most MOST_POINTS, evenly spread over them, the ends among them."""
        kept = np.unique(np.linspace(0, len(self.x) - 1, MOST_POINTS).round().astype(int))
        return Curve(self.x[kept], self.y[kept], self.thresholds[kept])


def roc_points(probabilities: Tensor, labels: Tensor) -> Curve:
    """Return recall (y) over the false positive rate (x) at the corners of the ROC curve.

    Shapes (N rows): probabilities (N,), labels (N,) holding both 0 and 1.
    """
    return Curve(*roc_curve(labels.numpy(), probabilities.numpy()))


def precision_recall_points(probabilities: Tensor, labels: Tensor) -> Curve:
    """Return precision (y) over recall (x): the best precision at each recall there is.

    Drawn as steps, each precision reaching back to the recall before it, the area below the curve
    is the average precision. Shapes as in `roc_points`.
    """
    precision, recall, thresholds = precision_recall_curve(labels.numpy(), probabilities.numpy())
    rising, first = np.unique(recall[-2::-1], return_index=True)
    first = first[rising > 0]
    x, y, cuts = recall[-2::-1][first], precision[-2::-1][first], thresholds[::-1][first]
    return Curve(np.append(0.0, x), np.append(y[0], y), np.append(cuts[0], cuts))


def wilson_interval(shares: np.ndarray, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the bounds of 95 % intervals of shares (B,) of so many independent rows (B,).

    Source: Wilson 1927, doi:10.1080/01621459.1927.10502953.
    """
    scale = 1 + _Z**2 / rows
    middle = (shares + _Z**2 / (2 * rows)) / scale
    reach = _Z / scale * np.sqrt(shares * (1 - shares) / rows + _Z**2 / (4 * rows**2))
    return np.maximum(middle - reach, 0.0), np.minimum(middle + reach, 1.0)


def roc_figure(curve: Curve, scores: LabelScores) -> go.Figure:
    """Draw the ROC curve, the diagonal of guessing, and the decisions in use as a dot."""
    negatives = scores.false_positives + scores.true_negatives
    figure = plain_figure("False positive rate", "Recall", [0, 1.01], [0, 1.03])
    figure.add_scatter(**_LINE, x=[0, 1], y=[0, 1], line=_GUESS, hoverinfo="skip")
    figure.add_scatter(**_LINE, **_along(curve, "false positive rate", "recall"))
    figure.add_scatter(**_dot(scores.false_positives / negatives, scores.recall))
    return figure


def precision_recall_figure(curve: Curve, scores: LabelScores) -> go.Figure:
    """Draw precision over recall, the prevalence, and the decisions in use as a dot."""
    figure = plain_figure("Recall", "Precision", [0, 1.01], [0, 1.03 * max(curve.y.max(), 0.05)])
    level = [scores.prevalence] * 2
    figure.add_scatter(**_LINE, x=[0, 1], y=level, line=_GUESS, hoverinfo="skip")
    figure.add_scatter(**_LINE, **_along(curve, "recall", "precision"), line_shape="vh")
    figure.add_scatter(**_dot(scores.recall, scores.precision))
    return figure


def plain_figure(
    x: str,
    y: str,
    x_range: Sequence[float] | None = None,
    y_range: Sequence[float] | None = None,
) -> go.Figure:
    """Return an empty figure in the look of all pages; `x` and `y` name its axes, as HTML.

    It is as wide as its place, has no title, and is legible on white and on black. Without a range
    an axis fits what is drawn.
    """
    figure = go.Figure()
    figure.update_layout(
        template="none",
        height=290,
        margin={"l": 52, "r": 10, "t": 10, "b": 46},
        showlegend=False,
        dragmode=False,
        paper_bgcolor="rgba(0,0,0,0)",
        plot_bgcolor="rgba(0,0,0,0)",
        font={"family": "system-ui, sans-serif", "size": 12, "color": GREY},
        hoverlabel={"bgcolor": "#24292f", "font": {"color": "white"}},
    )
    axis = {"fixedrange": True, "zeroline": False, "gridcolor": "rgba(138,143,152,0.25)"}
    figure.update_xaxes(**axis, nticks=7, title={"text": x, "standoff": 8}, range=x_range)
    figure.update_yaxes(**axis, title={"text": y, "standoff": 8}, range=y_range)
    return figure


_LINE = {"mode": "lines"}
_GUESS = {"color": GREY, "width": 1.5, "dash": "dash"}


def legend_above(figure: go.Figure, html: str) -> None:
    """Write a legend above the right end of a plot, in lines of HTML."""
    figure.add_annotation(
        text=html,
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


def _along(curve: Curve, x: str, y: str) -> dict[str, object]:
    text = f"{x} %{{x:.3f}}<br>{y} %{{y:.3f}}<br>threshold %{{customdata:.3f}}<extra></extra>"
    points = {"x": curve.x, "y": curve.y, "customdata": np.minimum(curve.thresholds, 1.0)}
    return {**points, "line_color": BLUE, "line_width": 2, "hovertemplate": text}


def _dot(x: float, y: float) -> dict[str, object]:
    marker = {"color": ORANGE, "size": 11, "line": {"color": "white", "width": 1.5}}
    text = "in use: %{x:.3f}, %{y:.3f}<extra></extra>"
    return {"x": [x], "y": [y], "mode": "markers", "marker": marker, "hovertemplate": text}
