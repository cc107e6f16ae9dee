"""An evaluation as one HTML page: every score with its interval, and four plots a label.

The page stands alone: plotly.js is embedded once, nothing is fetched.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import plotly.graph_objects as go
import torch
from torch import Tensor

from trainer import wording
from trainer.pages.calibration import (
    CALIBRATED,
    RAW,
    decision_curve_caption,
    decision_curve_figure,
    reliability_caption,
    reliability_figure,
)
from trainer.pages.curves import (
    Curve,
    precision_recall_figure,
    precision_recall_points,
    roc_figure,
    roc_points,
)
from trainer.pages.html import percent, render
from trainer.scores.bootstrap import CONFIDENCE, Intervals
from trainer.scores.calibration import Calibration, calibrate
from trainer.scores.evaluation import Evaluation, LabelScores
from trainer.scores.reliability import before_and_after, decision_curve, reliability
from trainer.writing import write_whole

SCORE_NAMES = {
    "precision": "precision",
    "recall": "recall",
    "f1": "F1",
    "average_precision": "average precision",
    "roc_auc": "ROC AUC",
}


@dataclass(frozen=True)
class CalibratedRows:
    """The rows' probabilities as they are handed out, (N, L) float32, and the curves to them."""

    probabilities: Tensor
    curves: Sequence[Calibration]

    def of_label(self, place: int) -> "CalibratedRows":
        """Return those of one label, (N,), and its curve."""
        return CalibratedRows(self.probabilities[:, place], [self.curves[place]])

    def moved(self, curve: Curve) -> Curve:
        """Return a curve of one label with its thresholds as they are handed out."""
        raw = torch.from_numpy(np.minimum(curve.thresholds, 1.0))[:, None]
        return replace(curve, thresholds=calibrate(raw, self.curves)[:, 0].numpy())


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
    calibrated: CalibratedRows | None = None,
) -> None:
    """Write the page to `path`, whole or not at all; raises RaretuneError if it can't be written.

    `checkpoint` and `table` are names to show, `note` a sentence of warning, all three as plain
    text. The thresholds of `evaluation` are those to show. Shapes (N rows, L labels):
    probabilities (N, L) float32, raw; labels (N, L) 0 or 1.
    """
    plots = {
        name: list(
            _plots(
                scores,
                probabilities[:, column],
                labels[:, column],
                None if calibrated is None else calibrated.of_label(column),
            )
        )
        for column, (name, scores) in enumerate(evaluation.labels.items())
    }
    handed_out = probabilities if calibrated is None else calibrated.probabilities
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
        calibrated=calibrated is not None,
        shares={name: scores.prevalence for name, scores in evaluation.labels.items()},
        calibration=before_and_after(probabilities, handed_out, labels, list(evaluation.labels)),
        figures=[[plot.figure for plot in row] for row in plots.values()],
    )
    write_whole(path, page)


def _plots(
    scores: LabelScores, p: Tensor, y: Tensor, calibrated: CalibratedRows | None
) -> Iterator[_Plot]:
    if scores.support in (0, len(y)):
        return
    roc, precision_recall = roc_points(p, y).thinned(), precision_recall_points(p, y).thinned()
    if calibrated is not None:
        roc, precision_recall = calibrated.moved(roc), calibrated.moved(precision_recall)
    false_rate = scores.false_positives / (scores.false_positives + scores.true_negatives)
    yield _Plot(
        "ROC curve",
        roc_figure(roc, scores),
        f"Of a positive and a negative row, the positive one gets the higher probability "
        f"{100 * scores.roc_auc:.0f} times in 100 (50 by guessing, dashed); the threshold in use "
        f"(dot) finds {percent(scores.recall)} of the positives and raises a false alarm on "
        f"{percent(false_rate)} of the negatives.",
    )
    yield _Plot(
        "Precision and recall",
        precision_recall_figure(precision_recall, scores),
        f"{_precision_in_words(scores)}, where guessing would give {percent(scores.prevalence)} "
        "(dashed).",
    )
    raw, probabilities = reliability(p, y), {RAW: p}
    if calibrated is None:
        figure, caption = reliability_figure(raw), reliability_caption(raw)
    else:
        bins = reliability(calibrated.probabilities, y)
        figure, caption = reliability_figure(bins, raw), reliability_caption(bins, raw)
        probabilities[CALIBRATED] = calibrated.probabilities
    yield _Plot("Reliability", figure, caption)
    curve = decision_curve(probabilities, y)
    yield _Plot("Decision curve", decision_curve_figure(curve), decision_curve_caption(curve))


def _precision_in_words(scores: LabelScores) -> str:
    threshold = wording.threshold(scores.threshold)
    if scores.true_positives + scores.false_positives == 0:
        return f"The threshold {threshold} predicts no row positive"
    share = percent(scores.precision)
    return f"Of the rows that the threshold {threshold} predicts positive (dot), {share} are"
