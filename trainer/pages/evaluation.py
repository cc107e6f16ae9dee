"""An evaluation as one HTML page: every score with its interval, and three plots a label.

The page stands alone: plotly.js is embedded once, nothing is fetched.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import plotly.graph_objects as go
from torch import Tensor

from trainer.pages.curves import (
    precision_recall_figure,
    precision_recall_points,
    reliability_figure,
    roc_figure,
    roc_points,
)
from trainer.pages.html import number, percent, render
from trainer.scores.bootstrap import CONFIDENCE, Intervals
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
    """A figure, its title, and the sentence that says what to see."""

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
    page = render(
        Path(__file__).with_suffix(".html"),
        checkpoint=checkpoint,
        table=table,
        note=note,
        rows=len(labels),
        evaluation=evaluation,
        intervals=intervals,
        score_names=SCORE_NAMES,
        confidence=CONFIDENCE,
        plots=plots,
        figures=[[plot.figure for plot in row] for row in plots.values()],
    )
    write_whole(path, page)


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
