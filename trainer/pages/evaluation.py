"""An evaluation as one HTML page: every score with its interval, and three plots a label.

The page stands alone: plotly.js is embedded once, nothing is fetched.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from html import escape
from pathlib import Path
from string import Template

import numpy as np
import plotly.graph_objects as go
from plotly.io.json import to_json_plotly
from plotly.offline import get_plotlyjs
from torch import Tensor

from trainer.pages.curves import (
    precision_recall_figure,
    precision_recall_points,
    reliability_figure,
    roc_figure,
    roc_points,
)
from trainer.pages.html import STYLE, breakable, number, percent, table, with_interval
from trainer.scores.bootstrap import CONFIDENCE, MACRO_SCORES, Intervals
from trainer.scores.evaluation import Evaluation, LabelScores, reliability
from trainer.writing import write_whole

SCORE_NAMES = {
    "precision": "precision",
    "recall": "recall",
    "f1": "F1",
    "average_precision": "average precision",
    "roc_auc": "ROC AUC",
}


@dataclass(frozen=True)
class _Plot:
    """A figure, its title, and the sentence (HTML) that says what to see."""

    title: str
    figure: go.Figure
    caption: str


def write_page(
    path: Path,
    evaluation: Evaluation,
    intervals: Intervals,
    probabilities: Tensor,
    labels: Tensor,
    *,
    checkpoint: str,
    table: str,
    note: str = "",
) -> None:
    """Write the page to `path`, whole or not at all; raises RaretuneError if it can't be written.

    `checkpoint` and `table` are names to show, `note` a sentence of warning, all three as plain
    text. Shapes (N rows, L labels): probabilities (N, L) float32, labels (N, L) 0 or 1.
    """
    plots = {
        name: list(_plots(scores, probabilities[:, column], labels[:, column]))
        for column, (name, scores) in enumerate(evaluation.labels.items())
    }
    page = _PAGE.substitute(
        style=STYLE,
        checkpoint=escape(checkpoint),
        table=escape(table),
        rows=f"{len(labels):,}",
        note=f'<p class="note">{escape(note)}</p>' if note else "",
        macro="".join(_tile(name, evaluation, intervals) for name in MACRO_SCORES),
        confidence=percent(CONFIDENCE, digits=0),
        resamples=f"{intervals.resamples:,}",
        units=f"{intervals.units:,} {intervals.unit}",
        scores=_score_table(evaluation, intervals),
        decisions=_decision_table(evaluation),
        sections="".join(_section(i, *item) for i, item in enumerate(plots.items())),
        plotly=get_plotlyjs(),
        figures=to_json_plotly([[plot.figure for plot in row] for row in plots.values()]),
    )
    write_whole(path, page)


def _tile(score: str, evaluation: Evaluation, intervals: Intervals) -> str:
    value = with_interval(getattr(evaluation, f"macro_{score}"), intervals.macro[score])
    return f"<div><dt>Macro {SCORE_NAMES[score]}</dt><dd>{value}</dd></div>"


def _score_table(evaluation: Evaluation, intervals: Intervals) -> str:
    rows = []
    for name, scores in evaluation.labels.items():
        bounds = intervals.labels[name]
        rows.append((name, *(with_interval(getattr(scores, s), bounds[s]) for s in SCORE_NAMES)))
    return _label_table(SCORE_NAMES.values(), rows)


def _decision_table(evaluation: Evaluation) -> str:
    names = (
        *("threshold", "positives", "predicted", "true positives", "false positives"),
        *("false negatives", "true negatives", "Brier score", "calibration error"),
    )
    rows = [
        (
            name,
            number(s.threshold),
            f"{s.support:,}<small>{percent(s.prevalence)}</small>",
            f"{s.true_positives + s.false_positives:,}<small>{percent(s.predicted_share)}</small>",
            *(f"{count:,}" for count in (s.true_positives, s.false_positives)),
            *(f"{count:,}" for count in (s.false_negatives, s.true_negatives)),
            number(s.brier),
            number(s.calibration_error),
        )
        for name, s in evaluation.labels.items()
    ]
    return _label_table(names, rows)


def _label_table(headings: Iterable[str], rows: list[tuple[str, ...]]) -> str:
    linked = [
        (f'<a href="#label-{row}">{breakable(name)}</a>', *cells)
        for row, (name, *cells) in enumerate(rows)
    ]
    return table(("Label", *headings), linked)


def _section(row: int, name: str, plots: list[_Plot]) -> str:
    figures = "".join(
        f'<figure><h3>{plot.title}</h3><div id="plot-{row}-{place}"></div>'
        f"<figcaption>{plot.caption}</figcaption></figure>"
        for place, plot in enumerate(plots)
    )
    body = figures or "<p>No plots: its rows are all positive or all negative.</p>"
    return (
        f'<section id="label-{row}"><h2>{escape(name)}</h2>'
        f'<div class="plots">{body}</div></section>'
    )


def _plots(scores: LabelScores, p: Tensor, y: Tensor) -> Iterator[_Plot]:
    if scores.support in (0, len(y)):
        return
    false_rate = scores.false_positives / (scores.false_positives + scores.true_negatives)
    yield _Plot(
        "ROC curve",
        roc_figure(roc_points(p, y).thinned(), scores),
        f"Of a positive and a negative row, the positive one gets the higher probability "
        f"{100 * scores.roc_auc:.0f} times in 100 (50 by guessing, dashed); the threshold in use "
        f"(dot) finds {percent(scores.recall)} of the positives and raises a false alarm on "
        f"{percent(false_rate)} of the negatives.",
    )
    yield _Plot(
        "Precision and recall",
        precision_recall_figure(precision_recall_points(p, y).thinned(), scores),
        f"{_precision_in_words(scores)}, where guessing would give {percent(scores.prevalence)} "
        "(dashed).",
    )
    bins = reliability(p, y)
    yield _Plot(
        "Reliability",
        reliability_figure(bins),
        f"The mean probability is {percent(float(p.double().mean()))} where "
        f"{percent(scores.prevalence)} are positive; on the dashed line a probability can be "
        f"taken at its word, below it promises too much ({len(bins.rows)} bins of about "
        f"{int(np.median(bins.rows)):,} rows; bars are {percent(CONFIDENCE, digits=0)} "
        "Wilson intervals).",
    )


def _precision_in_words(scores: LabelScores) -> str:
    threshold = number(scores.threshold)
    if scores.true_positives + scores.false_positives == 0:
        return f"The threshold {threshold} predicts no row positive"
    share = percent(scores.precision)
    return f"Of the rows that the threshold {threshold} predicts positive (dot), {share} are"


_PAGE = Template("""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>Evaluation of $checkpoint</title>
<style>$style</style>
</head>
<body>
<h1>Evaluation of $checkpoint</h1>
<p>How well this checkpoint decides on the $rows rows of $table, label by label, and how sure that
is.</p>
$note
<dl>$macro</dl>
<p class="soft">Macro scores are means over the labels. Small numbers are $confidence confidence
intervals from $resamples bootstrap resamples of $units.</p>
<h2>Scores</h2>
$scores
<h2>Decisions and probabilities</h2>
$decisions
$sections
<script>$plotly</script>
<script>
$figures.forEach((row, i) => row.forEach((plot, j) => Plotly.newPlot(
  `plot-$${i}-$${j}`, plot.data, plot.layout, {displayModeBar: false, responsive: true})));
</script>
</body>
</html>
""")
