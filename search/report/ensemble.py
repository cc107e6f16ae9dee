"""The best trial and the ensemble side by side, as a report shows them."""

from pathlib import Path
from typing import Any

from search.appraisal.ensemble import Ensemble, TestScores, recommendation
from search.appraisal.interval import Bounds, with_interval
from search.figures.words import count
from search.report.verdict import remedy_words
from search.store.records import StudyRecord


def ensemble_content(study: StudyRecord, ensemble: Ensemble, best_folder: Path) -> dict[str, Any]:
    """Return what the template `ensemble.html` shows; `best_folder` is WORKSPACE/STUDY/best."""
    trials = {record.number: record for record in study.trials}
    f1, precision = ensemble.macro_f1, ensemble.average_precision
    return {
        "recommendation": recommendation(ensemble, best_folder, best_folder.with_name("ensemble")),
        "sentence": (
            f"The ensemble is the weighted mean of {count(len(ensemble.trials), 'trial')}, chosen "
            f"among the best {ensemble.chosen_from} by average precision on rows held out from "
            "training. The validated scores are of rows that chose neither it nor the best trial; "
            f"its lead there is {with_interval(f1.difference, f1.interval)} in macro-F1 and "
            f"{with_interval(precision.difference, precision.interval)} in average precision."
        ),
        "rows": [
            {
                "name": f"Best trial, {ensemble.best}",
                "validated": (f1.best, precision.best),
                "test": _tests(ensemble.best_test),
            },
            {
                "name": f"Ensemble of {count(len(ensemble.trials), 'trial')}",
                "validated": (f1.ensemble, precision.ensemble),
                "test": _tests(ensemble.test),
            },
        ],
        "members": [
            (number, weight, remedy_words(trials[number]))
            for number, weight in zip(ensemble.trials, ensemble.weights, strict=True)
        ],
    }


def _tests(test: TestScores | None) -> list[tuple[float | None, Bounds]]:
    if test is None:
        return []
    return [
        (test.macro_f1, test.interval),
        (test.average_precision, test.average_precision_interval),
    ]
