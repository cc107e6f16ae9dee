"""All figures of a study, by the names that search.report.figures gives them."""

from collections.abc import Iterator

from search.evidence.evidence import Evidence
from search.figures.captioned import CaptionedFigure
from search.figures.comparison import comparison_figure
from search.figures.history import history_figure
from search.figures.importances import importance_figure
from search.figures.labels import (
    columns_figure,
    decision_curve_figure,
    precision_recall_figure,
    reliability_figure,
)
from search.figures.learning_curves import learning_curve_figure
from search.figures.parallel_coordinates import parallel_coordinate_figure
from search.figures.remedies import remedy_figure
from search.figures.strength import strength_figure
from search.figures.timeline import timeline_figure
from search.space.objective import in_words
from search.store.records import StudyRecord


def study_figures(study: StudyRecord) -> dict[str, CaptionedFigure]:
    """Return the figures of a study's trials by name, in the order to show them.

    Names are history, learning_curves, remedies, strength, importances, parallel_coordinates and
    timeline; one for which there are no data is left out.
    """
    return {name: figure for name, figure in _figures(study) if figure is not None}


def _figures(study: StudyRecord) -> Iterator[tuple[str, CaptionedFigure | None]]:
    records, score = study.trials, in_words(study.objective)
    yield "history", history_figure(records, score)
    yield "learning_curves", learning_curve_figure(records, score)
    yield "remedies", remedy_figure(records, score)
    yield "strength", strength_figure(records, score)
    yield "importances", importance_figure(records, score)
    yield "parallel_coordinates", parallel_coordinate_figure(records, score)
    yield "timeline", timeline_figure(records)


def evidence_figures(evidence: Evidence) -> dict[str, CaptionedFigure]:
    """Return the figures under "contenders", and per label "precision_recall:LABEL",
    "reliability:LABEL", "decision_curve:LABEL" and "columns:LABEL"; only those there is something
    to draw for.
    """
    figures = {}
    if evidence.macro_f1 is not None and evidence.contenders:
        figures["contenders"] = comparison_figure(evidence)
    for label in evidence.labels:
        if 0 < label.positives < label.rows:
            figures[f"precision_recall:{label.label}"] = precision_recall_figure(label)
        if label.predicted:
            figures[f"reliability:{label.label}"] = reliability_figure(label)
        if label.calibration is not None and 0 < label.positives < label.rows:
            figures[f"decision_curve:{label.label}"] = decision_curve_figure(label.calibration)
        if label.columns:
            figures[f"columns:{label.label}"] = columns_figure(label)
    return figures
