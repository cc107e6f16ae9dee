"""The figures of an evidence: its contenders, and each label's curve, reliability and columns."""

from collections.abc import Sequence
from html import escape

import numpy as np
import plotly.graph_objects as go

from search.evidence.evidence import Evidence, LabelEvidence
from search.figures.shown import Shown, compact
from trainer.pages.curves import BLUE, GREY, ORANGE, plain_figure, reliability_figure
from trainer.scores.evaluation import Reliability

LONGEST = 24  # characters of a name on an axis
GUESS = {"color": GREY, "width": 1.5, "dash": "dash"}
STEADY = 10  # predicted rows from which on a precision is more than noise


def evidence_figures(evidence: Evidence) -> dict[str, Shown]:
    """Return the figures under "contenders", and per label "precision_recall:LABEL",
    "reliability:LABEL" and "columns:LABEL"; only those there is something to draw for.
    """
    figures = {}
    if evidence.macro_f1 is not None and evidence.contenders:
        figures["contenders"] = contenders(evidence)
    for label in evidence.labels:
        if 0 < label.positives < label.rows:
            figures[f"precision_recall:{label.label}"] = precision_recall(label)
        if label.predicted:
            figures[f"reliability:{label.label}"] = calibration(label)
        if label.columns:
            figures[f"columns:{label.label}"] = columns(label)
    return figures


def chosen_cut(label: LabelEvidence) -> int:
    """Return the place of a label's threshold among its cuts."""
    return label.cuts.index(label.threshold)


def contenders(evidence: Evidence) -> Shown:
    """Draw the test macro-F1 of the best trial and of what it is held against."""
    if evidence.macro_f1 is None or evidence.interval is None:
        raise ValueError("without test rows there is nothing to hold against each other")
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
    _name_rows(figure, [name for name, *_ in rows], height=44 * len(rows) + 80)
    return Shown(
        "Held against what is simpler",
        figure,
        "Macro-F1 on the test rows with 95\u00a0% intervals. Even where two intervals overlap the "
        "difference may be sure, for all decide on the same rows: the table has the interval of "
        "each difference.",
    )


def precision_recall(label: LabelEvidence) -> Shown:
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
        customdata=compact(label.cuts),
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
    return Shown(
        "Precision and recall",
        figure,
        f"On the validation rows the threshold {label.threshold:.3f} (diamond) finds "
        f"{100 * x:.1f}\u00a0% of the positives, and {100 * y:.1f}\u00a0% of the rows that it "
        f"predicts positive are; guessing would give {100 * share:.1f}\u00a0% (dashed).",
    )


def calibration(label: LabelEvidence) -> Shown:
    """Draw what was observed over the mean probability of each bin."""
    predicted, observed = np.array(label.predicted), np.array(label.observed)
    rows = np.array(label.bin_rows)
    mean = float(np.average(predicted, weights=rows))
    share = label.positives / label.rows
    return Shown(
        "Reliability",
        reliability_figure(Reliability(predicted=predicted, observed=observed, rows=rows)),
        f"The mean probability is {100 * mean:.1f}\u00a0% where {100 * share:.1f}\u00a0% are "
        "positive. On the dashed line a probability can be taken at its word; below it, it "
        "promises too much.",
    )


def columns(label: LabelEvidence) -> Shown:
    """Draw what shuffling a column costs, the dearest on top, with the spread over repeats."""
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
        customdata=[[escape(one.column), one.spread] for one in ranked],
        hovertemplate="%{customdata[0]}<br>%{x:.4f} \u00b1 %{customdata[1]:.4f}<extra></extra>",
    )
    _name_rows(figure, [one.column for one in ranked], height=28 * len(ranked) + 66)
    top = ranked[0]
    return Shown(
        "The columns that matter",
        figure,
        f"Shuffling {top.column} among the validation rows lowers average precision by "
        f"{top.drop:.3f} (\u00b1 {top.spread:.3f} over repeats), the most of all columns."
        if top.drop > 0
        else "Shuffling any single column among the validation rows lowers nothing.",
    )


def _name_rows(figure: go.Figure, names: Sequence[str], height: int) -> None:
    figure.update_layout(height=height)
    figure.update_yaxes(
        tickvals=list(range(len(names))),
        ticktext=[escape(_short(name)) + "  " for name in names],
        range=[len(names) - 0.4, -0.6],
        showgrid=False,
        automargin=True,
        title=None,
    )


def _short(name: str) -> str:
    return name if len(name) <= LONGEST else f"{name[: LONGEST - 1]}\N{HORIZONTAL ELLIPSIS}"
