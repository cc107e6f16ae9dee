"""The figures of each label: its curve, its reliability, and the columns that matter to it."""

import numpy as np

from search.evidence.evidence import LabelCalibration, LabelEvidence
from search.figures.captioned import CaptionedFigure, compact
from search.figures.comparison import GUESS, name_rows
from search.figures.words import plotly_text
from trainer import wording
from trainer.pages import calibration
from trainer.pages.curves import BLUE, GREY, ORANGE, plain_figure
from trainer.scores.reliability import Reliability

STEADY = 10  # predicted rows from which on a precision is more than noise


def chosen_cut(label: LabelEvidence) -> int:
    """Return the place of a label's threshold among its cuts."""
    return label.cuts.index(label.threshold)


def precision_recall_figure(label: LabelEvidence) -> CaptionedFigure:
    """Draw precision over recall on the validation rows; the last trace is the cut to move."""
    found, alarms = np.array(label.true_positives), np.array(label.false_positives)
    recall = found / label.positives
    precision = found / np.maximum(found + alarms, 1)
    share = label.positives / label.rows
    steady = precision[found + alarms >= STEADY]
    top = min(1.03, 1.25 * max(float(steady.max(initial=0.0)), 2 * share))
    figure = plain_figure("Recall", "Precision", [0, 1.02], [0, top])
    figure.add_scatter(x=[0, 1], y=[share] * 2, mode="lines", line=GUESS, hoverinfo="skip")
    figure.add_scatter(
        x=compact(recall),
        y=compact(precision),
        customdata=compact(label.cuts_in_use),
        mode="lines",
        line={"color": BLUE, "width": 2},
        hovertemplate="recall %{x:.3f}<br>precision %{y:.3f}<br>threshold %{customdata:.3f}"
        "<extra></extra>",
    )
    place = chosen_cut(label)
    x, y = recall[place], precision[place]
    marks = {
        "chosen": {"symbol": "diamond-open", "size": 15, "color": ORANGE, "line": {"width": 2}},
        "here": {"size": 10, "color": ORANGE, "line": {"color": "white", "width": 1.5}},
    }
    for name, marker in marks.items():
        figure.add_scatter(
            x=[x],
            y=[y],
            mode="markers",
            marker=marker,
            hovertemplate=f"{name}: recall %{{x:.3f}}, precision %{{y:.3f}}<extra></extra>",
        )
    return CaptionedFigure(
        "Precision and recall",
        figure,
        f"On the validation rows the threshold {wording.threshold(label.threshold_in_use)} "
        "(diamond) finds "
        f"{100 * x:.1f}\u00a0% of the positives, and {100 * y:.1f}\u00a0% of the rows that it "
        "predicts to be positive are positive; guessing would reach a precision of "
        f"{100 * share:.1f}\u00a0% (dashed line).",
    )


def reliability_figure(label: LabelEvidence) -> CaptionedFigure:
    """Draw what was observed over the mean probability of each bin, before and after calibration.

    Calibrated are the rows by curves that were fitted without them.
    """
    bins, raw = _bins(label), None
    if label.calibration is not None:
        bins, raw = _bins(label.calibration), bins
    return CaptionedFigure(
        "Reliability",
        calibration.reliability_figure(bins, raw),
        calibration.reliability_caption(bins, raw),
    )


def _bins(of: LabelEvidence | LabelCalibration) -> Reliability:
    return Reliability(np.array(of.predicted), np.array(of.observed), np.array(of.bin_rows))


def decision_curve_figure(told: LabelCalibration) -> CaptionedFigure:
    """Draw what it is worth to act on the rows from each threshold probability on."""
    return CaptionedFigure(
        "Decision curve",
        calibration.decision_curve_figure(told.decisions),
        calibration.decision_curve_caption(told.decisions),
    )


def columns_figure(label: LabelEvidence) -> CaptionedFigure:
    """Draw what shuffling a column costs, the most on top, with the spread over repeats."""
    ranked = sorted(label.columns, key=lambda column: column.drop, reverse=True)
    drops, spreads = ([getattr(one, name) for one in ranked] for name in ("drop", "spread"))
    low = min(0.0, *(drop - spread for drop, spread in zip(drops, spreads, strict=True)))
    high = max(1e-6, *(drop + spread for drop, spread in zip(drops, spreads, strict=True)))
    figure = plain_figure("Drop of average precision", "", [1.05 * low, 1.05 * high], [0, 1])
    figure.add_bar(
        x=drops,
        y=list(range(len(ranked))),
        orientation="h",
        marker={"color": BLUE},
        error_x={"array": spreads, "color": GREY, "thickness": 1.5, "width": 4},
        customdata=[[plotly_text(one.column), one.spread] for one in ranked],
        hovertemplate="%{customdata[0]}<br>%{x:.4f} \u00b1 %{customdata[1]:.4f}<extra></extra>",
    )
    name_rows(figure, [one.column for one in ranked], height=28 * len(ranked) + 66)
    top = ranked[0]
    return CaptionedFigure(
        "The columns that matter",
        figure,
        f"Shuffling {top.column} among the validation rows lowers average precision by "
        f"{top.drop:.3f} (\u00b1 {top.spread:.3f} over repeats), the most of all columns."
        if top.drop > 0
        else "Shuffling any single column among the validation rows lowers nothing.",
    )
